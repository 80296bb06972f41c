"""Metrics of retrieval as pure functions over rankings, all queries at once.

A ranking is `hits` [Q, K] bool: whether the photo at each rank (best first) is relevant, for Q sketches and the K first
photos; K is the gallery's size P for a complete ranking. `relevant` [Q] int64 counts each sketch's relevant photos in
the whole gallery. Every function returns one value per sketch, [Q] float64 in [0, 1], NaN where no photo is relevant,
so that means can be taken over any group of sketches.

Equal scores are ordered by `rank_photos`, by a fixed order of the photos that does not depend on their places in the
gallery.

Two forms of mAP@k are in use and differ widely, and ZSE-SBIR's published code computes variants of its own; each has
its own function here.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def rank_photos(scores: Tensor, tie_order: Tensor, depth: int | None = None) -> Tensor:
    """Photos from best to worst.

    Args:
        scores: [Q, P], higher is better; no NaN.
        tie_order: [P] int64, a permutation's ranks (such as the rank of each photo's id): of two photos with equal
            scores the one with the smaller number comes first.
        depth: keep so many ranks; None keeps all.

    Returns:
        [Q, K] int64, columns of `scores`.
    """
    by_identity = tie_order.argsort()
    order = scores[:, by_identity].sort(dim=1, descending=True, stable=True).indices
    return by_identity[order if depth is None else order[:, :depth]]


def average_precision(
    hits: Tensor, relevant: Tensor, depth: int | None = None, rule: Literal["strict", "lenient"] = "strict"
) -> Tensor:
    """Non-interpolated average precision: the mean of the precision at the ranks of the relevant photos.

    Args:
        hits: [Q, K] bool.
        relevant: [Q] int64.
        depth: k of AP@k; None is AP@all, which wants complete rankings.
        rule: what AP@k divides by. "strict": min(relevant, k), so that a list without relevant photos at its end pays
            for it. "lenient": the hits within the first k, 0 where there are none.
    """
    hits = hits if depth is None else hits[:, :depth]
    found = hits.cumsum(dim=1)
    total = (found * hits / _ranks(hits)).sum(dim=1)
    ceiling = relevant if depth is None else relevant.clamp(max=depth)
    divisor = ceiling if rule == "strict" else hits.sum(dim=1)
    return _undefined_without_relevant(total / divisor.clamp(min=1), relevant)


def precision_at(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """P@k: the share of relevant photos among the first k; of fewer than k photos in all, the rest count as misses."""
    return _undefined_without_relevant(hits[:, :k].sum(dim=1).double() / k, relevant)


def hit_at(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """hit@k: 1 where a relevant photo is among the first k, else 0."""
    return _undefined_without_relevant(hits[:, :k].any(dim=1), relevant)


def reciprocal_rank(hits: Tensor, relevant: Tensor) -> Tensor:
    """One over the rank of the first relevant photo, 0 where none was found (Voorhees, TREC-8, 1999; its mean is MRR).

    Wants complete rankings.
    """
    best = (hits / _ranks(hits)).amax(dim=1) if hits.shape[1] else hits.new_zeros(len(hits), dtype=torch.float64)
    return _undefined_without_relevant(best, relevant)


def upstream_average_precision(hits: Tensor, relevant: Tensor, depth: int | None = None) -> Tensor:
    """As ZSE-SBIR computes AP: with each precision replaced by the largest at that rank or later (as in PASCAL VOC
    2010).

    AP@k considers the first k ranks alone and divides by min(relevant, k). At least as large as `average_precision`.
    """
    hits = hits if depth is None else hits[:, :depth]
    precision = hits.cumsum(dim=1) / _ranks(hits)
    envelope = precision.flip(1).cummax(dim=1).values.flip(1)
    divisor = relevant if depth is None else relevant.clamp(max=depth)
    return _undefined_without_relevant((envelope * hits).sum(dim=1) / divisor.clamp(min=1), relevant)


def upstream_precision_at(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """As ZSE-SBIR computes P@k: the share of relevant photos among the first min(k, relevant)."""
    depth = relevant.clamp(max=k)
    within = _ranks(hits) <= depth[:, None]
    return _undefined_without_relevant((hits & within).sum(dim=1).double() / depth.clamp(min=1), relevant)


def accuracy_at(own_rank: Tensor, k: int) -> Tensor:
    """Acc@k of instance-level retrieval: whether each sketch's own photo is among the first k.

    Args:
        own_rank: [Q] int64, from 1.
        k: at least 1.
    """
    return (own_rank <= k).double()


def rank_of_own(scores: Tensor, own_photo: Tensor, tie_order: Tensor, allowed: Tensor | None = None) -> Tensor:
    """The rank, from 1, of each sketch's own photo.

    Args:
        scores: [Q, P], higher is better.
        own_photo: [Q] int64, a column of `scores`.
        tie_order: [P] int64, as in `rank_photos`.
        allowed: [Q, P] bool, the photos that count (such as those of the sketch's category); None counts all.
    """
    own = scores.gather(1, own_photo[:, None])
    first = tie_order[None] < tie_order[own_photo][:, None]
    ahead = (scores > own) | ((scores == own) & first)
    if allowed is not None:
        ahead &= allowed
    return ahead.sum(dim=1) + 1


def kept_of_top(reference: Tensor, candidates: Tensor) -> Tensor:
    """The share of a reference's first photos that are among the candidates.

    Args:
        reference: [Q, T] int64, such as the exhaustive arm's top 10.
        candidates: [Q, K] int64.
    """
    return (reference[:, :, None] == candidates[:, None]).any(dim=2).double().mean(dim=1)


def interpolated_precision(hits: Tensor, relevant: Tensor, points: int = 101) -> Tensor:
    """[Q, points] float64: the largest precision at any recall of at least 0, 1 / (points - 1), ..., 1.

    The precision-recall curve of a group of sketches is the mean over its rows; NaN where no photo is relevant.
    """
    found = hits.cumsum(dim=1)
    precision = found / _ranks(hits)
    envelope = precision.flip(1).cummax(dim=1).values.flip(1)
    levels = torch.linspace(0, 1, points, dtype=torch.float64, device=hits.device)
    # the first rank at which enough relevant photos were found; past the end where that never happens
    wanted = (levels * relevant[:, None] - 1e-9).ceil().clamp(min=1)
    place = torch.searchsorted(found.double(), wanted)
    padded = torch.cat([envelope, envelope.new_zeros(len(hits), 1)], dim=1)
    curve = padded.gather(1, place)
    return torch.where(relevant[:, None] > 0, curve, torch.nan)


def _ranks(hits: Tensor) -> Tensor:
    """[1, K] float64: 1, 2, ..."""
    return torch.arange(1, hits.shape[1] + 1, device=hits.device, dtype=torch.float64)[None]


def _undefined_without_relevant(values: Tensor, relevant: Tensor) -> Tensor:
    return torch.where(relevant > 0, values.double(), torch.nan)
