"""Python processes that work for this one, and end with it, however it ends.

Each is a fresh interpreter that imports what its task needs, and no more: nothing of the caller's script, no GPU. It
takes one request after another through a pipe. One that is killed or stuck is replaced at the next request. Helpers
have a session of their own, so Ctrl-C does not reach them. If this process is killed, they end by themselves: an idle
one sees the end of its pipe, a busy one that it has a new parent.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from model.helper_pipes import exchange, make_room, seconds_until
from model.pickled_messages import NotAMessageError, packed

_START_S = 60.0
_FAREWELL_S = 2.0
_ALONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


class HelperLostError(Exception):
    """The process ended, or did not answer in time. The request may be what it died of."""


class HelpersClosedError(HelperLostError):
    """The processes were told to end."""


class HelperNeverBeganError(Exception):
    """No process could be started and made ready for its first request, so no request is to blame."""


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
        self._running: set[_Helper] = set()
        self._idle: queue.LifoQueue[_Helper | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)

    def ask(self, request: Any, until: float | None = None) -> Any:
        """The answer to a request, from a process that is free; waits for one.

        Args:
            request: what the task is given.
            until: a moment of `time.monotonic`, by which a process must be free and ready. None waits for a free one
                as long as it takes, and gives a new one a minute.

        Raises:
            HelperLostError: it was lost with its process, which the next request replaces.
            HelpersClosedError: after `close`.
            HelperNeverBeganError: no process can be started and made ready.
            TimeoutError: no process became free.
            Exception: what the task raised.
        """
        try:
            helper = self._idle.get(timeout=None if until is None else seconds_until(until))
        except queue.Empty:
            raise TimeoutError("no helper process became free in time") from None
        try:
            if helper is not None and not helper.runs:
                self._end(helper)
                helper = None
            self._raise_if_closed()
            if helper is None:
                helper = _Helper(self._first)
                self._running.add(helper)
                self._raise_if_closed()  # `close` may not have seen it
            worked, answer = helper.ask(request, self._patience_s, until)
        except (HelperLostError, HelperNeverBeganError):
            self._raise_if_closed()
            raise
        finally:
            if helper is not None and (self._closed or helper.at_work):  # lost, or whoever asked was interrupted
                self._end(helper)
                helper = None
            self._idle.put(helper)
        if worked:
            return answer
        raise answer

    def close(self, timeout_s: float = 0.0) -> None:
        """End all processes: those that are not ready yet at once, those at work `timeout_s` seconds later."""
        self._closed = True
        until = time.monotonic() + timeout_s
        for helper in self._running.copy():
            if not helper.ready:
                helper.stop()
        back = 0
        for moment in (until, until + _FAREWELL_S):
            with contextlib.suppress(queue.Empty):
                while back < self._count:
                    idle = self._idle.get(timeout=seconds_until(moment))
                    back += 1
                    if idle is not None:
                        idle.end()
                        self._running.discard(idle)
            for helper in self._running.copy():
                helper.stop()
        for _ in range(back):
            self._idle.put(None)

    def _end(self, helper: _Helper) -> None:
        helper.kill()
        self._running.discard(helper)

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise HelpersClosedError("the processes were told to end")

    def __enter__(self) -> HelperProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Helper:
    """One process. Its task is the first message it gets.

    Attributes:
        ready: it has taken its task.
        at_work: a request was begun, and its answer not read to the end.

    Raises:
        HelperNeverBeganError: it cannot be started.
    """

    def __init__(self, task: tuple[str, tuple[Any, ...]]) -> None:
        path = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
        self._to = self._from = -1
        theirs: list[int] = []
        try:
            requests, self._to = os.pipe()
            theirs.append(requests)
            self._from, answers = os.pipe()
            theirs.append(answers)
            make_room(self._from)
            serve = f"from model.helper_child import serve; serve({os.getpid()}, {requests}, {answers})"
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-c", serve],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what libraries print must not end up in what this process prints
                pass_fds=theirs,
                start_new_session=True,
                env={**os.environ, **_ALONE, "PYTHONPATH": path},
            )
        except BaseException as error:
            self._close()
            if isinstance(error, OSError):
                raise HelperNeverBeganError(f"no helper process can be started ({error})") from error
            raise
        finally:
            for end in theirs:
                os.close(end)
        for end in (self._to, self._from):
            os.set_blocking(end, False)
        self._task, self.ready = task, False
        self.at_work = False

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def ask(self, request: Any, patience_s: float, until: float | None) -> tuple[bool, Any]:
        """(True, the answer) or (False, the error). Raises as `HelperProcesses.ask`."""
        parts = packed(request)  # outside: a request that cannot be pickled is no fault of the process
        self.at_work = True
        if not self.ready:
            self._begin(time.monotonic() + _START_S if until is None else until)
        try:
            worked, answer = self._exchange(parts, time.monotonic() + patience_s)
        except (OSError, EOFError, NotAMessageError) as error:
            raise HelperLostError(f"a helper process was lost ({type(error).__name__})") from error
        self.at_work = False
        return worked, answer

    def _begin(self, until: float) -> None:
        try:
            worked, answer = self._exchange(packed(self._task), until)
        except (OSError, EOFError, NotAMessageError) as error:
            raise HelperNeverBeganError(f"a helper process did not begin ({type(error).__name__})") from error
        if not worked:
            raise HelperNeverBeganError(
                f"a helper process cannot begin ({type(answer).__name__}: {answer})"
            ) from answer
        self.ready = True

    def end(self) -> None:
        """Let it end; kill it if it does not."""
        self._close()
        try:
            self._process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def stop(self) -> None:
        """End the process alone: whoever asks it sees that, and closes the pipes."""
        self._process.kill()

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

    def _exchange(self, parts: list[memoryview], until: float) -> Any:
        return exchange(self._to, self._from, parts, until)
