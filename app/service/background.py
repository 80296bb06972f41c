"""Work in the background: tasks that end by themselves, and tasks that run as long as the service and are restarted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from app.logs import get_logger
from app.metrics import Metrics

T = TypeVar("T")
_log = get_logger("app.service.background")
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 300.0
_PROVEN_S = 30.0  # a task that was restarted and ran for so long is up again
_GOOD_S = 600.0  # after so long, the pauses begin anew


class Background:
    """The tasks of a service.

    Args:
        metrics: counts restarts and tasks that are down.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._tasks: set[asyncio.Task[Any]] = set()
        self._down: set[str] = set()
        metrics.watch_value(metrics.tasks_down, lambda: float(len(self._down)))

    @property
    def down(self) -> frozenset[str]:
        """Names of the tasks that ended unexpectedly and have not yet proven that they run again."""
        return frozenset(self._down)

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run `work` until it or the service ends. An error in it is logged."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def keep(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Run `work`, which should never end, and again whenever it does. The pauses grow up to five minutes."""
        self._metrics.task_restarts.labels(name)
        self.spawn(self._keep(work, name), name)

    async def stop(self) -> None:
        """Cancel everything and wait for it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        loop, pause_s = asyncio.get_running_loop(), _FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            proven = loop.call_later(_PROVEN_S, self._down.discard, name)
            error = await _outcome(work)
            proven.cancel()
            self._down.add(name)
            if time.monotonic() - began > _GOOD_S:
                pause_s = _FIRST_PAUSE_S
            _log.error(
                "background work ended unexpectedly and is restarted", task=name, pause_s=pause_s, exc_info=error
            )
            await asyncio.sleep(pause_s)
            self._metrics.task_restarts.labels(name).inc()
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background work ended with an error", task=task.get_name(), exc_info=error)


async def _outcome(work: Callable[[], Coroutine[Any, Any, None]]) -> BaseException | None:
    """How `work` ended. Only that the service stops ends this as well."""
    try:
        await work()
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error  # what it waited for was cancelled, not this task
    except BaseException as error:  # also what libraries written in Rust raise
        return error
    return None
