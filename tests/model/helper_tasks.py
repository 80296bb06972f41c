"""Tasks for helper processes, which import this module: nothing slow may be imported here."""

import os
import sys
import time

import numpy as np


class OddError(Exception):
    """Cannot be unpickled from its message alone."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")
        self.unpicklable = lambda: None


class UnreadableError(Exception):
    """Can be pickled, but not read again."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def worker(offset):
    """Answers commands."""

    def answer(request):
        command, value = request
        if command == "add":
            return {"sum": value + offset, "pid": os.getpid()}
        if command == "print":
            print(value)  # noqa: T201 - as a library would
            os.write(1, b"and below Python")
        if command == "raise":
            raise ValueError(value)
        if command == "raise odd":
            raise OddError("too", "odd")
        if command == "raise unreadable":
            raise UnreadableError("too", "odd")
        if command == "lambda":
            return lambda: None
        if command == "die":
            os._exit(3)
        if command == "sleep":
            time.sleep(value)
        return np.arange(3), os.getpid(), sorted(name for name in sys.modules if name in ("torch", "faiss", "lance"))

    return answer


def begins_late(seconds):
    """Takes its time before it can answer anything."""
    time.sleep(seconds)
    return lambda request: request


def cannot_begin():
    """Fails before it can answer anything."""
    raise ImportError("a library is missing")
