"""Sends a message to a helper process and reads its answer, both by a moment at which it is given up."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import time
from collections import deque
from itertools import islice
from typing import Any

from model.pickled_messages import Buffers, unpacked

_AT_ONCE = 64  # buffers of one call; every system takes more
_ROOM = 1 << 20  # bytes; what a user of Linux may ask for


def make_room(pipe: int) -> None:
    """Let a pipe hold 1 MB, where the system lets it. At 64 kB a photo takes several turns, each of which waits for
    Python's lock."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _ROOM)


def exchange(to: int, answers_from: int, parts: list[memoryview], until: float) -> Any:
    """The answer to a message.

    Args:
        to: the pipe that takes the message; neither pipe may block.
        answers_from: the pipe that the answer comes from.
        parts: of the message.
        until: a moment of `time.monotonic`.

    Raises:
        TimeoutError: there is no answer by then.
        EOFError, OSError: nobody is at the other end.
        NotAMessageError: what came is no answer.
    """
    for part in parts:
        left = part.cast("B")
        while left:
            try:
                left = left[os.write(to, left) :]
            except BlockingIOError:
                _wait(to, select.POLLOUT, until)

    def read_into(buffers: Buffers) -> None:
        left = deque(buffer for buffer in buffers if len(buffer))
        while left:
            try:
                count = os.readv(answers_from, list(islice(left, _AT_ONCE)))
            except BlockingIOError:
                _wait(answers_from, select.POLLIN, until)
                continue
            if not count:
                raise EOFError
            while left and count >= len(left[0]):
                count -= len(left.popleft())
            if count:
                left[0] = left[0][count:]

    return unpacked(read_into)


def seconds_until(moment: float) -> float:
    """Seconds that are left until a moment of `time.monotonic`; 0.0 after it."""
    return max(0.0, moment - time.monotonic())


def _wait(end: int, event: int, until: float) -> None:
    poll = select.poll()
    poll.register(end, event)
    if not poll.poll(seconds_until(until) * 1e3):
        raise TimeoutError
