"""Checks in a process of their own: where memory is short, a library may abort, and that must be one test's failure."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def alone(check: Callable[..., None], *arguments: Any, seconds: float = 100) -> None:
    """Run a check in another process, which never used a device before.

    Args:
        check: a function of a module.
        arguments: what pickle can hand over.
        seconds: it may take.

    Raises:
        AssertionError: it failed, with its traceback; it was ended by a signal, if only at its end; it took too long.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, check, arguments))
    process.start()
    theirs.close()
    try:
        said = ours.recv() if ours.poll(seconds) else f"nothing after {seconds:.0f} s"
        if not said:  # what it leaves on the device is freed at its end
            process.join(seconds)
            said = f"the process ended with {process.exitcode}" if process.exitcode else ""
    except EOFError:
        process.join(seconds)
        said = f"the process ended with {process.exitcode}"
    finally:
        process.kill()
        process.join()
        ours.close()
    assert not said, said


def _run(answer: Connection, check: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    for name in os.environ:
        if name.startswith("SKETCHSEEK_"):
            del os.environ[name]
    try:
        check(*arguments)
    except BaseException:
        answer.send(traceback.format_exc())
    else:
        answer.send("")
