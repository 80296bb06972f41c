"""Parts of a query as one vector: against a plain loop, and what must hold whatever the parts are."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.search.combining import EXPANSION, MOST_UNLIKE, UNLIKE, Combined, combine, contributions, expand_each
from app.search.query_parts import PART_NAMES, PartWeights, QueryParts

SIZE = 6


def unit(seed):
    vector = np.random.default_rng(seed).normal(size=SIZE)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


WEIGHTS = st.floats(0.01, 10)
WANTED = st.dictionaries(st.sampled_from(PART_NAMES[:-1]), WEIGHTS, min_size=1)


def vectors_of(names):
    return {name: unit(PART_NAMES.index(name)) for name in names}


def naive(vectors, weights):
    """Number by number."""
    wanted = [name for name in vectors if name != "unlike" and weights[name]]
    total = [sum(weights[name] * float(vectors[name][place]) for name in wanted) for place in range(SIZE)]
    if weights.get("unlike") and "unlike" in vectors:
        length = math.sqrt(sum(value**2 for value in total))
        strength = min(UNLIKE * weights["unlike"], MOST_UNLIKE) * length
        total = [value - strength * float(vectors["unlike"][place]) for place, value in enumerate(total)]
    length = math.sqrt(sum(value**2 for value in total))
    return [value / length for value in total]


@given(WANTED, st.none() | WEIGHTS)
def test_it_is_what_a_loop_gives(weights, unlike):
    weights = weights if unlike is None else {**weights, "unlike": unlike}
    vectors = vectors_of(weights)
    combined = combine(vectors, weights)
    np.testing.assert_allclose(combined.descriptor, naive(vectors, weights), atol=2e-5)
    np.testing.assert_allclose(np.sum(list(combined.shares.values()), axis=0), combined.descriptor, atol=2e-6)


@given(WANTED, st.sets(st.sampled_from(PART_NAMES)), st.permutations(PART_NAMES))
def test_a_weight_of_nothing_is_no_part_and_order_does_not_matter(weights, weightless, order):
    others = weightless - weights.keys()
    without = combine(vectors_of(weights), weights)
    everything = {**weights, **dict.fromkeys(others, 0.0)}
    shuffled = {name: everything[name] for name in order if name in everything}
    given_too = combine(vectors_of(shuffled), shuffled)
    assert (given_too.descriptor == without.descriptor).all()
    assert given_too.shares.keys() == without.shares.keys()


@given(st.sampled_from(PART_NAMES[:-1]), WEIGHTS)
def test_one_part_alone_is_searched_with_as_it_is(name, weight):
    vectors = vectors_of([name])
    assert combine(vectors, {name: weight}).descriptor is vectors[name]


@given(WANTED, WEIGHTS)
def test_what_is_unliked_never_turns_a_query_round(weights, unlike):
    wanted = combine(vectors_of(weights), weights).descriptor
    for against in (wanted, unit(17)):
        both = combine({**vectors_of(weights), "unlike": against}, {**weights, "unlike": unlike})
        assert float(both.descriptor @ wanted) > 0.2
        assert float(both.descriptor @ against) <= float(wanted @ against) + 1e-6


@given(WANTED, WEIGHTS, WEIGHTS)
def test_liking_more_comes_nearer(weights, one, other):
    less, more = sorted((one, other))
    near = [
        float(combine(vectors_of({**weights, "like": 0}), {**weights, "like": weight}).descriptor @ unit(3))
        for weight in (less, more)
    ]
    assert near[0] <= near[1] + 1e-6
    assert PART_NAMES[3] == "like"


def test_parts_that_cancel_each_other_out_point_nowhere():
    combined = combine({"sketch": unit(1), "photo": -unit(1)}, {"sketch": 1.0, "photo": 1.0})
    assert not combined.descriptor.any()


def test_nothing_wanted_is_no_query():
    with pytest.raises(ValueError, match="wanted"):
        combine(vectors_of(["sketch", "unlike"]), {"sketch": 0.0, "unlike": 1.0})


@settings(deadline=None)
@given(WANTED, st.floats(0, 5), st.integers(0, 4))
def test_an_expansion_is_a_share_of_its_own(weights, weight, count):
    combined = combine(vectors_of(weights), weights)
    hits = np.stack([unit(30 + seed) * (0.4 + 0.1 * seed) for seed in range(count)]) if count else np.empty((0, SIZE))
    other = combine(vectors_of(["text"]), {"text": 1.0})
    near = hits.astype(np.float32)
    moved, _, alone = expand_each([combined, other, combined], [near, near, near[:0]], weight)
    assert alone is combined
    if not count:
        assert moved is combined
        return
    direction = hits.mean(axis=0) / np.linalg.norm(hits.mean(axis=0))
    length = np.linalg.norm(combined.descriptor + weight * direction)
    np.testing.assert_allclose(moved.descriptor, (combined.descriptor + weight * direction) / length, atol=1e-5)
    np.testing.assert_allclose(moved.shares[EXPANSION], weight * direction / length, atol=1e-5)
    np.testing.assert_allclose(np.sum(list(moved.shares.values()), axis=0), moved.descriptor, atol=2e-6)
    photos = np.stack([unit(50), unit(51)])
    scores = photos @ moved.descriptor
    for given_to, score in zip(contributions(moved, photos, scores), scores, strict=True):
        assert given_to.keys() == moved.shares.keys()
        assert sum(given_to.values()) == pytest.approx(float(score), abs=1e-6)


def test_one_part_alone_gives_the_whole_score():
    alone = Combined.of_one(unit(1))
    assert contributions(alone, np.stack([unit(2)]), np.array([0.25], np.float32)) == [{"sketch": 0.25}]


@pytest.mark.parametrize("weights", [PartWeights(sketch=0), PartWeights(sketch=0, unlike=3)])
def test_a_query_without_what_is_wanted_cannot_be_made(weights):
    with pytest.raises(ValueError, match="needs"):
        QueryParts(text=None, unlike=[1], weights=weights)


def test_liked_rows_count_once_and_only_with_a_weight():
    parts = QueryParts(text=unit(1), like=[4, 2, 4], unlike=[7, 7])
    assert (parts.liked, parts.unliked) == ([2, 4], [7])
    weightless = QueryParts(text=unit(1), like=[4], unlike=[7], weights=PartWeights(like=0, unlike=0))
    assert (weightless.liked, weightless.unliked, weightless.used) == ([], [], {"text": 1.0})
