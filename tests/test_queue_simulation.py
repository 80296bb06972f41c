"""The simulation of queues against formulas where there are some, and what must hold anywhere."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.paths import ROOT

SERVED_MS = 10.0


@pytest.fixture(scope="module")
def queues():
    """The module, which lies among the scripts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import queue_simulation

        return queue_simulation


@pytest.mark.parametrize("load", [0.3, 0.7])
@pytest.mark.parametrize(("spread", "factor"), [(0.0, 0.5), (1.0, 1.0)], ids=["M/D/1", "M/M/1"])
def test_one_replica_without_batches_waits_as_the_formula_says(queues, load, spread, factor):
    """Pollaczek and Khinchine: the mean wait is factor * load / (1 - load) services.

    The simulation's error is three standard errors of the mean of so many waits of M/M/1, which follow each other.
    """
    searches = 30_000
    found = queues.simulate(queues.Replicas(1, [SERVED_MS], spread), 1000 * load / SERVED_MS, searches, seed=1)
    expected = factor * load / (1 - load) * SERVED_MS
    variance = load * (2 + 5 * load - 4 * load**2 + load**3) / (1 - load) ** 4
    error = 3 * SERVED_MS * factor * math.sqrt(variance / (0.9 * searches))
    assert error < 0.3 * expected, "or the formula would say nothing"
    assert found.mean_ms - SERVED_MS == pytest.approx(expected, abs=error)
    assert found.busy == pytest.approx(load, rel=0.03)


def test_a_batch_ends_with_the_slowest_of_those_that_share_it(queues):
    alone, shared = (
        queues.simulate(queues.Replicas(1, [SERVED_MS], 0.2, together), 1.0, 4000).mean_ms for together in (1, 16)
    )
    assert alone == pytest.approx(SERVED_MS, rel=0.02)
    assert shared == pytest.approx(SERVED_MS * (1 + 0.2 * 1.77), rel=0.05), "1.77: the mean largest of 16 normal values"


def test_what_waits_is_taken_together_up_to_the_limit(queues):
    """Far too many searches: every batch but the first ones is full, and they are answered in their order."""
    found = queues.simulate(queues.Replicas(1, [10.0, 12.0, 14.0]), 10_000, 300)
    sizes = np.bincount(found.batch)
    assert set(sizes[2:-1]) == {3}
    assert (np.diff(found.batch) >= 0).all()
    assert found.busy == pytest.approx(1, abs=0.01)


def test_the_balancer_gives_to_whom_has_fewest_unanswered(queues):
    line = queues._Line(3)
    assert sorted(line.give() for _ in range(3)) == [0, 1, 2]
    for replica in (1, 2, 0):
        line.answered(replica, 1)
        assert line.give() == replica


more = st.lists(st.floats(0.2, 10.0), max_size=7)  # ms of each further search in a batch that begins with 10 ms
batches = more.map(lambda each: np.cumsum([10.0, *each]).tolist())


@settings(max_examples=30, deadline=None, derandomize=True)
@given(batch_ms=batches, count=st.integers(1, 6), load=st.floats(0.05, 1.5), spread=st.sampled_from([0.0, 0.3]))
def test_every_search_is_answered_exactly_once(queues, batch_ms, count, load, spread):
    per_s = load * count * 1000 / batch_ms[0]
    found = queues.simulate(queues.Replicas(count, batch_ms, spread), per_s, 300)
    assert found.replica.min() >= 0
    assert found.replica.max() < count
    sizes = np.bincount(found.batch)
    assert sizes.min() >= 1, "no batch is empty"
    assert sizes.max() <= len(batch_ms)
    assert sizes.sum() == 300
    for batch in range(len(sizes)):
        assert len(set(found.replica[found.batch == batch])) == 1
    if not spread:
        assert found.latency_ms.min() >= batch_ms[0] - 1e-6


@settings(max_examples=15, deadline=None, derandomize=True)
@given(batch_ms=batches, count=st.integers(1, 4), load=st.floats(0.1, 1.2), seed=st.integers(0, 99))
def test_more_load_is_never_faster_and_more_machines_are_never_slower(queues, batch_ms, count, load, seed):
    """The same arrivals, nearer together or for more replicas. What is left is the luck of a batch."""
    per_s = load * count * 1000 / batch_ms[0]

    def mean(replicas, factor=1.0):
        return queues.simulate(queues.Replicas(replicas, batch_ms), factor * per_s, 3000, seed).mean_ms

    usual = mean(count)
    assert mean(count, 1.3) >= 0.97 * usual
    assert mean(count + 1) <= 1.03 * usual
