"""When a request must have its answer: one object per request, which everything that works for it asks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable

from app.service_errors import BusyError


class Deadline:
    """The moment after which nobody waits for an answer any more.

    Several threads may find out that it passed. The request counts as late once, however many do.

    Attributes:
        at: the same moment, of `time.monotonic`.

    Args:
        seconds: from now.
        retry_after_s: what a client is told that had to wait too long.
        count: called when a request turns out to be late, once.
    """

    def __init__(self, seconds: float, retry_after_s: int, count: Callable[[], None]) -> None:
        self.at = time.monotonic() + seconds
        self._retry_after_s = retry_after_s
        self._count: Callable[[], None] | None = count
        self._lock = threading.Lock()

    def remaining(self) -> float:
        """Seconds left; 0.0 once it passed."""
        return max(0.0, self.at - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether it is too late."""
        return time.monotonic() >= self.at

    def exceeded(self) -> BusyError:
        """The error for a request that is late, which is counted with the first of them."""
        with self._lock:
            count, self._count = self._count, None
        if count is not None:
            count()
        return BusyError(
            "deadline_exceeded", "The answer took longer than it may; try again later.", self._retry_after_s
        )

    def raise_if_passed(self) -> None:
        """End work that nobody waits for.

        Raises:
            BusyError: `deadline_exceeded`.
        """
        if self.passed:
            raise self.exceeded()

    @contextlib.asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Cancel what is awaited in the block once the deadline passes.

        Raises:
            BusyError: `deadline_exceeded`.
        """
        try:
            async with asyncio.timeout(self.remaining()) as timeout:
                yield
        except TimeoutError:
            if not timeout.expired():  # somebody else's
                raise
            raise self.exceeded() from None
