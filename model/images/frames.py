"""Animations that begin with an empty picture: which of the first few says most.

A browser plays an animation. A still picture of it is its first frame, unless there is nothing to see in that one.
Further frames are decoded only then, each within the same limits as the first.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from model.images.appearance import photo_rgb
from model.images.formats.gif import first_gif_frames
from model.images.formats.png import first_png_frames
from model.images.formats.webp import first_webp_frames
from model.images.limits import ImageLimits
from model.images.reduction import reduced

MAX_FRAMES = 8
"""As many frames are looked at, the first one included."""

_SIDE = 128  # pixels at which detail is measured
_EMPTY = 16  # of 255, between the brightest and the darkest of any channel
_MAX_PIXELS = 32_000_000  # of all frames that are decoded, the first one included
_BYTES = 28  # per pixel, at most: WebP's decoder, and two frames
_FIRST_FRAMES: dict[str, Callable[[bytes, int], tuple[bytes, tuple[int, int]]]] = {
    "GIF": first_gif_frames,
    "PNG": first_png_frames,
    "WEBP": first_webp_frames,
}


def is_empty(image: Image.Image) -> bool:
    """Whether the picture shows nothing: one colour, or transparency alone."""
    return bool(np.ptp(_small(image), axis=(0, 1)).max() <= _EMPTY)


def detail(image: Image.Image) -> float:
    """Mean difference of neighbouring pixels, 0..255, in the picture as it is shown, made small."""
    small = _small(image)
    across, down = np.abs(np.diff(small, axis=1)), np.abs(np.diff(small, axis=0))
    return float((across.mean() + down.mean()) / 2)


def _small(image: Image.Image) -> NDArray[np.int16]:
    """[height, width, 3] the picture as it is shown, at most `_SIDE` on a side."""
    size = (min(_SIDE, image.width), min(_SIDE, image.height))
    few = reduced(image, _SIDE)  # looking at all pixels would take copies of them
    return np.asarray(photo_rgb(few, lambda photo: photo.resize(size, Image.Resampling.BOX)), np.int16)


def better_frame(
    data: bytes, image_format: str, limits: ImageLimits, finish: Callable[[Image.Image], Image.Image]
) -> Image.Image | None:
    """The frame with most detail among the first few of a file whose first frame is empty; None if all are empty.

    Args:
        data: the whole file.
        image_format: Pillow's name.
        limits: what decoding may cost.
        finish: makes of a frame what is wanted of it.

    Raises:
        ImageError: frames that make no sense or exceed the limits.
    """
    cut = _FIRST_FRAMES.get(image_format)
    if cut is None:
        return None
    few, size = cut(data, MAX_FRAMES)
    limits.check_size(*size)
    allowed = min(MAX_FRAMES, _MAX_PIXELS // math.prod(size))
    if allowed < 2:
        return None
    best, most = None, 0.0
    with (
        limits.turn(_BYTES * math.prod(size), len(data) + len(few)),
        Image.open(io.BytesIO(few), formats=(image_format,)) as animation,
    ):
        for number, frame in enumerate(ImageSequence.Iterator(animation)):
            if number >= allowed:
                break
            if number and not is_empty(frame) and (found := detail(frame)) > most:
                best, most = finish(frame.copy()), found
    return best
