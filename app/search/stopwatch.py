"""How long each stage takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

Observe = Callable[[str, float], None]
"""Called with a stage's name and its seconds."""


def unobserved(_stage: str, _seconds: float) -> None:
    """Nobody looks at the times."""


class Stopwatch:
    """Milliseconds between laps.

    Args:
        observe: told of each lap.
        laps_ms: laps that came before, which stay as they are.

    Attributes:
        laps_ms: name -> milliseconds.
    """

    def __init__(self, observe: Observe = unobserved, laps_ms: Mapping[str, float] | None = None) -> None:
        self.laps_ms: dict[str, float] = dict(laps_ms or {})
        self._observe = observe
        self.restart()

    def restart(self) -> None:
        """Begin a lap now."""
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a lap and begin the next."""
        now = time.perf_counter()
        self.laps_ms[name] = (now - self._since) * 1000
        self._observe(name, now - self._since)
        self._since = now
