"""Where the sheet of paper ends in a photo of a drawing, so that the table around it is not taken for ink."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from model.images.cleanup.neighbourhoods import Mask, grown, reached, running

_SIDE = 96  # longest side, in pixels, at which the sheet is looked for
_MIN_SHARE = 0.15  # of the picture that the sheet covers
_MAX_BRIGHTNESS = 0.6  # of the table, relative to the sheet
_MIN_FILL = 0.55  # of its bounding box, which a rectangle fills to 0.65 even where it is turned by 15 degrees
_MIN_SPAN_FILL = 0.9  # of what lies between its outermost pixels in each row and column, as for any convex shape
_MIN_LIGHT_EDGE = 0.85  # of the pixels just inside the sheet's edge
_TABLE_TOLERANCE = 1.4  # the table's brightness varies by this factor
_MIN_STEP = 1.25  # brightness changes by this factor, at least, from pixel to pixel across the sheet's edge


def surroundings(grey: Image.Image) -> Mask | None:
    """[height, width] True where a darker table surrounds a sheet of paper, a little into the sheet; None if nowhere.

    A table is clearly darker than the sheet, touches the picture's border, and reaches as far as brightness changes
    smoothly.
    """
    scale = max(1.0, max(grey.size) / _SIDE)
    size = (max(1, round(grey.width / scale)), max(1, round(grey.height / scale)))
    small = np.asarray(grey.resize(size, Image.Resampling.BOX).filter(ImageFilter.MedianFilter(3)))
    closed = running(running(small, 7, np.maximum), 7, np.minimum).astype(np.float32)
    closed += 8  # black is never infinitely dark
    smooth = running(closed, 3, np.maximum) < _MIN_STEP * running(closed, 3, np.minimum)
    dark = closed < _MAX_BRIGHTNESS * np.percentile(closed, 90)
    table = _connected_to_border(dark, smooth)
    if not table.any():
        return None
    table = grown(table, 3)  # the edge itself is not smooth
    sheet = ~table
    if sheet.mean() < _MIN_SHARE or closed[table].mean() > _MAX_BRIGHTNESS * closed[sheet].mean():
        return None
    rows, columns = sheet.any(axis=1), sheet.any(axis=0)
    if sheet.sum() < _MIN_FILL * np.ptp(np.flatnonzero(rows)) * np.ptp(np.flatnonzero(columns)):
        return None  # chalk on a board
    if min(_span_fill(sheet), _span_fill(sheet.T)) < _MIN_SPAN_FILL:
        return None  # chalk that covers much of a board
    edge = sheet & grown(table, 5)
    if (small[edge] > _TABLE_TOLERANCE * small[table].mean()).mean() < _MIN_LIGHT_EDGE:
        return None  # the same, densely
    covered = Image.fromarray(grown(table, 3)).resize(grey.size, Image.Resampling.NEAREST)
    return np.asarray(covered)


def _span_fill(sheet: Mask) -> float:
    """Share of the pixels from the first to the last one of each row that are set."""
    rows = sheet[sheet.any(axis=1)]
    span = rows.shape[1] - rows.argmax(axis=1) - rows[:, ::-1].argmax(axis=1)
    return float(rows.sum() / span.sum())


def _connected_to_border(seeds: Mask, passable: Mask) -> Mask:
    """Passable pixels that hang together with those of the border that are seeds."""
    start = np.zeros_like(seeds)
    start[[0, -1]], start[:, [0, -1]] = seeds[[0, -1]], seeds[:, [0, -1]]
    return reached(start, passable)
