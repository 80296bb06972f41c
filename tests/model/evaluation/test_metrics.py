"""Metrics against naive loops, scikit-learn, and what must hold for any ranking."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from model.evaluation import metrics

rankings = st.lists(st.booleans(), min_size=1, max_size=40)
depths = st.integers(1, 45)


def naive_precision(hits, rank):
    return sum(hits[:rank]) / rank


def naive_ap(hits, relevant, depth=None, rule="strict"):
    hits = hits if depth is None else hits[:depth]
    total = 0.0
    for rank in range(1, len(hits) + 1):
        if hits[rank - 1]:
            total += naive_precision(hits, rank)
    if relevant == 0:
        return math.nan
    if rule == "lenient":
        return total / sum(hits) if sum(hits) else 0.0
    return total / (relevant if depth is None else min(relevant, depth))


def naive_upstream_ap(hits, relevant, depth=None):
    """Area under the step curve of the largest precision at any later recall."""
    if relevant == 0:
        return math.nan
    hits = hits if depth is None else hits[:depth]
    divisor = relevant if depth is None else min(relevant, depth)
    area, recall_before, found = 0.0, 0.0, 0
    for rank in range(1, len(hits) + 1):
        found += hits[rank - 1]
        recall = found / divisor
        best = max(naive_precision(hits, later) for later in range(rank, len(hits) + 1))
        area += (recall - recall_before) * best
        recall_before = recall
    return area


def batch(hits):
    return torch.tensor([hits]), torch.tensor([sum(hits)])


def same(value, expected):
    return (math.isnan(value) and math.isnan(expected)) or value == pytest.approx(expected, abs=1e-12)


@given(rankings, depths)
def test_average_precision_equals_a_naive_loop(hits, depth):
    rows, relevant = batch(hits)
    assert same(metrics.average_precision(rows, relevant).item(), naive_ap(hits, sum(hits)))
    for rule in ("strict", "lenient"):
        value = metrics.average_precision(rows, relevant, depth, rule).item()
        assert same(value, naive_ap(hits, sum(hits), depth, rule))


@given(rankings, depths)
def test_upstream_variants_equal_naive_loops(hits, depth):
    rows, relevant = batch(hits)
    assert same(metrics.upstream_average_precision(rows, relevant).item(), naive_upstream_ap(hits, sum(hits)))
    value = metrics.upstream_average_precision(rows, relevant, depth).item()
    assert same(value, naive_upstream_ap(hits, sum(hits), depth))
    first = min(depth, sum(hits))
    expected = sum(hits[:first]) / first if first else math.nan
    assert same(metrics.upstream_precision_at(rows, relevant, depth).item(), expected)


@given(rankings, depths)
def test_precision_at_k_divides_by_k_even_beyond_the_gallery(hits, depth):
    rows, relevant = batch(hits)
    expected = sum(hits[:depth]) / depth if sum(hits) else math.nan
    assert same(metrics.precision_at(rows, relevant, depth).item(), expected)


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_average_precision_equals_scikit_learn(seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randperm(60, generator=generator).double()[None]
    relevance = torch.rand(1, 60, generator=generator) < 0.3
    relevance[0, seed % 60] = True
    ranking = metrics.rank_photos(scores, torch.arange(60))
    value = metrics.average_precision(relevance.gather(1, ranking), relevance.sum(dim=1)).item()
    expected = average_precision_score(relevance[0].numpy(), scores[0].numpy())
    assert value == pytest.approx(expected, abs=1e-12)


@given(rankings, depths)
def test_bounds_and_order_of_the_variants(hits, depth):
    rows, relevant = batch(hits)
    if sum(hits) == 0:
        return
    plain = metrics.average_precision(rows, relevant).item()
    upstream = metrics.upstream_average_precision(rows, relevant).item()
    strict = metrics.average_precision(rows, relevant, depth, "strict").item()
    lenient = metrics.average_precision(rows, relevant, depth, "lenient").item()
    assert 0 < plain <= upstream + 1e-12
    assert upstream <= 1 + 1e-12
    assert 0 <= strict <= lenient + 1e-12
    assert lenient <= 1 + 1e-12


@given(rankings)
def test_moving_a_relevant_photo_up_never_hurts(hits):
    worse, relevant = batch(hits)
    for place in range(1, len(hits)):
        if hits[place] and not hits[place - 1]:
            better = worse.clone()
            better[0, place - 1], better[0, place] = True, False
            for metric in (metrics.average_precision, metrics.upstream_average_precision):
                assert metric(better, relevant).item() >= metric(worse, relevant).item() - 1e-12


def test_a_perfect_ranking_scores_one_and_strict_differs_from_lenient():
    hits = torch.tensor([[True] * 3 + [False] * 7, [True] + [False] * 8 + [True]])
    relevant = hits.sum(dim=1)
    assert metrics.average_precision(hits, relevant)[0] == 1
    assert metrics.upstream_precision_at(hits, relevant, 5)[0] == 1
    assert metrics.precision_at(hits, relevant, 5)[0] == pytest.approx(0.6)
    assert metrics.average_precision(hits, relevant, 5, "strict")[1] == pytest.approx(0.5)
    assert metrics.average_precision(hits, relevant, 5, "lenient")[1] == 1


def test_queries_are_independent_of_their_batch():
    generator = torch.Generator().manual_seed(0)
    hits = torch.rand(50, 30, generator=generator) < 0.2
    hits[7] = False
    relevant = hits.sum(dim=1)
    for metric in (metrics.average_precision, metrics.upstream_average_precision, metrics.interpolated_precision):
        together = metric(hits, relevant)
        alone = torch.cat([metric(hits[i : i + 1], relevant[i : i + 1]) for i in range(50)])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-15, equal_nan=True)
        assert together[7].isnan().all()


@given(st.integers(0, 10_000), st.integers(1, 6))
@settings(max_examples=40)
def test_ties_do_not_depend_on_the_gallerys_order(seed, levels):
    generator = torch.Generator().manual_seed(seed)
    count = 25
    scores = torch.randint(levels, (3, count), generator=generator).float()
    tie_order = torch.randperm(count, generator=generator)
    shuffle = torch.randperm(count, generator=generator)
    ranking = metrics.rank_photos(scores, tie_order)
    shuffled = metrics.rank_photos(scores[:, shuffle], tie_order[shuffle])
    assert torch.equal(shuffle[shuffled], ranking)
    own = torch.tensor([0, 7, 24])
    moved = shuffle.argsort()[own]
    rank = metrics.rank_of_own(scores, own, tie_order)
    assert torch.equal(rank, metrics.rank_of_own(scores[:, shuffle], moved, tie_order[shuffle]))
    assert torch.equal(rank, (ranking == own[:, None]).int().argmax(dim=1) + 1)


def test_rank_of_own_among_allowed_photos():
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6]])
    allowed = torch.tensor([[False, True, True, True]])
    assert metrics.rank_of_own(scores, torch.tensor([2]), torch.arange(4)).item() == 3
    assert metrics.rank_of_own(scores, torch.tensor([2]), torch.arange(4), allowed).item() == 2
    assert metrics.accuracy_at(torch.tensor([1, 2, 6]), 5).tolist() == [1, 1, 0]


def test_kept_of_top_counts_the_share_found():
    reference = torch.tensor([[3, 1, 2], [0, 1, 2]])
    candidates = torch.tensor([[2, 3], [5, 6]])
    assert metrics.kept_of_top(reference, candidates).tolist() == pytest.approx([2 / 3, 0])


@given(rankings)
def test_interpolated_precision_equals_a_naive_loop(hits):
    rows, relevant = batch(hits)
    curve = metrics.interpolated_precision(rows, relevant, 11)[0].tolist()
    for place, value in enumerate(curve):
        if sum(hits) == 0:
            assert math.isnan(value)
            continue
        reached = [
            naive_precision(hits, rank)
            for rank in range(1, len(hits) + 1)
            if sum(hits[:rank]) >= max(place / 10 * sum(hits) - 1e-9, 1)
        ]
        assert value == pytest.approx(max(reached))


def test_interpolated_precision_is_zero_where_a_short_ranking_never_gets():
    curve = metrics.interpolated_precision(torch.tensor([[True, False]]), torch.tensor([2]), 3)
    assert curve.tolist() == [[1, 1, 0]]
