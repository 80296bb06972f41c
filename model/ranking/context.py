"""What a query's candidates say of each other, after each was scored on its own.

Two steps, both of which a checkpoint may leave out:

* Photos that look alike mostly show the same thing, so each score moves towards those of the candidates that look most
  like that photo (manifold ranking: Zhou, Weston, Gretton, Bousquet and Schölkopf, NIPS 2003, "Ranking on data
  manifolds"). One lucky score among poor neighbours falls, and one unlucky score among good ones rises.
* A query that was expanded by the wrong hits finds more of the wrong kind. So one place among the first is kept for the
  photo that the sketch alone would have chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model.ranking.rows import mean_and_variance
from model.score_rules import ContextRule

_POWER = 3.0
"""Of the cosine between two photos, so that those which look most alike say most."""
_ROUNDS = 10
_TINY = 1e-12


@dataclass(frozen=True)
class CandidatePhotos:
    """What is known of all C candidates of each query, beside their scores.

    Attributes:
        photos: [..., C, E], their descriptors, of any length.
        direct: [..., C], their recall scores without query expansion; None where nothing was expanded.
    """

    photos: Tensor
    direct: Tensor | None = None


def in_context(rule: ContextRule, scores: Tensor, logits: Tensor, candidates: CandidatePhotos) -> Tensor:
    """Scores that heed each other.

    Args:
        rule: of the checkpoint.
        scores: [..., C] of all candidates of each query, in any scale.
        logits: [..., C], their relation logits.
        candidates: what else is known of them.

    Returns:
        [..., C] float64, with the mean and deviation of `scores`, but for the photo that a place is kept for.
    """
    scores = smoothed(scores.double(), candidates.photos, rule)
    if not rule.place or candidates.direct is None or scores.shape[-1] < rule.place:
        return scores
    related, near = (_standardised(each.double())[0] for each in (logits, candidates.direct))
    return with_place_kept(scores, rule.relation_share * related + (1 - rule.relation_share) * near, rule.place)


def smoothed(scores: Tensor, photos: Tensor, rule: ContextRule) -> Tensor:
    """Scores, each moved towards those of the candidates that look most alike. Mean and deviation stay.

    Args:
        scores: [..., C] float64, of all candidates of each query.
        photos: [..., C, E], their descriptors, of any length.
        rule: of the checkpoint.

    Returns:
        [..., C].
    """
    neighbours = min(rule.neighbours, scores.shape[-1] - 1)
    if neighbours < 1:
        return scores
    unit = F.normalize(photos.float(), dim=-1)  # in float64, a thousand candidates would keep searches waiting
    alike = (unit @ unit.transpose(-1, -2)).clamp_min(0)
    alike.diagonal(dim1=-2, dim2=-1).zero_()
    nearest = alike.topk(neighbours, dim=-1)
    weights = nearest.values.to(scores.dtype) ** _POWER
    weights = weights / weights.sum(dim=-1, keepdim=True).clamp_min(_TINY)
    own, mean, deviation = _standardised(scores)
    moved, kept = own, (1 - rule.carried) * own
    places = nearest.indices.flatten(start_dim=-2)
    for _ in range(_ROUNDS):
        theirs = moved.gather(-1, places).view(weights.shape)
        moved = kept + rule.carried * (weights * theirs).sum(dim=-1)
    mixed, _, _ = _standardised((1 - rule.own) * _standardised(moved)[0] + rule.own * own)
    return mean + deviation * mixed


def with_place_kept(scores: Tensor, direct: Tensor, place: int) -> Tensor:
    """Scores by which one place goes to the best of another score that has no better place.

    Args:
        scores, direct: [..., C] float64, of all candidates of each query.
        place: from 2 on; with fewer candidates nothing changes.

    Returns:
        [..., C]: as `scores`, but that photo's lies midway between those of the two places around it.
    """
    if scores.shape[-1] < place:
        return scores
    first = scores.topk(place, dim=-1)
    others = direct.scatter(-1, first.indices[..., : place - 1], -torch.inf)
    chosen = others.argmax(dim=-1, keepdim=True)
    there = first.indices[..., place - 1 :]
    between = first.values[..., place - 2 :].mean(dim=-1, keepdim=True)
    return scores.scatter(-1, chosen, torch.where(chosen == there, first.values[..., place - 1 :], between))


def _standardised(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores with a mean of 0 and a standard deviation of 1, and the mean and deviation that they had."""
    mean, variance = mean_and_variance(scores)
    deviation = variance.sqrt_().clamp_min_(_TINY)
    return (scores - mean) / deviation, mean, deviation
