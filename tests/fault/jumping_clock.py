"""Imported first in a process: its clock of the day is wrong by the seconds that a file says, and jumps with it.

`SOAK_CLOCK` names the file. Monotonic clocks go on, as they do when an administrator sets the time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_LOOK_S = 0.2
_file = Path(os.environ["SOAK_CLOCK"])
_time, _time_ns = time.time, time.time_ns
_wrong_s, _looked_s = 0, float("-inf")


def _wrong() -> int:
    global _wrong_s, _looked_s  # noqa: PLW0603 - one clock for the process
    if time.monotonic() - _looked_s > _LOOK_S:
        _looked_s = time.monotonic()
        try:
            _wrong_s = int(_file.read_text())
        except (OSError, ValueError):
            _wrong_s = 0
    return _wrong_s


def _jumping() -> float:
    return _time() + _wrong()


def _jumping_ns() -> int:
    return _time_ns() + _wrong() * 1_000_000_000


time.time, time.time_ns = _jumping, _jumping_ns
