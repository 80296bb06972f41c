"""Pillow's warnings, which would reach a user's terminal from any thread."""

from __future__ import annotations

import threading
import warnings


class _Silence:
    """No warning of Pillow's leaves a `with` block of this, in any thread.

    `warnings.catch_warnings` alone restores filters in the wrong order when threads overlap, so the first one in opens
    it and the last one out closes it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._context: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._context = warnings.catch_warnings()
                self._context.__enter__()
                warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\.")
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._context is not None:
                self._context.__exit__(None, None, None)
                self._context = None


silenced_pillow = _Silence()
