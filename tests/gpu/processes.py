"""Checks in a process of their own: where memory is short, a library may abort, and that must be one test's failure."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def alone(check: Callable[..., None], *arguments: Any, seconds: float = 240) -> None:
    """Run a check in another process, which never used a device before.

    A wait inside the check should end well before `seconds`, so that its traceback is told. Of a check that takes too
    long, stderr gets the stacks of all threads.

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
        if ours.poll(seconds):
            said = ours.recv()
        else:
            said = f"nothing after {seconds:.0f} s"
            if process.pid is not None:
                os.kill(process.pid, signal.SIGUSR1)
                process.join(1)  # to print its stacks
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
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    for name in os.environ:
        if name.startswith("SKETCHSEEK_"):
            del os.environ[name]
    try:
        check(*arguments)
    except BaseException:
        answer.send(traceback.format_exc())
    else:
        answer.send("")
