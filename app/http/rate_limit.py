"""A token bucket per caller: a steady rate with room for bursts, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_MOST_CALLERS = 10_000  # the caller unseen for longest is forgotten first, so that strangers cannot fill the memory


class RateLimiter:
    """Decides whether a caller may send another request.

    Args:
        per_minute: tokens a caller gains in a minute; 0 lets every request through.
        burst: most tokens a caller holds.
        clock: seconds, monotonic.
    """

    def __init__(self, per_minute: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60
        self._burst = float(burst)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def charge(self, caller: str, tokens: int) -> None:
        """Take more tokens of `caller`, who may owe them for a while: one request did the work of several."""
        if self._rate and caller in self._buckets:
            left, seen = self._buckets[caller]
            self._buckets[caller] = (left - tokens, seen)

    def wait(self, caller: str) -> float:
        """Take one token of `caller` and return 0.0; if it has none, return the seconds until it has one."""
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
