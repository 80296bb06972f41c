"""From a relation to correspondences to pictures, as pure functions.

Imports `model.networks`, `model.layers`.
"""

from model.explain.correspondences import (
    CLEAR,
    Correspondence,
    PairMaps,
    correspondences,
    pair_maps,
    strongest_correspondences,
)
from model.explain.explanation import (
    NotExplainableError,
    PairExplanation,
    explain_pair,
    explain_pairs,
    photo_patch_box,
    sketch_patch_box,
)
from model.explain.importance import occlusion, relate_with_importance
from model.explain.ink import inked_patches
from model.explain.pictures import attention_picture, overlay
from model.explain.synthesis import Source, synthesise

__all__ = [
    "CLEAR",
    "Correspondence",
    "NotExplainableError",
    "PairExplanation",
    "PairMaps",
    "Source",
    "attention_picture",
    "correspondences",
    "explain_pair",
    "explain_pairs",
    "inked_patches",
    "occlusion",
    "overlay",
    "pair_maps",
    "photo_patch_box",
    "relate_with_importance",
    "sketch_patch_box",
    "strongest_correspondences",
    "synthesise",
]
