"""What runs in a helper process: it takes requests from one pipe, and answers into another."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from model.pickled_messages import Buffers, packed, packed_error, unpacked

_LOOKS_S = 1.0  # between two looks at who the parent is


def serve(parent: int, requests_from: int, answers_to: int) -> None:
    """Answer requests until the pipe ends. The first message is the task.

    Args:
        parent: id of the process that started this one.
        requests_from: the pipe of requests.
        answers_to: the pipe of answers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers it
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    requests, answers = os.fdopen(requests_from, "rb"), os.fdopen(answers_to, "wb")

    def read_into(buffers: Buffers) -> None:
        if any(requests.readinto(buffer) != len(buffer) for buffer in buffers):
            raise EOFError

    def send(parts: list[memoryview]) -> None:
        for part in parts:
            answers.write(part)
        answers.flush()

    try:
        (name, arguments), compute = unpacked(read_into), None
        module, function = name.split(":")
        try:
            compute = getattr(import_module(module), function)(*arguments)
        except Exception as error:
            send(packed_error(error))
        else:
            send(packed((True, None)))
        while compute is not None:
            send(_answer(compute, unpacked(read_into)))
    except (EOFError, BrokenPipeError):
        pass
    os._exit(0)  # nobody is left to answer, and nothing to be cleaned up


def _answer(compute: Callable[[Any], Any], request: Any) -> list[memoryview]:
    """The message of an answer; an error is one as well."""
    try:
        return packed((True, compute(request)))
    except Exception as error:
        return packed_error(error)


def _end_with(parent: int) -> None:
    """A helper at work does not see the end of its pipe, but it gets another parent."""
    while os.getppid() == parent:
        time.sleep(_LOOKS_S)
    os._exit(1)
