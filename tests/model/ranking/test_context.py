"""How candidates heed each other: against plain loops, and what must stay as it is."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import ConfigurationError
from model.ranking.context import CandidatePhotos, in_context, smoothed, with_place_kept
from model.ranking.score import mixture, score_of
from model.score_rules import ContextRule, ScoreRule

RULE = ContextRule(neighbours=3, place=5)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(scores: list[float], photos: list[list[float]], rule: ContextRule) -> list[float]:
    """One query, one number at a time."""

    def standard(values: list[float]) -> list[float]:
        mean = sum(values) / len(values)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
        return [(value - mean) / deviation for value in values]

    def cosine(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)

    own = standard(scores)
    moved = own
    for _ in range(10):
        before, moved = moved, []
        for place, photo in enumerate(photos):
            others = sorted(
                ((max(cosine(photo, other), 0.0), number) for number, other in enumerate(photos) if number != place),
                reverse=True,
            )[: rule.neighbours]
            weights = [near**3 for near, _ in others]
            theirs = sum(w * before[number] for w, (_, number) in zip(weights, others, strict=True)) / sum(weights)
            moved.append((1 - rule.carried) * own[place] + rule.carried * theirs)
    mixed = standard([(1 - rule.own) * a + rule.own * b for a, b in zip(standard(moved), own, strict=True)])
    mean = sum(scores) / len(scores)
    deviation = math.sqrt(sum((score - mean) ** 2 for score in scores) / len(scores))
    return [mean + deviation * value for value in mixed]


@pytest.mark.parametrize("seed", range(4))
def test_it_equals_plain_loops(seed):
    scores, photos = drawn(12, seed=seed), drawn(12, 5, seed=seed + 50).abs()  # so that all are somewhat alike
    expected = naive(scores.tolist(), photos.tolist(), RULE)
    # Photos are compared in float32.
    assert smoothed(scores, photos, RULE).tolist() == pytest.approx(expected, abs=1e-5)


@given(
    count=st.integers(0, 30),
    scale=st.floats(0.01, 100),
    shift=st.floats(-50, 50),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=60)
def test_the_scale_of_scores_and_the_order_of_candidates_do_not_matter(count, scale, shift, seed):
    scores, photos, logits, direct = (
        drawn(count, seed=seed),
        drawn(count, 6, seed=seed + 1),
        *drawn(2, count, seed=seed),
    )
    candidates = CandidatePhotos(photos, direct)
    heeded = in_context(RULE, scores, logits, candidates)
    assert heeded.shape == scores.shape
    scaled = in_context(RULE, scale * scores + shift, logits, candidates)
    torch.testing.assert_close(scaled, scale * heeded + shift, rtol=1e-5, atol=1e-5 * scale)
    mixed = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    again = in_context(RULE, scores[mixed], logits[mixed], CandidatePhotos(photos[mixed], direct[mixed]))
    torch.testing.assert_close(again, heeded[mixed], rtol=1e-5, atol=1e-5)


def test_several_queries_are_what_each_is_alone():
    scores, photos, logits, direct = drawn(4, 20), drawn(4, 20, 6), drawn(4, 20, seed=1), drawn(4, 20, seed=2)
    together = in_context(RULE, scores, logits, CandidatePhotos(photos, direct))
    for number in range(4):
        alone = in_context(RULE, scores[number], logits[number], CandidatePhotos(photos[number], direct[number]))
        torch.testing.assert_close(together[number], alone, rtol=1e-5, atol=1e-5)


def test_a_lucky_photo_among_poor_ones_falls_and_an_unlucky_one_rises():
    photos = torch.eye(2, dtype=torch.float64).repeat_interleave(5, dim=0)  # two kinds
    scores = torch.tensor([1.0, 0.9, 0.8, 0.9, 0.0, -1.0, -0.9, -0.8, -0.9, 1.1], dtype=torch.float64)
    heeded = smoothed(scores, photos, RULE)
    assert int(scores.argmax()) == 9
    assert int(heeded.argmax()) == 0
    assert heeded[4] > scores[4]
    torch.testing.assert_close(heeded.mean(), scores.mean())
    torch.testing.assert_close(heeded.std(correction=0), scores.std(correction=0))


@given(count=st.integers(1, 12), place=st.integers(2, 8), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=80)
def test_the_kept_place_goes_to_the_best_that_has_no_better_one(count, place, seed):
    scores, direct = drawn(count, seed=seed), drawn(count, seed=seed + 1)
    before = scores.argsort(descending=True).tolist()
    after = with_place_kept(scores, direct, place).argsort(descending=True).tolist()
    if count < place:
        assert after == before
        return
    first, rest = before[: place - 1], before[place - 1 :]
    chosen = max(rest, key=lambda number: float(direct[number]))
    assert after == [*first, chosen, *(number for number in rest if number != chosen)]


def test_scores_that_are_all_the_same_stay_so():
    photos = drawn(6, 4)
    heeded = smoothed(torch.full((6,), 0.25, dtype=torch.float64), photos, RULE)
    torch.testing.assert_close(heeded, torch.full((6,), 0.25, dtype=torch.float64))


def test_only_a_rule_with_a_relation_heeds_candidates():
    logits, cosines, photos = drawn(8), drawn(8, seed=1), CandidatePhotos(drawn(8, 4), drawn(8, seed=2))
    alone, both = ScoreRule(0.5, 0.5), ScoreRule(0.5, 0.5, context=RULE)
    assert torch.equal(mixture(both, logits, cosines), mixture(alone, logits, cosines))
    assert torch.equal(mixture(alone, logits, cosines, photos), mixture(alone, logits, cosines))
    assert not torch.equal(mixture(both, logits, cosines, photos), mixture(alone, logits, cosines))
    by_recall = ScoreRule(0.0, 1.0, context=RULE)
    assert torch.equal(mixture(by_recall, logits, cosines, photos), cosines)
    assert bool(((score_of(both, logits, cosines, photos) > 0) & (score_of(both, logits, cosines, photos) < 1)).all())


def test_the_first_place_cannot_be_kept():
    with pytest.raises(ConfigurationError, match="first place"):
        ContextRule(place=1)
