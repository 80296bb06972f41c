"""Bounds how many requests are held at once, and how much memory their bodies take.

A client that sends its body or reads its answer slowly holds a place, and perhaps megabytes, while no work is done for
it. That costs nothing while there is room. When there is none, a new request takes the place of a slow one: the address
with the most slow requests loses the one whose client has been waited for longest. So hundreds of slow clients do not
delay fast ones, even if all of them share one address.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

from app.service_errors import BusyError

_PATIENCE_S = 1.0  # no request loses its place sooner, so that a busy moment harms no ordinary client


class Held:
    """One request that is being served.

    Args:
        address: of its client.
        take: asks for room for bytes of its body.
        clock: seconds, monotonic.

    Attributes:
        bytes: of its body in memory.
        evicted: whether another request took its place.
    """

    def __init__(self, address: str, take: Callable[[Held, int], None], clock: Callable[[], float]) -> None:
        self.address = address
        self.bytes = 0
        self.evicted = False
        self.patience = asyncio.timeout(None)
        self._take, self._clock = take, clock
        self._waited = 0.0
        self._since: float | None = None

    @property
    def waits(self) -> bool:
        """Whether it waits for its client."""
        return self._since is not None

    @property
    def waited_s(self) -> float:
        """Seconds it has waited for its client in total, so that a trickle counts as much as silence."""
        return self._waited + (0.0 if self._since is None else self._clock() - self._since)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Marks the time during which it waits for its client."""
        self._since = self._clock()
        try:
            yield
        finally:
            self._waited, self._since = self.waited_s, None

    def take(self, count: int) -> None:
        """Hold `count` more bytes.

        Raises:
            BusyError: `bodies_full`.
        """
        self._take(self, count)


class Admission:
    """The places and the memory that requests share. Use it on the event loop only.

    Args:
        limit: most requests held at once.
        max_bytes: most bytes of all their bodies together.
        retry_after_s: seconds after which a client that found no room should try again.
        clock: seconds, monotonic.
    """

    def __init__(
        self, limit: int, max_bytes: int, retry_after_s: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self._max_bytes, self._retry_after_s, self._clock = limit, max_bytes, retry_after_s, clock
        self._held: set[Held] = set()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    @contextlib.asynccontextmanager
    async def hold(self, address: str) -> AsyncIterator[Held]:
        """Hold a place for a request from `address` while the block runs.

        Raises:
            BusyError: `overloaded`: no place is left; `client_too_slow`: another request took the place.
        """
        if len(self._held) >= self._limit and not self._evict_one(self._held):
            raise BusyError(
                "overloaded", "The service holds as many requests as it can; try again later.", self._retry_after_s
            )
        held = Held(address, self._take, self._clock)
        self._held.add(held)
        try:
            async with held.patience:
                yield held
        except TimeoutError:
            if not held.evicted:
                raise
            raise BusyError(
                "client_too_slow",
                "The service is full, and your connection was the slowest; try again with a faster one.",
                self._retry_after_s,
            ) from None
        finally:
            self._release(held)

    def _take(self, held: Held, count: int) -> None:
        while self.bytes + count > self._max_bytes:
            if not self._evict_one({one for one in self._held if one.bytes and one is not held}):
                raise BusyError(
                    "bodies_full", "Too many large requests are being served; try again later.", self._retry_after_s
                )
        if held in self._held:
            held.bytes += count
            self.bytes += count

    def _evict_one(self, among: set[Held]) -> bool:
        """End the slowest of these requests; False if none of them waits for its client."""
        slow = [one for one in among if one.waits and one.waited_s >= _PATIENCE_S]
        if not slow:
            return False
        crowd = Counter(one.address for one in slow)
        victim = max(slow, key=lambda one: (crowd[one.address], one.waited_s))
        victim.evicted = True
        self._release(victim)
        victim.patience.reschedule(asyncio.get_running_loop().time())
        return True

    def _release(self, held: Held) -> None:
        self._held.discard(held)
        self.bytes -= held.bytes
        held.bytes = 0
