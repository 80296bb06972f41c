"""Scores standardised within a query's candidates."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st

from model.ranking.score import mixture, score_of, standardised
from model.score_rules import ScoreRule, Standard

STANDARD = Standard(1.0, 2.0, 0.3, 0.1, count=5.0)
RULE = ScoreRule(0.4, 0.6, 0.1, standard=STANDARD, level=1.5)


def test_candidates_as_if_the_usual_ones_stood_beside_them():
    scores = torch.tensor([3.0, 1.0, 2.0, 7.0], dtype=torch.float64)
    usual = torch.tensor([1.0 - 2.0, 1.0 + 2.0], dtype=torch.float64)  # mean 1, deviation 2
    together = torch.cat([scores, usual])
    expected = (scores - together.mean()) / together.std(correction=0)
    found = standardised(scores, 1.0, 2.0, replace(STANDARD, count=2.0))
    torch.testing.assert_close(found, expected)


def test_an_earlier_rule_is_read_as_it_was():
    logit, cosine = torch.randn(3, 5), torch.randn(3, 5)
    rule = ScoreRule(0.5, 4.0, -1.0)
    torch.testing.assert_close(score_of(rule, logit, cosine), torch.sigmoid(0.5 * logit + 4 * cosine - 1))
    torch.testing.assert_close(mixture(rule, logit, cosine), 0.5 * logit + 4 * cosine)


def test_the_mixture_and_the_score_have_one_order():
    draws = torch.Generator().manual_seed(1)
    logit, cosine = (torch.randn(4, 30, generator=draws, dtype=torch.float64) for _ in range(2))
    assert torch.equal(score_of(RULE, logit, cosine).argsort(dim=1), mixture(RULE, logit, cosine).argsort(dim=1))


@given(count=st.integers(0, 40), logit=st.floats(-50, 50), spread=st.floats(0, 30), cosine=st.floats(-1, 1))
def test_any_candidates_have_scores_from_0_to_1(count: int, logit: float, spread: float, cosine: float):
    logits = logit + spread * torch.linspace(-1, 1, count, dtype=torch.float64)
    scores = score_of(RULE, logits, torch.full((count,), cosine, dtype=torch.float64))
    assert scores.shape == (count,)
    assert bool(((scores >= 0) & (scores <= 1)).all())


def test_queries_whose_candidates_are_near_on_the_whole_score_higher():
    logit, cosine = torch.linspace(-1, 1, 20), torch.linspace(0.1, 0.5, 20)
    assert bool((score_of(RULE, logit, cosine + 0.2) > score_of(RULE, logit, cosine)).all())


def test_one_query_scores_as_it_does_among_several():
    """To the last bit: results must not depend on who searches at the same time."""
    draws = torch.Generator().manual_seed(2)
    logit, cosine = torch.randn(5, 12, generator=draws), torch.randn(5, 12, generator=draws)
    alone = torch.stack([score_of(RULE, *pair) for pair in zip(logit, cosine, strict=True)])
    assert torch.equal(score_of(RULE, logit, cosine), alone)
