"""How long searches wait: replicas behind a balancer, each with one thread that takes what waits in batches.

Searches arrive at random (a Poisson process). The balancer gives each to the replica that has the fewest unanswered
ones. A replica's thread takes everything that waits, up to a limit, works on it as one batch, and answers all of it at
the batch's end; then it takes the next. That is what `app/service/serving/device_worker.py` does, but for the 2 ms that
a batch may wait for searches on their way.

Nobody is turned away here, so a queue that grows without end shows as latency that grows with the number of searches.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Milliseconds = npt.NDArray[np.float64]
_WARM_UP = 0.1  # share of the searches that find the queues shorter than they will be
_NOBODY = -1


@dataclass(frozen=True)
class Replicas:
    """What answers.

    Attributes:
        count: how many replicas there are.
        batch_ms: milliseconds of a batch of 1, 2, 3, ... searches; as many entries as a batch may have searches.
        spread: coefficient of variation of a batch's time, which is gamma distributed; 0 for always the same. 1 makes
            it exponential.
        slowest_of: a batch ends with the slowest of so many machines that work on it together.
    """

    count: int
    batch_ms: Sequence[float]
    spread: float = 0.0
    slowest_of: int = 1

    @property
    def most_per_s(self) -> float:
        """Searches a second beyond which the queues grow without end, were every batch as slow as the mean one."""
        return self.count * max(1e3 * size / ms for size, ms in enumerate(self.batch_ms, 1))


@dataclass(frozen=True)
class Simulated:
    """What became of each search, in the order of arrival.

    Attributes:
        latency_ms: from arrival to answer.
        replica: who answered.
        batch: in which batch, numbered in the order in which they began.
        busy: share of the time in which a replica worked, over all of them.
    """

    latency_ms: Milliseconds
    replica: npt.NDArray[np.int64]
    batch: npt.NDArray[np.int64]
    busy: float

    @property
    def settled_ms(self) -> Milliseconds:
        """Latencies without those of the beginning, when queues are still short."""
        return self.latency_ms[int(_WARM_UP * len(self.latency_ms)) :]

    def percentile(self, share: float) -> float:
        """Milliseconds within which `share` percent of the searches were answered."""
        return float(np.percentile(self.settled_ms, share))

    @property
    def mean_ms(self) -> float:
        """Mean latency."""
        return float(self.settled_ms.mean())


def simulate(replicas: Replicas, per_s: float, searches: int, seed: int = 0) -> Simulated:
    """Let searches arrive and be answered.

    Args:
        replicas: that answer.
        per_s: searches a second, on average. The same seed gives the same arrivals, nearer together.
        searches: how many arrive.
        seed: of arrivals and of the spread.
    """
    rng = np.random.default_rng(seed)
    arrivals = 1e3 / per_s * np.cumsum(rng.exponential(size=searches))
    run = _Run(replicas, searches, np.random.default_rng([seed, 1]))
    for search, arrival in enumerate(arrivals.tolist()):
        run.answer_until(arrival)
        run.arrive(search, arrival)
    run.answer_until(math.inf)
    busy = run.busy_ms / (replicas.count * run.now)
    return Simulated(np.array(run.answered) - arrivals, np.array(run.replica), np.array(run.batch), busy)


class _Run:
    """Replicas at work: what waits at each, what each works on, and when the next batch ends."""

    def __init__(self, replicas: Replicas, searches: int, rng: np.random.Generator) -> None:
        self.now, self.busy_ms = 0.0, 0.0
        self.answered, self.replica, self.batch = [0.0] * searches, [_NOBODY] * searches, [_NOBODY] * searches
        self._batch_ms, self._batches = replicas.batch_ms, 0
        self._factors, self._line = _Factors(replicas, rng), _Line(replicas.count)
        self._waiting: list[deque[int]] = [deque() for _ in range(replicas.count)]
        self._working: list[list[int]] = [[] for _ in range(replicas.count)]
        self._ends: list[tuple[float, int]] = []

    def arrive(self, search: int, when: float) -> None:
        """A search comes and is given to a replica."""
        self.now = when
        replica = self._line.give()
        self._waiting[replica].append(search)
        if not self._working[replica]:
            self._begin(replica)

    def answer_until(self, when: float) -> None:
        """Finish the batches that end by then, and begin those that follow them."""
        while self._ends and self._ends[0][0] <= when:
            self.now, replica = heapq.heappop(self._ends)
            done, self._working[replica] = self._working[replica], []
            for search in done:
                if self.replica[search] != _NOBODY:
                    raise AssertionError("a search was answered twice")
                self.answered[search], self.replica[search] = self.now, replica
            self._line.answered(replica, len(done))
            if self._waiting[replica]:
                self._begin(replica)

    def _begin(self, replica: int) -> None:
        waiting = self._waiting[replica]
        taken = [waiting.popleft() for _ in range(min(len(waiting), len(self._batch_ms)))]
        took = self._batch_ms[len(taken) - 1] * self._factors.next()
        self._working[replica] = taken
        for search in taken:
            self.batch[search] = self._batches
        self._batches += 1
        self.busy_ms += took
        heapq.heappush(self._ends, (self.now + took, replica))


class _Line:
    """Which replica has the fewest unanswered searches; of several, the one that has waited longest for its turn."""

    def __init__(self, count: int) -> None:
        self._unanswered = [0] * count
        self._heap = [(0, number, number) for number in range(count)]
        self._current = list(self._heap)
        self._turn = count

    def give(self) -> int:
        """The replica that gets the next search."""
        while True:
            entry = heapq.heappop(self._heap)
            replica = entry[2]
            if self._current[replica] == entry:  # older entries are out of date
                self._change(replica, 1)
                return replica

    def answered(self, replica: int, count: int) -> None:
        """A replica has answered so many."""
        self._change(replica, -count)

    def _change(self, replica: int, by: int) -> None:
        self._unanswered[replica] += by
        self._turn += 1
        self._current[replica] = (self._unanswered[replica], self._turn, replica)
        heapq.heappush(self._heap, self._current[replica])


class _Factors:
    """By how much the time of each batch differs from the mean one."""

    def __init__(self, replicas: Replicas, rng: np.random.Generator) -> None:
        self._spread, self._together, self._rng = replicas.spread, replicas.slowest_of, rng
        self._ready: list[float] = []

    def next(self) -> float:
        """Of one batch."""
        if not self._spread:
            return 1.0
        if not self._ready:
            shape = self._spread**-2
            drawn = self._rng.gamma(shape, 1 / shape, (4096, self._together))
            self._ready = drawn.max(axis=1).tolist()
        return self._ready.pop()
