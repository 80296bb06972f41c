"""The one worker that owns the device: a bounded queue, micro-batches, deadlines, and room for work in the background.

Networks on a GPU gain from batches, and CUDA graphs are run by the thread that recorded them. So one thread computes
with the network. Only the next version of a gallery is loaded beside it, its index on GPUs included, which FAISS uses
under one lock for each GPU. While it works on one batch, the next one collects in the queue. A batch waits for
company only while other searches are being prepared, and for 2 ms at most, so a lone client never waits.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from app.logs import get_logger
from app.metrics import Metrics
from app.service.serving.deadline import Deadline
from app.service.serving.tickets import Ticket, ToldErrors

Item = TypeVar("Item")
Out = TypeVar("Out")
T = TypeVar("T")

_log = get_logger("app.service.serving.device_worker")
_COMPANY_S = 0.002  # a batch waits for others no longer
_SOON_S = 0.05  # what takes longer to prepare is not waited for: it may be stuck


class DeviceWorker(Generic[Item, Out]):
    """A thread that takes waiting tickets in batches, and single calls between the batches.

    Args:
        process: handles a batch, and resolves or fails each ticket as soon as it can. An exception fails the rest.
        queue_limit: most tickets that may wait.
        batch_limit: most tickets handed to `process` together.
        retry_after_s: after how many seconds a rejected client is told to try again.
        metrics: where batches, restarts and tickets that find the queue full are counted.

    Attributes:
        errors: what is told of errors, and whether the device is lost.
    """

    def __init__(
        self,
        process: Callable[[list[Ticket[Item, Out]]], None],
        *,
        queue_limit: int,
        batch_limit: int,
        retry_after_s: int,
        metrics: Metrics,
    ) -> None:
        self._process = process
        self._queue_limit = queue_limit
        self._batch_limit = batch_limit
        self.errors = ToldErrors(retry_after_s)
        self._metrics = metrics
        self._tickets: deque[Ticket[Item, Out]] = deque()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._running: list[Ticket[Item, Out]] = []
        self._running_call: Future[Any] | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._coming: dict[object, float] = {}  # when each began, the newest last
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._live, name="device", daemon=True)
        metrics.watch_value(metrics.queue_depth, lambda: float(len(self._tickets)))

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Finish the waiting work, then end. Whatever is left after `timeout_s` seconds fails."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        with self._changed:
            tickets, calls = list(self._tickets), list(self._calls)
            self._tickets.clear()
            self._calls.clear()
        for ticket in tickets:
            ticket.fail(self.errors.closing())
        for _, future in calls:
            future.cancel()

    @property
    def alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    @property
    def busy_s(self) -> float:
        """Seconds that the current batch or call has taken so far; 0.0 between them."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller already runs on the device's thread."""
        return threading.current_thread() is self._thread

    @property
    def device_lost(self) -> bool:
        """Whether this process can use its device no more. Only a restart helps."""
        return self.errors.device_lost

    @contextlib.contextmanager
    def expecting(self) -> Iterator[None]:
        """Mark that a ticket is being prepared, so that a batch may wait for it. After an error nobody does."""
        mark = object()
        with self._changed:
            self._coming[mark] = time.monotonic()
        try:
            yield
        except BaseException:
            self._no_longer(mark)
            with self._changed:
                self._changed.notify_all()
            raise
        self._no_longer(mark)  # without a word to the worker, whose batch the ticket is about to join

    def submit(self, item: Item, deadline: Deadline) -> Ticket[Item, Out]:
        """Queue `item` for the next batch.

        Raises:
            BusyError: `queue_full`, at once rather than after a wait; `closing` during shutdown.
        """
        ticket: Ticket[Item, Out] = Ticket(item, deadline, self.errors.told)
        with self._changed:
            if self._stopping:
                raise self.errors.closing()
            if len(self._tickets) >= self._queue_limit:
                # Tickets that nobody waits for make room before anyone is turned away.
                self._tickets = deque(waiting for waiting in self._tickets if waiting.wanted)
            if len(self._tickets) >= self._queue_limit:
                self._metrics.dropped.labels("queue_full").inc()
                raise self.errors.queue_full()
            self._tickets.append(ticket)
            self._changed.notify()
        return ticket

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Run `function` on the device's thread, between two batches."""
        future: Future[T] = Future()
        with self._changed:
            if self._stopping:
                future.cancel()
                return future
            self._calls.append((function, future))
            self._changed.notify()
        return future

    def _no_longer(self, mark: object) -> None:
        with self._changed:
            del self._coming[mark]

    def _live(self) -> None:
        """The thread. Whatever happens in a batch or a call, the next one is served."""
        while True:
            try:
                self._loop()
            except BaseException as error:  # even a thread told to exit must not leave clients waiting
                _log.error("the device's worker died and starts again", exc_info=error)
                self._metrics.worker_restarts.inc()
                died = self.errors.worker_died()
                for ticket in self._running:
                    ticket.fail(died)
                if self._running_call is not None and not self._running_call.done():
                    self._running_call.set_exception(died)
                self._running, self._running_call, self._busy_since = [], None, None
            else:
                return

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not (self._tickets or self._calls or self._stopping):
                    self._changed.wait()
                if self._stopping and not self._tickets:
                    return
                self._wait_for_company()
                batch = [self._tickets.popleft() for _ in range(min(len(self._tickets), self._batch_limit))]
            self._busy_since = time.monotonic()
            if batch:
                self._run_batch(batch)
            with self._changed:  # not before: a batch that kills the worker must not take a call with it
                call = self._calls.popleft() if self._calls else None
            if call is not None:
                self._busy_since = time.monotonic()
                self._run_call(*call)
            self._busy_since = None

    def _wait_for_company(self) -> None:
        """Let a batch grow while others are on their way, unless something else is to be done."""
        until = time.monotonic() + _COMPANY_S
        while self._soon and not self._calls and not self._stopping and len(self._tickets) < self._batch_limit:
            if not self._changed.wait(until - time.monotonic()):
                return

    @property
    def _soon(self) -> bool:
        """Whether a ticket may come any moment."""
        newest = next(reversed(self._coming.values()), None)
        return newest is not None and time.monotonic() - newest < _SOON_S

    def _run_batch(self, batch: list[Ticket[Item, Out]]) -> None:
        self._running = wanted = [ticket for ticket in batch if self._keep(ticket)]
        if not wanted:
            return
        self._metrics.batch_size.observe(len(wanted))
        try:
            self._process(wanted)
        except Exception as error:  # a defect: every request of the batch reports it
            for ticket in wanted:
                ticket.fail(error)
        for ticket in [left for left in wanted if not left.future.done()]:
            if self._keep(ticket):
                ticket.fail(RuntimeError("the batch ended without a result"))
        self._running = []

    def _keep(self, ticket: Ticket[Item, Out]) -> bool:
        """Whether to work on `ticket`. One that is past its deadline fails."""
        if ticket.future.done():
            return False
        if ticket.deadline.passed:
            ticket.fail(ticket.deadline.exceeded())
            return False
        return True

    def _run_call(self, function: Callable[[], Any], future: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        self._running_call = future
        try:
            future.set_result(function())
        except Exception as error:
            future.set_exception(self.errors.told(error))
        self._running_call = None
