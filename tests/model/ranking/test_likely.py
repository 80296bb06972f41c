"""Which results are likely: against plain loops, and whatever else a gallery holds."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from model.ranking.likely import FIRST, likelihood, likely_first, shared
from model.score_rules import LikelyRule


def units(count: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_shared_is_the_part_of_the_cosine_that_runs_through_the_first_results():
    query, photos = units(1, 0)[0], units(20, 1)
    direction = torch.stack([*photos[:FIRST]]).sum(dim=0) / FIRST
    direction = direction / direction.norm()
    for photo, amount in zip(photos, shared(query, photos, photos[:FIRST]), strict=True):
        along = float(query @ direction) * direction  # what the query has of this direction
        assert abs(float(along @ photo) - float(amount)) < 1e-6


def test_other_candidates_change_nothing_for_a_photo():
    query, photos = units(1, 2)[0], units(30, 3)
    few, many = shared(query, photos[:10], photos[:FIRST]), shared(query, photos, photos[:FIRST])
    assert torch.equal(few, many[:10])


def test_several_queries_together_get_what_each_gets_alone():
    queries, photos = units(3, 4), units(3 * 33, 5).view(3, 33, 8)
    rule, first = LikelyRule(weight=3.0, bias=-0.1), photos[:, :FIRST]
    together = likelihood(rule, shared(queries, photos, first))
    alone = [likelihood(rule, shared(*one)) for one in zip(queries, photos, first, strict=True)]
    assert torch.equal(together, torch.stack(alone))


def test_a_photo_that_has_more_in_common_is_more_likely():
    values = likelihood(LikelyRule(weight=10.0, bias=-2.0), torch.tensor([-0.1, 0.0, 0.2, 0.4]))
    assert (values.diff() > 0).all()
    assert abs(float(values[2]) - 0.5) < 1e-6


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=30))
def test_the_line_is_where_most_agree_with_it(likelihoods):
    def agreement(line: int) -> float:
        return float(sum(one - 0.5 for one in likelihoods[:line]))

    line = likely_first(np.array(likelihoods))
    assert 0 <= line <= len(likelihoods)
    assert agreement(line) >= max(map(agreement, range(len(likelihoods) + 1))) - 1e-5


def test_the_line_of_sorted_results_is_where_likelihood_falls_below_a_half():
    assert likely_first(np.array([0.9, 0.8, 0.6, 0.4, 0.2])) == 3
    assert likely_first(np.array([0.4, 0.3])) == 0
    assert likely_first(np.array([])) == 0
