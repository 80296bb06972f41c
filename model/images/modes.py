"""Any Pillow mode -> 8-bit RGB."""

from __future__ import annotations

import numpy as np
from PIL import Image


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB: transparency on white, high bit depths scaled to 8 bits, colour profiles ignored.

    Values beyond 8 bits: "I;16" counts as 0..65535; "I" and "F" as the narrowest of [0, 1] (F only), [0, 255] and
    [0, 65535] that holds them, else they are stretched from minimum to maximum; NaN and infinities count as 0.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        with np.errstate(invalid="ignore"):  # a signalling NaN warns when it is merely copied
            values = np.asarray(image, dtype=np.float64)
        return Image.fromarray(_to_8_bits(values, image.mode == "F")).convert("RGB")
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    if image.has_transparency_data:
        rgba = _to_rgba(image)
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")


def alpha_of(image: Image.Image) -> Image.Image:
    """Opacity 0..255 (mode L) of an image with transparency of any kind."""
    return _to_rgba(image).getchannel("A")


def _to_rgba(image: Image.Image) -> Image.Image:
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def _to_8_bits(values: np.ndarray, floating: bool) -> np.ndarray:
    values = np.where(np.isfinite(values), values, 0.0)
    low, high = float(values.min()), float(values.max())
    if floating and low >= 0 and high <= 1:
        values = values * 255
    elif low >= 0 and high <= 255:
        pass
    elif low >= 0 and high <= 65535:
        values = values / 257
    else:
        values = (values / 2 - low / 2) / max(high / 2 - low / 2, 1e-12) * 255
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # noqa: S101  (None only for inPlace=True)
    return converted
