"""Whether a drawing tells hardly anything because it is no more than a dot or one straight line."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.images.cleanup.clean_drawings import brightness
from model.images.cleanup.line_width import perimeter

STRAIGHT = 0.07
"""A line is straight if it bends by less than this share of its length. A line drawn by hand that sways by 4 % to each
side bends by .07 at most, an arc of 40 degrees by .08, a spoon by .1 and an S by .2."""
SOLID = 0.6
"""A dot fills more than this share of the box around it: a round one .79, and .61 if it is two pixels wide."""
SMOOTH = 1.3
"""The outline of a dot or a line is at most so many times as long as that of its box. That of a thin loop is 1.7 times
as long, because ink lies around a hole."""
FILLED = 0.3
"""More of the prepared picture is ink where a large shape is filled: .7 for a circle. A dot of the page's widest pen
has .24: the margin around it is larger."""


def has_little_ink(sketch: Image.Image) -> bool:
    """Whether a prepared sketch is no more than a dot or one straight line, thin or thick.

    The ink is measured in the box that lies along it: L long and W across. A line as long and as dark would be t = ink
    / L wide. So W - t is how far the ink bends or branches.

    Args:
        sketch: RGB, S x S, from `model.images.preprocess.sketch_image`: cropped to the ink, so that the size of a
            drawing on its paper says nothing.
    """
    light = brightness(np.asarray(sketch))
    lightest, darkest = int(light.max()), int(light.min())
    places = np.argwhere(light < (lightest + darkest) / 2)
    if not len(places):
        return True
    across, along = _extents(places)
    width = len(places) / along
    bent = across - width
    if bent >= STRAIGHT * along and bent >= (1 - SOLID) * across:  # as in most drawings
        return False
    ink = (1 - light / lightest).astype(np.float32)
    return float(ink.mean()) < FILLED and perimeter(ink) / 2 < SMOOTH * (along + width)


def _extents(places: NDArray[np.int64]) -> tuple[float, float]:
    """Of places [n, 2], in pixels: across the direction in which they spread most, and along it."""
    centred = places - places.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    across, along = np.ptp(centred @ directions, axis=0) + 1
    return float(across), float(along)
