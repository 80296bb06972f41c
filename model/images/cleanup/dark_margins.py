"""Straight dark bands along a picture's sides: a scanner's lid around the sheet, or bars around a screenshot.

A frame that somebody drew is kept: it runs along all four sides and is as wide everywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.images.cleanup.clean_drawings import border

_SIDE = 800  # longest side, in pixels, at which bands are looked for
_DARK = 0.45  # of the sheet's brightness at most
_BAND_SHARE = 0.97  # of a row's pixels are dark in a band
_SHEET_SHARE = 0.85  # of a row's pixels are light where the sheet begins
_TRANSITION = 3  # rows between band and sheet, of any brightness
_MIN_WIDTH = 0.03  # of the longest side: of the widest band; a thinner one may be a drawn line
_MAX_WIDTH = 0.3  # of the side
_FRAME_TOLERANCE = 0.25  # widths of a drawn frame differ by this share at most
_MAX_FRAME = 0.1  # of the longest side: a wider frame is a canvas
_LIGHT_BORDER = 0.6  # of the border of what is left; otherwise it is no sheet


def without_dark_margins(rgb: Image.Image) -> tuple[Image.Image, bool]:
    """The picture without its dark margins, and whether a frame that stays surrounds it.

    Args:
        rgb: any picture of a drawing in mode RGB.
    """
    step = max(1, max(rgb.size) // _SIDE)
    values = np.asarray(rgb.convert("L"))[::step, ::step]
    sides = (values[0], values[-1], values[:, 0], values[:, -1])
    if all((side < _DARK * int(values.max())).mean() < _BAND_SHARE for side in sides):
        return rgb, False
    dark = values < _DARK * float(np.percentile(values, 95))
    widths = [_band(rows) for rows in (dark, dark[::-1], dark.T, dark.T[::-1])]
    top, bottom, left, right = (step * width for width in widths)
    if min(widths) > 0 and max(widths) - min(widths) <= max(1, _FRAME_TOLERANCE * max(widths)):
        return rgb, max(widths) <= _MAX_FRAME * max(values.shape)
    sheet = dark[widths[0] : len(dark) - widths[1], widths[2] : dark.shape[1] - widths[3]]
    if max(widths) < _MIN_WIDTH * max(values.shape) or not sheet.size or border(sheet).mean() > 1 - _LIGHT_BORDER:
        return rgb, False
    return rgb.crop((left, top, rgb.width - right, rgb.height - bottom)), False


def _band(dark: NDArray[np.bool_]) -> int:
    """Rows from the first one on that belong to a band, with its transition to the sheet; 0 without a band."""
    most = int(_MAX_WIDTH * len(dark)) + _TRANSITION + 1
    light = np.flatnonzero(dark[:most].mean(axis=1) < _BAND_SHARE)
    width = int(light[0]) if len(light) else 0
    if not width:
        return 0
    quarter = dark.shape[1] // 4  # the outer quarters may belong to other bands
    middle = dark[width : width + _TRANSITION + 1, quarter : dark.shape[1] - quarter].mean(axis=1)
    sheet = np.flatnonzero(middle <= 1 - _SHEET_SHARE)
    return width + int(sheet[0]) if len(sheet) else 0
