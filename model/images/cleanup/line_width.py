"""How wide a drawing's lines are, and the same drawing with lines of another width."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]


def line_width(image: Image.Image) -> float:
    """Mean width of dark lines on white, in pixels; 0 without ink.

    Twice the ink's area over its perimeter, which for a stroke much longer than wide is its width.
    """
    ink = _ink(image)
    around = perimeter(ink)
    return 2 * float(ink.sum()) / around if around > 0 else 0.0


def perimeter(ink: Floats) -> float:
    """In pixels, of coverage [height, width] 0 white .. 1 black: its total variation, so that antialiased edges count
    as they should."""
    padded = np.pad(ink, 1)
    return float(np.hypot(np.diff(padded, axis=1)[:-1], np.diff(padded, axis=0)[:, :-1]).sum())


def with_line_width(image: Image.Image, width: float) -> Image.Image:
    """Grey image of the same size, its lines about `width` pixels wide: dilated, or eroded down to their ridges."""
    ink = _ink(image)
    now = line_width(image)
    if now > 0:
        change = (width - now) / 2
        ink = _dilated(ink, change) if change > 0 else _thinned(ink, -change)
    return Image.fromarray(np.rint(255 * (1 - ink)).astype(np.uint8))


def _ink(image: Image.Image) -> Floats:
    """[height, width] coverage: 0 white .. 1 black."""
    return (1 - np.asarray(image.convert("L"), dtype=np.float32) / 255).astype(np.float32, copy=False)


def _dilated(ink: Floats, radius: float) -> Floats:
    """Grown by `radius` pixels; a fraction of a pixel is a blend."""
    whole = int(radius)
    for _ in range(whole):
        ink = _cross(ink, np.maximum)
    rest = np.float32(radius - whole)
    blend: Floats = ((1 - rest) * ink + rest * _cross(ink, np.maximum)).astype(np.float32, copy=False)
    return blend


def _thinned(ink: Floats, radius: float) -> Floats:
    """Shrunk by `radius` pixels, but what would vanish leaves its ridge (Lantuejoul's skeleton by openings)."""
    whole = int(radius)
    ridges = np.zeros_like(ink)
    for _ in range(whole):
        ink, ridges = _eroded(ink, ridges)
    rest = np.float32(radius - whole)
    thinner, thinner_ridges = _eroded(ink, ridges)
    blend = (1 - rest) * np.maximum(ink, ridges) + rest * np.maximum(thinner, thinner_ridges)
    return blend.astype(np.float32, copy=False)


def _eroded(ink: Floats, ridges: Floats) -> tuple[Floats, Floats]:
    eroded = _cross(ink, np.minimum)
    return eroded, np.maximum(ridges, ink - _cross(eroded, np.maximum))


def _cross(values: Floats, reduce: np.ufunc) -> Floats:
    """Maximum or minimum over a pixel and its four neighbours."""
    padded = np.pad(values, 1, mode="edge")
    result: Floats = reduce.reduce(
        [values, padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]], axis=0
    )
    return result
