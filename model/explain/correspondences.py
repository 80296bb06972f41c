"""From a relation to correspondences: which sketch patch matched which photo patch, and how strongly.

Where the relation network counts similarities of real patches, matches are read off this kernel, because it is what the
logit is made of (`model/layers/matches.py`). The published variant's kernel is no map of the image; there they are
read off the cross-attention, as ZSE-SBIR shows them (Lin et al., CVPR 2023). Either way both directions have to agree:
the weight of a pair is the geometric mean of what the sketch patch gives the photo patch and what it is given back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.layers.matches import SHARPNESS
from model.types import Encoding, RelationAttention

FloatArray = NDArray[np.float32]

CLEAR = 5.0
"""How many times the median weight of a sketch and a photo a match must weigh to be worth showing. With a photo of
something else, four matches in a hundred weigh so much: see docs/explanations.md."""


@dataclass(frozen=True, slots=True)
class Correspondence:
    """One sketch patch and the photo patch it matched.

    Attributes:
        sketch_patch: position in the sketch's original patch grid, row by row.
        photo_patch: position in the photo's original patch grid, row by row.
        weight: in [0, 1], geometric mean of the two directions' weights (sketch to photo and photo to sketch).
        mutual: each is the other's best match.
        contribution: what the pair adds to the relation logit (negative: it speaks against the match), as far as the
            photo patch's importance is known; see `model.explain.importance`. 0 where it was not asked for.
        clear: it weighs at least `CLEAR` times the median weight of all patches of the two pictures.
    """

    sketch_patch: int
    photo_patch: int
    weight: float
    mutual: bool
    contribution: float = 0.0
    clear: bool = False


@dataclass(frozen=True)
class PairMaps:
    """The maps between the real patches of one sketch and one photo, without padding and without retrieval tokens.

    Attributes:
        sketch_positions: [n] int, original grid positions of the sketch's patches (only inked ones, if ink is known).
        photo_positions: [m] int, original grid positions of the photo's patches.
        weights: [n, m] float32 in [0, 1], as in `Correspondence.weight`.
        sketch_rows: [n] int, which patch tokens of the sketch's encoding these are (0 follows the retrieval token).
        photo_rows: [m] int, the same of the photo's encoding.
        photo_weights: [m] float32 >= 0, how much the sketch as a whole looks at each of the photo's patches: the mean
            over these sketch patches, the retrieval token's where matches are read off the cross-attention, or the
            photo map of a network that has one and no matches.
    """

    sketch_positions: NDArray[np.int64]
    photo_positions: NDArray[np.int64]
    weights: FloatArray
    sketch_rows: NDArray[np.int64]
    photo_rows: NDArray[np.int64]
    photo_weights: FloatArray


def pair_maps(
    sketches: Encoding,
    photos: Encoding,
    attention: RelationAttention,
    ink: NDArray[np.bool_] | None = None,
    *,
    sketch_index: int = 0,
    photo_index: int = 0,
) -> PairMaps:
    """The maps of one pair, limited to real tokens and to sketch patches with ink.

    Args:
        sketches, photos: the encodings that were related, S and P of them.
        attention: what relating them with `attention=True` gave.
        ink: [G * G] bool over the sketch's original patch grid, or None to keep every patch.
        sketch_index, photo_index: which of the S x P pairs.
    """
    sketch_rows = real_patches(sketches, sketch_index)
    photo_rows = real_patches(photos, photo_index)
    sketch_positions = _numpy(sketches.positions[sketch_index]).astype(np.int64)[sketch_rows]
    photo_positions = _numpy(photos.positions[photo_index]).astype(np.int64)[photo_rows]
    if ink is not None:
        inked = ink[sketch_positions]
        sketch_rows, sketch_positions = sketch_rows[inked], sketch_positions[inked]
    if attention.kernel is None:
        forward = _numpy(attention.sketch_to_photo[sketch_index, photo_index])
        backward = _numpy(attention.photo_to_sketch[sketch_index, photo_index])[1:, 1:]
        over_photo, forward = forward[0, 1:][photo_rows], forward[1:, 1:][np.ix_(sketch_rows, photo_rows)]
        back = backward[np.ix_(photo_rows, sketch_rows)].T
    else:
        rows = real_patches(sketches, sketch_index)
        kernel = _numpy(attention.kernel[sketch_index, photo_index])
        alike = np.exp(SHARPNESS * (kernel[np.ix_(rows, photo_rows)] - 1))
        taking_part = np.isin(rows, sketch_rows)
        back = (alike / alike.sum(axis=0))[taking_part]
        forward = (alike / alike.sum(axis=1, keepdims=True))[taking_part]
        over_photo = forward.sum(axis=0) / max(1, len(sketch_rows))
    weights = np.sqrt(np.clip(forward, 0.0, 1.0) * np.clip(back, 0.0, 1.0)).astype(np.float32)
    return PairMaps(sketch_positions, photo_positions, weights, sketch_rows, photo_rows, over_photo)


def correspondences(
    maps: PairMaps, importance: FloatArray | None = None, *, limit: int | None = None
) -> list[Correspondence]:
    """The best match of every sketch patch and of every photo patch, mutual ones first, then by weight.

    Args:
        maps: of one pair, n sketch patches and m photo patches.
        importance: [m], what each photo patch adds to the relation logit, or None. A photo patch's importance is shared
            out among the sketch patches in proportion to the weights of its column.
        limit: keep at most this many.

    Returns:
        At most n + m pairs, none twice. Ties are broken by grid position, so the order is always the same.
    """
    weights = maps.weights
    if weights.size == 0:
        return []
    best_photo = weights.argmax(axis=1)
    best_sketch = weights.argmax(axis=0)
    pairs = set(enumerate(best_photo.tolist())) | {(i, j) for j, i in enumerate(best_sketch.tolist())}
    clear = weights >= CLEAR * np.median(weights)
    columns = np.maximum(weights.sum(axis=0), np.finfo(np.float32).tiny)
    adds = np.zeros_like(weights) if importance is None else weights * (importance / columns)
    rows, photos = (np.fromiter(side, dtype=np.int64, count=len(pairs)) for side in zip(*pairs, strict=True))
    found = [
        Correspondence(*values)
        for values in zip(
            maps.sketch_positions[rows].tolist(),
            maps.photo_positions[photos].tolist(),
            weights[rows, photos].tolist(),
            ((best_photo[rows] == photos) & (best_sketch[photos] == rows)).tolist(),
            adds[rows, photos].tolist(),
            clear[rows, photos].tolist(),
            strict=True,
        )
    ]
    found.sort(key=lambda pair: (not pair.mutual, -pair.weight, pair.sketch_patch, pair.photo_patch))
    return found[:limit]


def strongest_correspondences(
    sketch: Encoding,
    photos: Encoding,
    attention: RelationAttention,
    ink: NDArray[np.bool_] | None = None,
    *,
    limit: int = 8,
) -> list[list[Correspondence]]:
    """The strongest correspondences of one sketch with each of P photos: cheap enough for every result of a search.

    Args:
        sketch: one encoding (batch of 1).
        photos: P encodings.
        attention: of relating them, [1, P, ...].
        ink: [G * G] bool over the sketch's patch grid, or None.
        limit: how many per photo, mutual best matches first.

    Returns:
        P lists, in the photos' order. Contributions are 0: they cost more than a search should.
    """
    return [
        correspondences(pair_maps(sketch, photos, attention, ink, photo_index=index), limit=limit)
        for index in range(len(photos))
    ]


def real_patches(encoding: Encoding, index: int) -> NDArray[np.int64]:
    """Rows of the real patch tokens of one image: all but the masked ones."""
    if encoding.mask is None:
        return np.arange(encoding.positions.shape[1], dtype=np.int64)
    return np.flatnonzero(_numpy(encoding.mask[index])[1:]).astype(np.int64)


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.detach().float().cpu().numpy())
