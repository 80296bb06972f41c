"""Drawings that need no clean-up: what the published recipe takes as they are, and their negatives."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box: TypeAlias = tuple[int, int, int, int]
Pixels: TypeAlias = NDArray[np.uint8]

_DARK, _VISIBLE = 300, 600  # R + G + B at most: of ink by upstream's rule, and of anything visible
_DARK_SHARE = 0.35  # of visible pixels; measured: dark drawings 0.54 and more, TU-Berlin's grey ones 0.16 and less
_NEARLY_WHITE, _NEARLY_BLACK = 705, 60  # R + G + B
_WHITE_SHARE = 0.2  # of a clean drawing's pixels; scribbled shapes fill most of some
_GREY_SHARE, _GREY_SHARE_TINY = 0.15, 0.5  # of a clean drawing's pixels at most
_TINY = 96  # pixels: bitmaps of 28 x 28 and icons
_DARK_CANVAS = 360  # R + G + B at most
SAME = 2
"""Brightness may differ by this much on a canvas of one colour."""


def is_negative(pixels: Pixels, *, framed: bool) -> bool:
    """Whether the picture is a dark canvas with lighter lines: mostly black, or mostly of one dark colour.

    Args:
        pixels: [height, width, 3], any picture of a drawing.
        framed: straight dark bands surround the picture. Then a black border alone says nothing.
    """
    totals = brightness(_sampled(pixels))
    colour = float(np.median(border(totals)))
    if colour <= _NEARLY_BLACK:
        black = totals <= _NEARLY_BLACK
        return share(black) >= 0.5 or (not framed and share(border(black)) >= 0.9)
    return colour <= _DARK_CANVAS and is_canvas(totals, colour, 3 * SAME)


def brightness(pixels: Pixels) -> NDArray[np.uint16]:
    """[height, width] R + G + B, of [height, width, 3]."""
    total: NDArray[np.uint16] = pixels[..., 0].astype(np.uint16) + pixels[..., 1] + pixels[..., 2]
    return total


def border(values: NDArray[Any]) -> NDArray[Any]:
    """[2 (height + width)]: the outermost rows and columns."""
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def is_canvas(values: NDArray[Any], colour: float, tolerance: float) -> bool:
    """Whether one colour fills half of the picture and nearly all of its border, as no photographed paper does."""
    same = np.abs(values - colour) <= tolerance
    return share(same) >= 0.5 and share(border(same)) >= 0.9


def share(mask: NDArray[np.bool_]) -> float:
    """How much of a mask is set, in 0..1. `mean` takes five times as long."""
    return np.count_nonzero(mask) / mask.size


def clean_drawing_box(pixels: Pixels, margin: int) -> Box | None:
    """Box of the dark pixels (R + G + B <= 300, upstream's rule) of a clean drawing; None if the picture is not one.

    A clean drawing is white where nothing is drawn and has hardly any grey. Its lines are mostly dark, and a crop to
    this box and `margin` cuts none of them off. Small pictures may have more grey: their lines have grey edges all
    along.

    Args:
        pixels: [height, width, 3], any picture of a drawing.
        margin: in pixels.
    """
    sample = brightness(_sampled(pixels))
    grey_share = _GREY_SHARE_TINY if max(pixels.shape) <= _TINY else _GREY_SHARE
    if share(sample >= _NEARLY_WHITE) < _WHITE_SHARE or share((sample > 330) & (sample < 690)) > grey_share:
        return None
    totals = brightness(pixels)
    dark, visible = totals <= _DARK, totals <= _VISIBLE
    box, everything = mask_box(dark), mask_box(visible)
    if box is None or everything is None or np.count_nonzero(dark) < _DARK_SHARE * np.count_nonzero(visible):
        return None
    outside = (box[0] - everything[0], box[1] - everything[1], everything[2] - box[2], everything[3] - box[3])
    return box if max(outside) <= margin else None


def mask_box(mask: NDArray[np.bool_]) -> Box | None:
    """Left, top, right, bottom (half open) of what is set; None if nothing is."""
    return Image.fromarray(mask).getbbox()


def _sampled(pixels: Pixels) -> Pixels:
    """Every k-th pixel of every k-th row, 60 000 to 250 000 of them where there are as many."""
    height, width, _ = pixels.shape
    step = max(1, int((width * height / 60_000) ** 0.5))
    return pixels[::step, ::step]
