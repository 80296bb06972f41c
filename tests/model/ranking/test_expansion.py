"""Query expansion moves a descriptor towards its first hits, and nowhere where there are none."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from model.evaluation.arms import expanded_queries
from model.ranking.expansion import expand
from model.score_rules import ExpansionRule


@given(count=st.integers(0, 5), weight=st.floats(0, 4), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_it_equals_the_formula_one_by_one(count, weight, seed):
    generator = torch.Generator().manual_seed(seed)
    queries = F.normalize(torch.randn(3, 6, generator=generator), dim=1)
    hits = F.normalize(torch.randn(3, count, 6, generator=generator), dim=2)
    expanded = expand(queries, hits, weight)
    for number, query in enumerate(queries):
        expected = query
        if count:
            mean = sum(hits[number]) / count
            expected = query + weight * mean / mean.norm()
            expected = expected / expected.norm()
        torch.testing.assert_close(expanded[number], expected, atol=1e-5, rtol=1e-4)


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_first_hits_are_the_nearest_photos_and_a_small_gallery_gives_fewer():
    queries, photos = F.normalize(seeded(4, 8), dim=1), F.normalize(seeded(30, 8, seed=1), dim=1)
    order = torch.arange(30)
    expanded = expanded_queries(queries, photos, order, ExpansionRule(neighbours=3, weight=0.7))
    nearest = (queries @ photos.T).topk(3).indices
    torch.testing.assert_close(expanded, expand(queries, photos[nearest], 0.7))
    few = expanded_queries(queries, photos[:2], order[:2], ExpansionRule(neighbours=3, weight=0.7))
    torch.testing.assert_close(few, expand(queries, photos[:2].expand(4, -1, -1), 0.7))
    assert expanded_queries(queries, photos, order, ExpansionRule()) is queries
    none = expanded_queries(queries, photos[:0], order[:0], ExpansionRule(neighbours=3))
    torch.testing.assert_close(none, queries)
