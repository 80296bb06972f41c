"""Which results are likely to show what is asked for, whatever else the gallery holds.

A score says where a result stands among a query's candidates, so the best of a gallery without anything right scores
high as well. The cosine of a sketch and a photo does not tell either: it hardly differs between right and wrong. The
first results help. Where they are right, they are alike, and the query lies in their direction. So what counts is how
much of the cosine runs through them: with h, the direction of their mean, <query, h> * <photo, h>. The query is taken
as it was before it was expanded by its hits, and nothing is standardised among the candidates. Still the first results
matter: a filter, or other photos in the gallery, may put others there, and so raise or lower the amount of a photo.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from model.ranking.rows import inner_products, sigmoid
from model.score_rules import LikelyRule

FIRST = 5
"""Results whose direction counts."""
DEPTH = 100
"""Candidates among which the line is drawn, so that a deeper search leaves it where it is."""


def shared(query: Tensor, photos: Tensor, first: Tensor) -> Tensor:
    """What the query and each photo share with the first results.

    Args:
        query: [..., E] float32, L2-normalised, before any expansion.
        photos: [..., C, E] float32, no longer than 1, of the candidates.
        first: [..., K, E] float32, of the first results; K at least 1.

    Returns:
        [..., C] in [-1, 1].
    """
    direction = F.normalize(first.mean(dim=-2), dim=-1)
    return inner_products(query.unsqueeze(-2), direction) * inner_products(photos, direction)


def likelihood(rule: LikelyRule, amounts: Tensor) -> Tensor:
    """[..., C] in [0, 1], of amounts [..., C] from `shared`."""
    return sigmoid(rule.weight * amounts + rule.bias)


def likely_first(likelihoods: npt.NDArray[np.floating]) -> int:
    """How many of the results are likely, from the first one on.

    Results come in an order of their own, so a less likely one may stand before a likely one. The line between them is
    drawn where most agree with it: where the sum of (likelihood - 0.5) before it is largest.

    Args:
        likelihoods: [C], in the order of the results.
    """
    agreement = np.concatenate([[0.0], np.cumsum(likelihoods.astype(np.float64) - 0.5)])
    return int(agreement.argmax())
