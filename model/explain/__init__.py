"""From attention to correspondences to pictures, as pure functions."""

from model.explain.correspondences import (
    Correspondence,
    PairMaps,
    correspondences,
    pair_maps,
    strongest_correspondences,
)
from model.explain.ink import inked_patches

__all__ = [
    "Correspondence",
    "PairMaps",
    "correspondences",
    "inked_patches",
    "pair_maps",
    "strongest_correspondences",
]
