"""Python processes that work for this one, and end with it, however it ends.

Each is a fresh interpreter that imports what its task needs, and no more: nothing of the caller's script, no GPU. It
takes one request after another through a pipe. One that is killed or stuck is replaced at the next request. When this
process is gone, its helpers see the end of the pipe, or, busy with a request, that they have another parent.
"""

from __future__ import annotations

import os
import pickle
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from model.pickled_messages import packed, unpacked

_LOOKS_S = 1.0  # between two looks at who the parent is
_START_S = 60.0
_FAREWELL_S = 2.0
_ALONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


class HelperLostError(Exception):
    """The process ended, or did not answer in time. The request may be what it died of."""


class HelperProcesses:
    """Processes that answer requests; safe to use from several threads, one request per process at a time.

    Args:
        count: most processes. Each starts at the first request that finds no other one free.
        task: "module:function". Each process calls it once; it returns what answers a request.
        arguments: of that function, to be pickled, as requests and answers are.
        patience_s: seconds that an answer may take, once its process has begun.
    """

    def __init__(self, count: int, task: str, *arguments: Any, patience_s: float) -> None:
        self._first = (task, arguments)
        self._patience_s = patience_s
        self._closed = False
        self._count = count
        self._idle: queue.LifoQueue[_Helper | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)

    def ask(self, request: Any) -> Any:
        """The answer to a request, from a process that is free; waits for one.

        Raises:
            HelperLostError: it was lost with its process, which the next request replaces.
            OSError: no process can be started.
            Exception: what the task raised.
        """
        helper = self._idle.get()
        try:
            if self._closed:
                raise HelperLostError("the processes were told to end")
            if helper is not None and not helper.runs:
                helper.kill()  # closes its pipes
                helper = None
            helper = helper or _Helper(self._first)
            worked, answer = helper.ask(request, self._patience_s)
        finally:
            if helper is not None and helper.at_work:  # lost, or whoever asked was interrupted
                helper.kill()
                helper = None
            self._idle.put(helper)
        if worked:
            return answer
        raise answer

    def close(self) -> None:
        """End all processes, once each has answered what it is at work on."""
        self._closed = True
        helpers = [self._idle.get() for _ in range(self._count)]
        for helper in helpers:
            if helper is not None:
                helper.end()
        for _ in helpers:
            self._idle.put(None)

    def __enter__(self) -> HelperProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Helper:
    """One process. Its task is the first message it gets.

    Attributes:
        at_work: a request was begun, and its answer not read to the end.
    """

    def __init__(self, task: tuple[str, tuple[Any, ...]]) -> None:
        command = [sys.executable, "-P", "-c", f"from {__name__} import serve; serve({os.getpid()})"]
        path = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
        requests, self._to = os.pipe()
        self._from, answers = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command, stdin=requests, stdout=answers, env={**os.environ, **_ALONE, "PYTHONPATH": path}
            )
        except BaseException:
            self._close()
            raise
        finally:
            os.close(requests)
            os.close(answers)
        for end in (self._to, self._from):
            os.set_blocking(end, False)
        self._task, self._begun = task, False
        self.at_work = False

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def ask(self, request: Any, patience_s: float) -> tuple[bool, Any]:
        """(True, the answer) or (False, the error). Raises HelperLostError."""
        parts = packed(request)  # outside: a request that cannot be pickled is no fault of the process
        self.at_work = True
        try:
            worked, answer = True, None
            if not self._begun:
                worked, answer = self._exchange(packed(self._task), _START_S)
                self._begun = worked
            if worked:
                worked, answer = self._exchange(parts, patience_s)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise HelperLostError(f"a helper process was lost ({type(error).__name__})") from error
        self.at_work = not self._begun
        return worked, answer

    def end(self) -> None:
        """Let it end; kill it if it does not."""
        self._close()
        try:
            self._process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._close()
        self._process.kill()
        try:
            self._process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:  # it waits for a folder that does not answer, and ends after that
            return

    def _close(self) -> None:
        for end in (self._to, self._from):
            if end >= 0:
                os.close(end)
        self._to = self._from = -1

    def _exchange(self, parts: list[memoryview], patience_s: float) -> Any:
        """The answer to a message."""
        until = time.monotonic() + patience_s
        for part in parts:
            left = part.cast("B")
            while left:
                _wait(self._to, select.POLLOUT, until)
                left = left[os.write(self._to, left) :]

        def read_into(buffer: bytearray) -> None:
            left = memoryview(buffer)
            while left:
                _wait(self._from, select.POLLIN, until)
                count = os.readv(self._from, [left])
                if not count:
                    raise EOFError
                left = left[count:]

        return unpacked(read_into)


def serve(parent: int) -> None:
    """Answer requests until the pipe ends: what a helper process runs.

    Args:
        parent: id of the process that started it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to answer
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what libraries print must not end up among the answers
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()

    def read_into(buffer: bytearray) -> None:
        if requests.readinto(buffer) != len(buffer):
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
            send(_packed_error(error))
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
        return _packed_error(error)


def _packed_error(error: Exception) -> list[memoryview]:
    try:
        return packed((False, error))
    except Exception:  # it cannot be pickled
        return packed((False, RuntimeError(f"{type(error).__name__}: {error}")))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOKS_S)
    os._exit(1)


def _wait(end: int, event: int, until: float) -> None:
    poll = select.poll()
    poll.register(end, event)
    if not poll.poll(max(0.0, until - time.monotonic()) * 1e3):
        raise TimeoutError
