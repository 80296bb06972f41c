"""Everything there is to say about one sketch and one photo, from one pass through the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.config import PreprocessConfig
from model.errors import SketchseekError
from model.explain.correspondences import (
    Correspondence,
    FloatArray,
    PairMaps,
    correspondences,
    pair_maps,
    real_patches,
)
from model.explain.importance import relate_with_importance
from model.explain.ink import inked_patches
from model.networks.network import Network
from model.types import Encoding, Relation

Box = tuple[float, float, float, float]


class NotExplainableError(SketchseekError):
    """The network compares no patches, so there is nothing to show."""

    code = "not_explainable"


@dataclass(frozen=True)
class PairExplanation:
    """Why a sketch and a photo were related as they were.

    Attributes:
        grid: side G of both patch grids.
        logit: of the relation.
        score: relation score in [0, 1].
        ink: [G * G] bool, the sketch's patches with ink.
        maps: weights between the inked sketch patches and the photo patches that the encoder kept.
        correspondences: best matches of either side; mutual ones first, then by weight.
        importance: [G * G] float32, what each photo patch adds to the logit, 0 where the encoder dropped the patch;
            None where the network cannot tell.
        attention: [G * G] float32 >= 0, how much the sketch as a whole looks at each of the photo's patches.
        matches: whether the network matches patches with patches. Where it only weighs the photo's patches as a whole,
            there are no correspondences, and `attention` is all that can be said.
    """

    grid: int
    logit: float
    score: float
    ink: NDArray[np.bool_]
    maps: PairMaps
    correspondences: list[Correspondence]
    importance: FloatArray | None
    attention: FloatArray
    matches: bool = True


def explain_pair(network: Network, sketch_image: torch.Tensor, sketch: Encoding, photo: Encoding) -> PairExplanation:
    """Relate one sketch and one photo and say why: see `explain_pairs`."""
    (pair,) = explain_pairs(network, sketch_image, sketch, photo)
    return pair


def explain_pairs(
    network: Network, sketch_image: torch.Tensor, sketch: Encoding, photos: Encoding
) -> list[PairExplanation]:
    """Relate one sketch to several photos in one pass and say why each of them matches.

    Args:
        network: that encoded both.
        sketch_image: [3, S, S] as `model.images.preprocess.sketch_tensor` made it: it says where the ink is.
        sketch: its encoding, batch of 1.
        photos: P encodings.

    Returns:
        P explanations, in the photos' order.

    Raises:
        NotExplainableError: this network compares no patches.
    """
    relation, importance = relate_with_importance(network, sketch, photos)
    ink = inked_patches(sketch_image, network.preprocess, network.grid)
    pairs = []
    for number in range(len(photos)):
        if relation.attention is None:
            pairs.append(_without_matches(network, relation, photos, ink, number))
            continue
        maps = pair_maps(sketch, photos, relation.attention, ink, photo_index=number)
        of_patches = None if importance is None else importance[number, maps.photo_rows]
        pairs.append(
            PairExplanation(
                grid=network.grid,
                logit=float(relation.logit[0, number]),
                score=float(relation.score[0, number]),
                ink=ink,
                maps=maps,
                correspondences=correspondences(maps, of_patches),
                importance=None if of_patches is None else _on_grid(of_patches, maps.photo_positions, network.grid**2),
                attention=_on_grid(maps.photo_weights, maps.photo_positions, network.grid**2),
            )
        )
    return pairs


def _without_matches(
    network: Network, relation: Relation, photos: Encoding, ink: NDArray[np.bool_], number: int
) -> PairExplanation:
    """What can be said of one photo where the network weighs its patches without matching them."""
    if relation.photo_map is None:
        raise NotExplainableError(
            "this checkpoint's network compares whole images only; use a checkpoint of the zse kind to see matches"
        )
    rows = real_patches(photos, number)
    positions = photos.positions[number].cpu().numpy().astype(np.int64)[rows]
    none = np.empty(0, dtype=np.int64)
    photo_map = relation.photo_map[0, number].float().cpu().numpy()[rows]
    return PairExplanation(
        grid=network.grid,
        logit=float(relation.logit[0, number]),
        score=float(relation.score[0, number]),
        ink=ink,
        maps=PairMaps(none, positions, np.empty((0, len(rows)), dtype=np.float32), none, rows, photo_map),
        correspondences=[],
        importance=None,
        attention=_on_grid(photo_map, positions, network.grid**2),
        matches=False,
    )


def sketch_patch_box(patch: int, grid: int) -> Box:
    """Where a patch lies in the prepared sketch: x, y, width, height as shares of its side."""
    row, column = divmod(patch, grid)
    return (column / grid, row / grid, 1 / grid, 1 / grid)


def photo_patch_box(patch: int, grid: int, config: PreprocessConfig, width: int, height: int) -> Box:
    """Where a patch lies in the photo as it is, not as it was prepared.

    Args:
        patch: position in the grid, row by row.
        grid: side of the patch grid.
        config: how the photo was prepared: a padded photo fills only a part of the grid.
        width, height: of the photo, upright.

    Returns:
        x, y, width, height as shares of the photo's sides, cut off at its border; of no width or height where the patch
        lies wholly in the padding.
    """
    x, y, wide, high = sketch_patch_box(patch, grid)
    if config.photo_fit == "squash":
        return (x, y, wide, high)
    longer = max(width, height)
    share_x, share_y = width / longer, height / longer
    left, right = ((edge - (1 - share_x) / 2) / share_x for edge in (x, x + wide))
    top, bottom = ((edge - (1 - share_y) / 2) / share_y for edge in (y, y + high))
    left, right, top, bottom = (min(1.0, max(0.0, edge)) for edge in (left, right, top, bottom))
    return (left, top, right - left, bottom - top)


def _on_grid(values: NDArray[np.float32], positions: NDArray[np.int64], cells: int) -> FloatArray:
    """[m] values at grid positions -> [cells], 0 elsewhere."""
    grid = np.zeros(cells, dtype=np.float32)
    grid[positions] = values
    return grid
