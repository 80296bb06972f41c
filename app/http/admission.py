"""Which requests are held: as many as there is room for, and those that wait for their own client give way first.

A client that sends its body or reads its answer slowly holds a place, and perhaps megabytes, without any work being
done for it. As long as there is room nobody minds. Where there is none, the newcomer takes the place of such a request:
of the address that holds the most of them, the one whose client has been waited for longest. Hundreds of slow clients
therefore cost the fast ones nothing, also where all of them share an address.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

from app.service_errors import BusyError

_PATIENCE_S = 1.0  # nobody gives way before, so that a busy moment harms no ordinary client


class Held:
    """One request that is being served.

    Args:
        address: of its client.
        take: asks for room for bytes of its body.
        clock: seconds, monotonic.

    Attributes:
        bytes: of its body in memory.
        gave_way: whether its place was given to another.
    """

    def __init__(self, address: str, take: Callable[[Held, int], None], clock: Callable[[], float]) -> None:
        self.address = address
        self.bytes = 0
        self.gave_way = False
        self.patience = asyncio.timeout(None)
        self._take, self._clock = take, clock
        self._waited, self._since = 0.0, None

    _since: float | None

    @property
    def waits(self) -> bool:
        """Whether its client is what it waits for."""
        return self._since is not None

    @property
    def waited_s(self) -> float:
        """Seconds it has waited for its client, all pauses together: a trickle is as slow as silence."""
        return self._waited + (0.0 if self._since is None else self._clock() - self._since)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """While it waits for its client."""
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
    """The places and the memory that requests share; used on the event loop alone.

    Args:
        limit: requests held at the same time.
        max_bytes: of all their bodies together.
        retry_after_s: what a client is told that finds no room.
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
        """A place for a request of this address, as long as the block runs.

        Raises:
            BusyError: `overloaded`: no place is left; `client_too_slow`: the place was given to another.
        """
        if len(self._held) >= self._limit and not self._give_way(self._held):
            raise BusyError(
                "overloaded", "The service holds as many requests as it may; come again.", self._retry_after_s
            )
        held = Held(address, self._take, self._clock)
        self._held.add(held)
        try:
            async with held.patience:
                yield held
        except TimeoutError:
            if not held.gave_way:
                raise
            raise BusyError(
                "client_too_slow",
                "The service is full and waited for you longest; come again with a faster connection.",
                self._retry_after_s,
            ) from None
        finally:
            self._let_go(held)

    def _take(self, held: Held, count: int) -> None:
        while self.bytes + count > self._max_bytes:
            if not self._give_way({one for one in self._held if one.bytes and one is not held}):
                raise BusyError(
                    "bodies_full", "Too many large requests are being served; come again.", self._retry_after_s
                )
        if held in self._held:
            held.bytes += count
            self.bytes += count

    def _give_way(self, among: set[Held]) -> bool:
        """End the slowest of them; False where every one of them is being worked for."""
        slow = [one for one in among if one.waits and one.waited_s >= _PATIENCE_S]
        if not slow:
            return False
        crowd = Counter(one.address for one in slow)
        victim = max(slow, key=lambda one: (crowd[one.address], one.waited_s))
        victim.gave_way = True
        self._let_go(victim)
        victim.patience.reschedule(asyncio.get_running_loop().time())
        return True

    def _let_go(self, held: Held) -> None:
        self._held.discard(held)
        self.bytes -= held.bytes
        held.bytes = 0
