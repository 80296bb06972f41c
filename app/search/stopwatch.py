"""How long each stage takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

Observe = Callable[[str, float], None]
"""Called with a stage's name and its seconds."""


def unobserved(_stage: str, _seconds: float) -> None:
    """Nobody looks at the times."""


class Lap(NamedTuple):
    """When something began and ended, in seconds of `time.perf_counter`."""

    began: float
    ended: float

    @property
    def milliseconds(self) -> float:
        """How long it took."""
        return (self.ended - self.began) * 1000


class Stopwatch:
    """Milliseconds between laps.

    Args:
        observe: told of each lap.
        laps: those that came before, which stay as they are.

    Attributes:
        laps: name -> when it began and ended.
    """

    def __init__(self, observe: Observe = unobserved, laps: Mapping[str, Lap] | None = None) -> None:
        self.laps: dict[str, Lap] = dict(laps or {})
        self._observe = observe
        self.restart()

    @property
    def laps_ms(self) -> dict[str, float]:
        """Name -> milliseconds."""
        return {name: lap.milliseconds for name, lap in self.laps.items()}

    def restart(self) -> None:
        """Begin a lap now."""
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a lap and begin the next."""
        now = time.perf_counter()
        self.laps[name] = Lap(self._since, now)
        self._observe(name, now - self._since)
        self._since = now
