"""Sends a message to a helper process and reads its answer, both by a moment at which it is given up."""

from __future__ import annotations

import os
import select
import time
from typing import Any

from model.pickled_messages import unpacked


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

    def read_into(buffer: bytearray) -> None:
        left = memoryview(buffer)
        while left:
            try:
                count = os.readv(answers_from, [left])
            except BlockingIOError:
                _wait(answers_from, select.POLLIN, until)
                continue
            if not count:
                raise EOFError
            left = left[count:]

    return unpacked(read_into)


def seconds_until(moment: float) -> float:
    """Seconds that are left until a moment of `time.monotonic`; 0.0 after it."""
    return max(0.0, moment - time.monotonic())


def _wait(end: int, event: int, until: float) -> None:
    poll = select.poll()
    poll.register(end, event)
    if not poll.poll(seconds_until(until) * 1e3):
        raise TimeoutError
