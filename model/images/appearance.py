"""How a photo looks where it is shown: its colours, and the ground behind what is transparent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from model.images.colour_profiles import KEY
from model.images.modes import WHITE, to_rgb

DARK = (64, 64, 64)
"""The ground of a picture that cannot be seen on white."""

_SAMPLED_SIDE = 256  # pixels
_DIFFERENT = 32  # of 255, in any channel: what is closer to white is hardly seen on it
_SEEN_SHARE = 0.005  # of what is opaque that has to be seen on white: a thin outline is enough
_SOLID = 0.95  # of the most opaque pixel; edges that fade out may be darker than what they belong to


def photo_rgb(image: Image.Image, scaled: Callable[[Image.Image], Image.Image] = lambda photo: photo) -> Image.Image:
    """The photo in mode RGB, scaled: in sRGB, on a ground that shows it.

    Args:
        image: as `model.images.opening` opened it.
        scaled: makes a photo smaller. Colours that need a profile are converted after it, for a fraction of the time.
    """
    profile = image.info.get(KEY)
    if profile is None or image.mode not in ("L", "RGB", "CMYK") or "transparency" in image.info:
        return scaled(to_rgb(image, ground_of(image)))
    small = scaled(image)
    small.info[KEY] = profile
    return to_rgb(small)


def ground_of(image: Image.Image) -> tuple[int, int, int]:
    """White, as on a page; `DARK` where a picture with transparency would hardly be seen on white."""
    if not image.has_transparency_data:
        return WHITE
    step = max(1, max(image.size) // _SAMPLED_SIDE)
    sample = image.resize((-(-image.width // step), -(-image.height // step)), Image.Resampling.NEAREST)
    sample.info = dict(image.info)
    pixels = np.asarray((sample.convert("LA") if sample.mode == "La" else sample).convert("RGBA"))
    opaque = pixels[..., 3].astype(np.float32)
    contrast = (255 - pixels[..., :3].min(axis=2)) * (opaque / 255)
    seen = opaque[(contrast >= _DIFFERENT) & (opaque >= _SOLID * opaque.max())].sum()
    return DARK if opaque.any() and seen < _SEEN_SHARE * opaque.sum() else WHITE
