"""What the system says about changes in folders: paths, gathered on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import watchfiles

_DEBOUNCE_MS = 800
_STEP_MS = 100
_LOOK_UP_MS = 500  # how often the thread looks whether it should end


class FolderEvents:
    """Watches folders with all that lies below. Entering it starts that, leaving it ends it.

    Network shares announce nothing that other machines change, and the system may run out of watches. So whoever
    follows a folder looks for himself now and then as well.

    Args:
        places: the folders.
        wanted: whether a path matters; called on the thread, for every event.
        changed: called on the thread with the paths that matter, about a second after they changed.

    Attributes:
        error: why it ended by itself, or None.
    """

    def __init__(
        self, places: Sequence[Path], wanted: Callable[[str], bool], changed: Callable[[set[str]], None]
    ) -> None:
        self._places, self._wanted, self._changed = places, wanted, changed
        self._stop, self._known = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="folder-events", daemon=True)
        self.error: BaseException | None = None

    def start(self, wait_s: float) -> None:
        """Start, and wait until every folder is watched, but no longer than `wait_s`: slow shares take minutes."""
        self._thread.start()
        self._known.wait(wait_s)

    def stop(self) -> None:
        """End soon, without waiting for it."""
        self._stop.set()
        self._known.set()

    @property
    def alive(self) -> bool:
        """Whether it watches."""
        return self._thread.is_alive() and self.error is None

    def _run(self) -> None:
        try:
            for changes in watchfiles.watch(
                *self._places,
                watch_filter=lambda _change, path: self._wanted(path),
                debounce=_DEBOUNCE_MS,
                step=_STEP_MS,
                rust_timeout=_LOOK_UP_MS,
                yield_on_timeout=True,
                stop_event=self._stop,
                raise_interrupt=False,
                force_polling=False,
                ignore_permission_denied=True,
            ):
                self._known.set()
                if changes:
                    self._changed({path for _, path in changes})
        except BaseException as error:  # also what its part in Rust raises
            self.error = error
        finally:
            self._known.set()
