"""What several queries are computed with together: to the last bit what each is computed with alone."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.ranking.context import CandidatePhotos
from model.ranking.rows import inner_products, mean_and_variance, sigmoid
from model.ranking.score import score_of
from model.score_rules import ContextRule, ScoreRule, Standard

RULE = ScoreRule(
    relation_weight=0.3,
    recall_weight=0.5,
    bias=0.1,
    standard=Standard(2.3, 0.65, 0.25, 0.1, 5.0),
    level=1.6,
    context=ContextRule(neighbours=3, carried=0.9, own=0.5, place=5, relation_share=0.5),
)


@given(queries=st.integers(1, 9), count=st.integers(1, 70), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=60)
def test_the_place_in_a_batch_changes_no_bit(queries, count, seed):
    draws = torch.Generator().manual_seed(seed)
    logits, cosines, direct = (torch.randn(queries, count, generator=draws, dtype=torch.float64) for _ in range(3))
    photos = torch.randn(queries, count, 16, generator=draws)

    def computed(some: slice) -> list[torch.Tensor]:
        heeded = CandidatePhotos(photos[some], direct[some])
        products = inner_products(photos[some], photos[some, 0])
        scores = score_of(RULE, logits[some], cosines[some], heeded)
        return [*mean_and_variance(logits[some]), sigmoid(logits[some]), products, scores]

    together = computed(slice(None))
    alone = [computed(slice(number, number + 1)) for number in range(queries)]
    for whole, *each in zip(together, *alone, strict=True):
        assert torch.equal(whole, torch.cat(each))


def test_they_are_what_their_names_say():
    values = torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mean, variance = mean_and_variance(values)
    torch.testing.assert_close(mean, values.mean(dim=-1, keepdim=True))
    torch.testing.assert_close(variance, values.var(dim=-1, keepdim=True, correction=0))
    torch.testing.assert_close(sigmoid(values), values.sigmoid())
    torch.testing.assert_close(sigmoid(values[0, 0]), values[0, 0].sigmoid())
    vectors = values[:, 0]
    torch.testing.assert_close(inner_products(values, vectors), torch.einsum("qce,qe->qc", values, vectors))
    torch.testing.assert_close(inner_products(values[0], vectors[0]), values[0] @ vectors[0])
