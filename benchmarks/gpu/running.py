"""Runs one part in a process of its own, for so many seconds at most."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .parts import ROOT

STOPPED = "stopped"
"""What an `Outcome` says where the whole run was ended."""
STOP = threading.Event()
"""Set to end the run. A signal only sets it: an exception while a process starts would leave that behind."""
_LOOK_S = 0.2  # between looks whether to stop
_END_S = 5.0  # between asking a process to end and killing it


@dataclass(frozen=True)
class Outcome:
    """What became of a part.

    Attributes:
        code: its exit status; None if its time ran out, or there was none left.
        seconds: that it took.
        said: the last line that it wrote.
    """

    code: int | None
    seconds: float
    said: str = ""

    @property
    def well(self) -> bool:
        """Whether it came to its end without an error."""
        return self.code == 0

    def __str__(self) -> str:
        if self.well:
            return "done"
        if self.code is None and self.said == STOPPED:
            return f"{STOPPED} after {self.seconds:.0f} s"
        if self.code is None:
            return f"out of time after {self.seconds:.0f} s" if self.seconds else "not begun: no time left"
        return f"failed ({self.code}): {self.said}"


Execute = Callable[[Sequence[str], Path, float], Outcome]
"""(command, file for what it writes, seconds) -> what became of it."""


def execute(command: Sequence[str], log: Path, seconds: float) -> Outcome:
    """Run a command from the root of the source tree, which is on its path whether or not it is installed."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # All of 128 clients wait for their answers; by default, some would be turned away and ask again at once.
    usual = {"OMP_WAIT_POLICY": "PASSIVE", "SKETCHSEEK_QUEUE_LIMIT": "256"}
    environment = {**usual, **os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True
        )
        try:
            code = _wait(process, began + seconds)
            took = time.monotonic() - began
        finally:
            _end(process)
    return Outcome(None, took, STOPPED) if code is None and STOP.is_set() else Outcome(code, took, last_line(log))


def _wait(process: subprocess.Popen[bytes], end: float) -> int | None:
    """Its exit code; None if it still runs at `end`, or when the whole run is to stop."""
    while not STOP.is_set() and time.monotonic() < end:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(min(_LOOK_S, max(0.0, end - time.monotonic())))
    return None


def last_line(log: Path) -> str:
    """The last line that is not blank, of at most 200 characters."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip()[-200:] for line in reversed(lines) if line.strip()), "")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and those that it started: a service may run beside it. pytest, interrupted, says what it saw."""
    for number, patience in ((signal.SIGINT, _END_S), (signal.SIGTERM, _END_S), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
