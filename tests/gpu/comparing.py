"""How close two devices come, as plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model.types import Encoding


@dataclass(frozen=True)
class Distance:
    """How far encodings lie from those of a reference; the worst image counts.

    Attributes:
        descriptor: 1 minus the cosine of the two descriptors.
        kept: the share of the reference's kept patches that were kept as well.
        tokens: relative error (Frobenius) of the tokens of the patches that both kept.
    """

    descriptor: float
    kept: float
    tokens: float


def distance(reference: Encoding, found: Encoding) -> Distance:
    """Of B encodings, on any device, from their references.

    Patches are compared by position: which ones are kept is a ranking, and rounding may swap neighbours.
    """
    reference, found = reference.to("cpu", torch.float32), found.to("cpu", torch.float32)
    assert torch.isfinite(found.tokens).all()
    cosines = F.cosine_similarity(reference.descriptor.double(), found.descriptor.double())
    kept, errors = [], []
    for row in range(len(reference)):
        expected, given = _tokens_by_patch(reference, row), _tokens_by_patch(found, row)
        both = sorted(expected.keys() & given.keys())
        kept.append(len(both) / len(expected))
        right = torch.stack([expected[patch] for patch in both])
        errors.append(float((torch.stack([given[patch] for patch in both]) - right).norm() / right.norm()))
    return Distance(float(1 - cosines.min()), min(kept), max(errors))


def _tokens_by_patch(encoding: Encoding, row: int) -> dict[int, Tensor]:
    """Tokens [D] by patch; -1 is the retrieval token."""
    patches = [-1, *encoding.positions[row].tolist()]
    real = torch.ones(len(patches)) if encoding.mask is None else encoding.mask[row]
    return {patch: encoding.tokens[row, place] for place, patch in enumerate(patches) if real[place]}


def logit_error(reference: Tensor, found: Tensor) -> float:
    """The largest error of logits [S, P], as a share of the spread (standard deviation) of the reference."""
    assert torch.isfinite(found).all()
    return float((found.double().cpu() - reference.double()).abs().max() / reference.double().std())


Ranked = Sequence[tuple[str, float]]
"""Photo ids with their scores, best first."""


def assert_same_order(expected: Ranked, found: Ranked, tolerance: float) -> None:
    """The same photos in the same order; those whose expected scores differ by less than `tolerance` may swap.

    Args:
        expected: all results of the reference, more than were found, so that the last ones may swap as well.
        found: the first results of the other side.
        tolerance: also of the scores themselves.
    """
    known = dict(expected)
    assert len({photo for photo, _ in found}) == len(found)
    for (right, score), (photo, given) in zip(expected, found, strict=False):
        assert photo in known
        assert abs(known[photo] - score) <= tolerance, f"{photo} stands where {right} belongs"
        assert abs(known[photo] - given) <= tolerance, photo
