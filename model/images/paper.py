"""Where the sheet of paper ends in a photo of a drawing, so that the table around it is not taken for ink."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Mask = NDArray[np.bool_]

_SIDE = 96  # longest side, in pixels, at which the sheet is looked for
_MIN_SHARE = 0.15  # of the picture that the sheet covers
_MAX_BRIGHTNESS = 0.6  # of the table, relative to the sheet
_MIN_FILL = 0.55  # of its bounding box, which a rectangle fills to 0.65 even where it is turned by 15 degrees
_MIN_STEP = (
    1.25  # brightness across the sheet's edge changes at least by this factor from pixel to pixel; a shadow fades
)


def running(values: NDArray[Any], window: int, reduce: np.ufunc) -> NDArray[Any]:
    """Running `reduce` (maximum, minimum, logical_or...) over an odd window along both axes of [height, width].

    Beyond the edge counts as the edge. Doubles the span, so it takes log2(window) steps per axis.
    """
    for axis in (0, 1):
        edges = [(0, 0), (0, 0)]
        edges[axis] = (window // 2, window // 2)
        values = np.moveaxis(np.pad(values, edges, mode="edge"), axis, 0)
        span = 1
        while span < window:
            step = min(span, window - span)
            values = reduce(values[:-step], values[step:])
            span += step
        values = np.moveaxis(values, 0, axis)
    return np.ascontiguousarray(values)


def surroundings(grey: Image.Image) -> Mask | None:
    """[height, width] True where a darker table surrounds a sheet of paper, a little into the sheet; None if nowhere.

    A table is clearly darker than the sheet, touches the picture's border, and reaches as far as brightness changes
    smoothly.
    """
    scale = max(1.0, max(grey.size) / _SIDE)
    size = (max(1, round(grey.width / scale)), max(1, round(grey.height / scale)))
    small = np.asarray(grey.resize(size, Image.Resampling.BOX).filter(ImageFilter.MedianFilter(3)))
    closed = (
        running(running(small, 7, np.maximum), 7, np.minimum).astype(np.float32) + 8
    )  # black is never infinitely dark
    smooth = running(closed, 3, np.maximum) < _MIN_STEP * running(closed, 3, np.minimum)
    dark = closed < _MAX_BRIGHTNESS * np.percentile(closed, 90)
    table = _connected_to_border(dark, smooth)
    if not table.any():
        return None
    table = running(table, 3, np.logical_or)  # the edge itself is not smooth
    sheet = ~table
    if sheet.mean() < _MIN_SHARE or closed[table].mean() > _MAX_BRIGHTNESS * closed[sheet].mean():
        return None
    rows, columns = sheet.any(axis=1), sheet.any(axis=0)
    if sheet.sum() < _MIN_FILL * np.ptp(np.flatnonzero(rows)) * np.ptp(np.flatnonzero(columns)):
        return None  # chalk on a board
    grown = Image.fromarray(running(table, 3, np.logical_or))
    return np.asarray(grown.resize(grey.size, Image.Resampling.NEAREST))


def _connected_to_border(seeds: Mask, passable: Mask) -> Mask:
    """Passable pixels that hang together with those of the border that are seeds."""
    reached = np.zeros_like(passable)
    start = seeds & passable
    reached[[0, -1]], reached[:, [0, -1]] = start[[0, -1]], start[:, [0, -1]]
    while True:
        grown = running(reached, 3, np.logical_or) & passable
        if np.array_equal(grown, reached):
            return reached
        reached = grown
