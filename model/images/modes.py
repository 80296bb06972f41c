"""Any Pillow mode -> 8-bit sRGB."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.images.colour_profiles import KEY, to_srgb

WHITE = (255, 255, 255)
_FULL_SCALES = (1023, 4095)  # of 10 and 12 bits, as scanners, microscopes and medical cameras fill them
_STRIP = 2**19  # pixels, of which some copies have 8 bytes
_EIGHT_BITS_IN_SIXTEEN = (256, 257)  # what 8 bits were multiplied by


def to_rgb(image: Image.Image, ground: tuple[int, int, int] = WHITE) -> Image.Image:
    """The image in mode RGB: colours in sRGB, transparency on `ground`, high bit depths scaled to 8 bits.

    Values beyond 8 bits: "I;16" counts as 0..`full_scale`; "I" and "F" as the narrowest of [0, 1] (F only), [0, 255]
    and [0, 65535] that holds them, else they are stretched from minimum to maximum; NaN and infinities count as 0.
    Colours are converted where the image's `info` holds a profile, as `model.images.opening` leaves it there.
    """
    profile = image.info.get(KEY)
    if image.has_transparency_data and not _is_deep(image) and image.mode != "LAB":
        return _on_ground(image, ground, profile)
    plain = _without_depth(image)
    if profile:
        return to_srgb(plain if plain.mode in ("L", "CMYK") else plain.convert("RGB"), profile)
    return plain if plain.mode == "RGB" else plain.convert("RGB")


def in_8_bits(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What makes 8 bits per channel of the image, or of any part of it; an image that has them stays as it is."""
    if image.mode.startswith("I;16"):
        scale = full_scale(image)
        table = ((np.arange(65536, dtype=np.uint32) * 255 + scale // 2) // scale).astype(np.uint8)
        return lambda part: Image.fromarray(table[np.asarray(part)])
    if image.mode in ("I", "F"):
        low, high = _extremes(image)
        return lambda part: Image.fromarray(_to_8_bits(_values(part), low, high, floating=image.mode == "F"))
    return lambda part: part


def _on_ground(image: Image.Image, ground: tuple[int, int, int], profile: bytes | None) -> Image.Image:
    canvas = Image.new("RGB", image.size, ground)
    for top, part in _strips(image):
        rgba = _to_rgba(part)
        colours = to_srgb(rgba.convert("RGB"), profile) if profile else rgba
        canvas.paste(colours, (0, top), mask=rgba.getchannel("A"))
    return canvas


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Rows of the image with the number of the first; a copy of the whole would take as much memory again."""
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def full_scale(image: Image.Image) -> int:
    """The value that is white in an image of mode "I;16": 65535, or what 10 or 12 bits hold.

    Viewers of instruments' pictures count the bits that are in use. A picture whose brightest pixel is below a
    sixteenth of 16 bits would be black everywhere else; 8 bits that were scaled up are as dark as they say.
    """
    brightest, factors = 0, set(_EIGHT_BITS_IN_SIXTEEN)
    for _, strip in _strips(image):
        values = np.asarray(strip)
        brightest = max(brightest, int(values.max()))
        if brightest > _FULL_SCALES[-1]:
            return 65535
        factors -= {factor for factor in factors if (values % factor).any()}
    if brightest <= 255 or factors:
        return 65535
    return next(scale for scale in _FULL_SCALES if brightest <= scale)


def alpha_of(image: Image.Image) -> Image.Image:
    """Opacity 0..255 (mode L) of an image with transparency of any kind."""
    return _to_rgba(image).getchannel("A")


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _without_depth(image: Image.Image) -> Image.Image:
    """A mode of 8 bits per channel: the image itself where it has one."""
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    if not _is_deep(image):
        return image
    convert, result = in_8_bits(image), Image.new("L", image.size)
    for top, part in _strips(image):
        result.paste(convert(part), (0, top))
    return result


def _to_rgba(image: Image.Image) -> Image.Image:
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def _values(image: Image.Image) -> NDArray[np.float64]:
    """[height, width]; NaN and infinities are 0."""
    with np.errstate(invalid="ignore"):  # a signalling NaN warns when it is merely copied
        values = np.asarray(image, dtype=np.float64)
    return np.where(np.isfinite(values), values, 0.0)


def _extremes(image: Image.Image) -> tuple[float, float]:
    found = [(float(values.min()), float(values.max())) for values in (_values(part) for _, part in _strips(image))]
    return min(low for low, _ in found), max(high for _, high in found)


def _to_8_bits(values: NDArray[np.float64], low: float, high: float, *, floating: bool) -> NDArray[np.uint8]:
    """What the whole image, from `low` to `high`, makes of these values."""
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
