"""From the parts of a query to the one vector that is searched with. Pure functions.

Every part is a unit vector in descriptor space. Their weighted sum is the query, as in the vector model of retrieval
with relevance feedback (Rocchio, "Relevance feedback in information retrieval", in Salton, The SMART Retrieval System,
1971). What is not liked is subtracted, but never as much as the rest weighs: an unliked photo says little of what is
wanted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from app.search.query_parts import PART_NAMES, PartName, Vector
from model.ranking.expansion import expand

UNLIKE = 0.3
"""Length of what one unit of `unlike` subtracts, beside a length of 1 of all other parts together: between the best for
an unliked photo alone (0.2) and beside a liked one (0.5), on validation categories by `train/query_rules.py`."""
MOST_UNLIKE = 0.4
"""The same at most, however large the weight: with more, an unliked photo alone does more harm than good there."""
EXPANSION = "expansion"
_NOTHING = 1e-9
Exact = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Combined:
    """The vector that is searched with, and what each part gave to it.

    Attributes:
        descriptor: [E] float32, L2-normalised; zeros where the parts cancel each other out.
        shares: name of a part -> [E] float32. They sum to `descriptor`, so the inner products of the shares with a
            photo's descriptor sum to its recall score.
    """

    descriptor: Vector
    shares: Mapping[str, Vector]

    @staticmethod
    def of_one(descriptor: Vector, name: PartName = "sketch") -> Combined:
        """A query of one part, with its descriptor [E] as it is."""
        return Combined(descriptor, {name: descriptor})

    @property
    def is_expanded(self) -> bool:
        """Whether its hits moved it."""
        return EXPANSION in self.shares

    @cached_property
    def unexpanded(self) -> Vector:
        """[E] float32, L2-normalised: the query as it was before its hits moved it."""
        if not self.is_expanded:
            return self.descriptor
        own = _sum({name: share.astype(np.float64) for name, share in self.shares.items() if name != EXPANSION})
        return (own / _length(own)).astype(np.float32)

    def expanded(self, moved: Vector, hits: Vector, weight: float) -> Combined:
        """The same query, moved towards its first hits.

        Args:
            moved: [E] float32, what `model.ranking.expansion.expand` makes of `descriptor` and the hits.
            hits: [K, E] float32; K at least 1.
            weight: of the hits beside the query.
        """
        direction = hits.mean(axis=0, dtype=np.float64)
        kept = 1 / _length(self.descriptor + weight * direction / _length(direction))
        shares = {name: (kept * share).astype(np.float32) for name, share in self.shares.items()}
        return Combined(moved, {**shares, EXPANSION: (moved - kept * self.descriptor).astype(np.float32)})


def combine(vectors: Mapping[PartName, Vector], weights: Mapping[PartName, float]) -> Combined:
    """The query of some parts.

    Args:
        vectors: part -> [E] float32, L2-normalised; of `unlike`, a mean of unit vectors. At least one part besides
            `unlike`.
        weights: part -> at least 0; with 0 the part is left out. Only how large they are beside each other counts.

    Returns:
        normalise(s - u), where s = sum of weight * vector over what is wanted and u = the mean of what is unliked,
        times the length of s, times min(`UNLIKE` * weight, `MOST_UNLIKE`). One part alone is returned as it is.
    """
    used = [name for name in PART_NAMES if name in vectors and weights[name] > 0]
    wanted = [name for name in used if name != "unlike"]
    if not wanted:
        raise ValueError("a query needs a part that says what is wanted")
    if used == wanted[:1]:
        return Combined.of_one(vectors[wanted[0]], wanted[0])
    shares: dict[str, Exact] = {name: weights[name] * vectors[name].astype(np.float64) for name in wanted}
    if "unlike" in used:
        strength = min(UNLIKE * weights["unlike"], MOST_UNLIKE) * _length(_sum(shares))
        shares["unlike"] = -strength * vectors["unlike"].astype(np.float64)
    length = _length(_sum(shares))
    return Combined(
        (_sum(shares) / length).astype(np.float32),
        {name: (one / length).astype(np.float32) for name, one in shares.items()},
    )


def expand_each(queries: Sequence[Combined], hits: Sequence[Vector], weight: float) -> list[Combined]:
    """Queries moved towards their first hits, those that have as many hits together.

    Args:
        queries: Q of them.
        hits: Q times [K, E] float32; K may differ, and 0 moves nothing.
        weight: of the hits beside the query.
    """
    found = list(queries)
    for count in {len(near) for near in hits} - {0}:
        members = [number for number, near in enumerate(hits) if len(near) == count]
        asked = torch.from_numpy(np.stack([queries[number].descriptor for number in members]))
        moved = expand(asked, torch.from_numpy(np.stack([hits[number] for number in members])), weight).numpy()
        for number, one in zip(members, moved, strict=True):
            found[number] = queries[number].expanded(one, hits[number], weight)
    return found


def contributions(combined: Combined, photos: Vector | None, recall_scores: Vector) -> list[dict[str, float]]:
    """What each part of a query gives to the recall scores of C photos.

    Args:
        combined: the query as it searched last.
        photos: [C, E] float32, as they were searched; not looked at if the query has one part.
        recall_scores: [C] float32, inner products of `combined.descriptor` with each photo.

    Returns:
        for each photo: part -> its share; the shares sum to the recall score within rounding.
    """
    if len(combined.shares) == 1:  # then rounding differs in nothing
        (only,) = combined.shares
        return [{only: score} for score in recall_scores.tolist()]
    if photos is None:
        raise ValueError("the shares of several parts cannot be told without the photos")
    names = list(combined.shares)
    given = photos.astype(np.float64) @ np.stack([combined.shares[name] for name in names], axis=1).astype(np.float64)
    return [dict(zip(names, row, strict=True)) for row in given.tolist()]


def _sum(shares: Mapping[str, Exact]) -> Exact:
    total: Exact = np.sum(list(shares.values()), axis=0)
    return total


def _length(vector: Exact) -> float:
    return max(float(np.linalg.norm(vector)), _NOTHING)
