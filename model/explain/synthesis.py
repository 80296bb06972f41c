"""Sketch-to-photo synthesis: every inked patch of the sketch replaced by the photo patch that matched it best.

ZSE-SBIR (Lin et al., CVPR 2023) shows such pictures to explain a match, made of patches of the retrieved photo or of
any photo ("universal"). Bare squares side by side look like a mosaic, so ours are cut larger than the patch and
blended, and neighbours that could continue each other's piece of the photo do so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from model.explain.correspondences import PairMaps

FloatArray = NDArray[np.float32]
PAPER = (250, 249, 246)

_ROUNDS = 4
_AGREEMENT = (
    0.35  # worth of one neighbour that continues the same piece of the same photo, in shares of the best weight
)
_REACH = 2.4  # side of a piece, in patches


@dataclass(frozen=True)
class Source:
    """One photo to take pieces from.

    Attributes:
        photo: RGB, upright.
        maps: how the sketch matched it.
    """

    photo: Image.Image
    maps: PairMaps


Choice = tuple[int, int]  # which source, and which of its grid's cells


def choose_patches(ink: NDArray[np.bool_], sources: Sequence[Source], grid: int) -> dict[int, Choice]:
    """For every inked cell of the sketch, the photo patch to show there.

    Starts from the best match by weight. A cell whose token the encoder dropped continues the piece of the nearest cell
    that was kept. Then a few rounds in which a cell may continue a neighbour's piece where the weights hardly object.

    Args:
        ink: [G * G] bool, cells to fill.
        sources: at least one.
        grid: side G.

    Returns:
        Inked cell -> (index of the source, photo patch). Empty where nothing matched.
    """
    weights = {
        int(cell): {
            (number, int(patch)): float(source.maps.weights[row, column])
            for number, source in enumerate(sources)
            for row in np.flatnonzero(source.maps.sketch_positions == cell)
            for column, patch in enumerate(source.maps.photo_positions)
        }
        for cell in np.flatnonzero(ink)
    }
    kept = {cell: max(found, key=lambda c: (found[c], -c[0], -c[1])) for cell, found in weights.items() if found}
    if not kept:
        return {}
    chosen = dict(kept)
    for cell in weights:
        if cell not in kept:
            near = min(kept, key=lambda other: (_distance(cell, other, grid), other))
            chosen[cell] = _continued(near, kept[near], cell, grid) or kept[near]
    for _ in range(_ROUNDS):
        before = dict(chosen)
        for cell, found in weights.items():
            chosen[cell] = _settled(cell, before, found, grid)
        if chosen == before:
            break
    return chosen


def synthesise(ink: NDArray[np.bool_], sources: Sequence[Source], grid: int, size: int = 480) -> Image.Image:
    """The sketch as a picture made of pieces of photos.

    Args:
        ink: [G * G] bool, cells to fill.
        sources: the photo, or for a universal picture several, with their maps.
        grid: side G.
        size: side of the picture in pixels.

    Returns:
        RGB [size, size]; paper-coloured where the sketch has no ink.
    """
    chosen = choose_patches(ink, sources, grid)
    side = size / grid
    piece = max(2, round(side * _REACH))
    feather = np.sin(np.pi * (np.arange(piece) + 0.5) / piece) ** 2
    window = np.outer(feather, feather).astype(np.float32)[..., None]
    pad = piece
    colour = np.zeros((size + 2 * pad, size + 2 * pad, 3), dtype=np.float32)
    weight = np.zeros((size + 2 * pad, size + 2 * pad, 1), dtype=np.float32)
    photos = {number: _padded(sources[number].photo, size, pad) for number in {number for number, _ in chosen.values()}}
    for cell, (number, patch) in chosen.items():
        photo, (wide, high) = photos[number]
        y, x = (round((k + 0.5) * side - piece / 2) + pad for k in divmod(cell, grid))
        row, column = divmod(patch, grid)
        top = round((row + 0.5) / grid * high - piece / 2) + pad
        left = round((column + 0.5) / grid * wide - piece / 2) + pad
        colour[y : y + piece, x : x + piece] += photo[top : top + piece, left : left + piece] * window
        weight[y : y + piece, x : x + piece] += window
    blended = colour / np.maximum(weight, 1e-4)
    cover = _cover(weight[..., 0])[..., None]
    picture = blended * cover + np.array(PAPER, dtype=np.float32) * (1 - cover)
    inner = picture[pad : pad + size, pad : pad + size]
    return Image.fromarray(np.clip(inner, 0, 255).astype(np.uint8), "RGB")


def _settled(cell: int, chosen: dict[int, Choice], weights: dict[Choice, float], grid: int) -> Choice:
    """What this cell should show, given what its neighbours show."""
    neighbours = [other for other in _around(cell, grid) if other in chosen]
    offers = {chosen[cell]: 0.0}
    for other in neighbours:
        offer = _continued(other, chosen[other], cell, grid)
        if offer is not None:
            offers[offer] = offers.get(offer, 0.0) + 1.0
    top = max(weights.values(), default=1.0) or 1.0
    return max(offers, key=lambda c: (weights.get(c, 0.0) / top + _AGREEMENT * offers[c], c == chosen[cell], c))


def _continued(cell: int, choice: Choice, other: int, grid: int) -> Choice | None:
    """The patch that continues `cell`'s piece of the photo at `other`, or None past the photo's border."""
    (row, column), (other_row, other_column) = divmod(cell, grid), divmod(other, grid)
    photo_row, photo_column = divmod(choice[1], grid)
    photo_row += other_row - row
    photo_column += other_column - column
    if not (0 <= photo_row < grid and 0 <= photo_column < grid):
        return None
    return choice[0], photo_row * grid + photo_column


def _around(cell: int, grid: int) -> list[int]:
    row, column = divmod(cell, grid)
    return [
        (row + down) * grid + column + across
        for down in (-1, 0, 1)
        for across in (-1, 0, 1)
        if (down or across) and 0 <= row + down < grid and 0 <= column + across < grid
    ]


def _distance(cell: int, other: int, grid: int) -> float:
    (row, column), (other_row, other_column) = divmod(cell, grid), divmod(other, grid)
    return (row - other_row) ** 2 + (column - other_column) ** 2


def _padded(photo: Image.Image, size: int, pad: int) -> tuple[FloatArray, tuple[int, int]]:
    """The photo scaled to a mean side of `size`, its border repeated `pad` pixels outwards; and its scaled size."""
    scale = 2 * size / (photo.width + photo.height)
    wide, high = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    pixels = np.asarray(photo.convert("RGB").resize((wide, high)), dtype=np.float32)
    return np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)), mode="edge"), (wide, high)


def _cover(weight: FloatArray) -> FloatArray:
    """Where the picture covers the paper, [H, W] in [0, 1], with a soft edge."""
    mask = Image.fromarray((np.clip(weight / 0.2, 0, 1) * 255).astype(np.uint8), "L")
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(4)), dtype=np.float32) / np.float32(255)
