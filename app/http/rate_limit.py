"""A token bucket per caller: a steady rate with room for bursts, in constant memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_MOST_CALLERS = 10_000  # beyond that the caller unseen for longest is forgotten, so strangers cannot fill the memory


class RateLimiter:
    """Says whether a caller may go on.

    Args:
        per_minute: tokens a caller gains in a minute; 0 lets everybody through.
        burst: tokens a caller holds at most.
        clock: seconds, monotonic.
    """

    def __init__(self, per_minute: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60
        self._burst = float(burst)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, caller: str) -> float:
        """0.0 and one token taken where `caller` may go on, else the seconds until it may."""
        if self._rate == 0:
            return 0.0
        now = self._clock()
        tokens, seen = self._buckets.pop(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - seen) * self._rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets[caller] = (tokens if wait else tokens - 1, now)
        while len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)
        return wait
