"""Fits the whitening of a matching relation's patches, as the descriptors' whitening is fitted: after training."""

from __future__ import annotations

import torch

from model.layers.matching import MatchingRelation
from model.layers.whitening import whitening_of
from model.types import Encoding

PATCH_SHRINKAGE = 0.05
"""Of the patches' whitening: there are so many patches that weak directions are no noise."""


@torch.no_grad()
def fit_patches(relation: MatchingRelation, sketches: Encoding, photos: Encoding) -> None:
    """Fit the whitening of patches, and forget how they were read: similarities of whitened patches are others.

    Args:
        relation: of the network that made the encodings.
        sketches, photos: some of the categories it was trained on, both with all tokens real.
    """
    patches = [encoding.tokens[:, 1:].flatten(0, 1).float() for encoding in (sketches, photos)]
    mean, matrix = whitening_of(patches[0], patches[1], PATCH_SHRINKAGE)
    scales, directions = torch.linalg.eigh(matrix.double())
    width = relation.matrix.shape[1]
    kept = directions[:, :width] * scales[:width]  # those that vary most, which a whitening scales least
    relation.mean.copy_(mean)
    relation.matrix.copy_(kept)
    relation.start()
