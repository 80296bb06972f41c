"""Pictures made smaller piece by piece, so that no copy of a large one is made on the way."""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import Image

from model.images.appearance import ground_of, photo_rgb
from model.images.colour_profiles import KEY
from model.images.modes import in_8_bits, to_rgb

_SMALL_PIXELS = 4_000_000  # below, all pixels are kept: exactness is cheap
_REDUCIBLE = ("L", "RGB", "CMYK", "YCbCr", "RGBX", "I", "F")  # without a copy on the way
_CONVERTED_LATER = ("L", "RGB", "CMYK")  # colours of the small picture, for a fraction of the time
_PIECE = 2**19  # pixels that are converted at a time, or one row of blocks
_PIECE_BYTES = 24  # per pixel of a piece: cut out, converted, put on a ground
_TILE = 64  # rows of the result that are scaled at a time
_REACH = 4  # rows of the result that one row of it may look at, on either side; LANCZOS looks at 3


def reduced(image: Image.Image, longest_side: int | None) -> Image.Image:
    """A large image's pixels averaged in blocks, so that at least twice `longest_side` is left.

    Modes with a palette, with transparency or with 16 bits become RGB, RGBA or L.
    """
    factor = _factor(image.size, longest_side)
    if factor < 2:
        return image
    if image.mode in _REDUCIBLE and "transparency" not in image.info:
        return image.reduce(factor)
    result = _in_blocks(image, factor, in_8_bits(image) if image.mode.startswith("I;16") else _reducible)
    if KEY in image.info:
        result.info[KEY] = image.info[KEY]
    return result


def photo_within(image: Image.Image, size: int) -> Image.Image:
    """The photo as it is shown (`model.images.appearance.photo_rgb`), its longer side at most `size`: mode RGB."""
    scale = max(image.size) / size
    if scale <= 1:
        return photo_rgb(image)
    width, height = (max(1, round(side / scale)) for side in image.size)
    profile = image.info.get(KEY)
    later = profile is not None and image.mode in _CONVERTED_LATER and "transparency" not in image.info
    ground, shallow = ground_of(image), in_8_bits(image)

    def as_shown(part: Image.Image) -> Image.Image:
        if later:
            return part
        part = shallow(part)
        if profile is not None:
            part.info[KEY] = profile
        return to_rgb(part, ground)

    result = Image.new(image.mode if later else "RGB", (width, height))
    factor = _blocks(scale)
    step = image.height / height
    for first in range(0, height, _TILE):
        last = min(first + _TILE, height)
        top = max(0, int((first - _REACH) * step)) // factor * factor
        bottom = min(image.height, math.ceil((last + _REACH) * step / factor) * factor)
        part = _in_blocks(image, factor, as_shown, range(top, bottom))
        end = min((last * step - top) / factor, float(part.height))
        box = (0.0, (first * step - top) / factor, image.width / factor, end)
        result.paste(part.resize((width, last - first), Image.Resampling.LANCZOS, box), (0, first))
    if later:
        result.info[KEY] = profile
    return to_rgb(result)


def making_bytes(image: Image.Image, longest_side: int | None, *, shown: bool) -> float:
    """Memory beside the image's own that `reduced` takes, or `photo_within` if it is `shown`; for limits."""
    if longest_side is None:
        return 0.0
    pixels = math.prod(image.size)
    if not shown:
        factor = _factor(image.size, longest_side)
        if factor < 2:
            return 0.0
        left = 4 * pixels / factor**2
        return left if image.mode in _REDUCIBLE else left + _PIECE_BYTES * max(_PIECE, factor * image.width)
    scale = max(1.0, max(image.size) / longest_side)
    factor = _blocks(scale)
    tile = min(image.height, (_TILE + 2 * _REACH) * scale) * image.width / factor**2
    return 8 * pixels / scale**2 + 4 * tile + _PIECE_BYTES * min(pixels, max(_PIECE, factor * image.width))


def _factor(size: tuple[int, int], longest_side: int | None) -> int:
    if longest_side is None or math.prod(size) <= _SMALL_PIXELS:
        return 1
    return max(size) // (2 * longest_side)


def _blocks(scale: float) -> int:
    """Blocks are averaged first, which is fast; a good filter does the rest, by 1.5 at least."""
    return max(1, int(scale / 1.5))


def _in_blocks(
    image: Image.Image, factor: int, convert: Callable[[Image.Image], Image.Image], rows: range | None = None
) -> Image.Image:
    """Some rows of the image, each piece converted and then averaged in blocks of `factor`; None: all rows."""
    rows = rows or range(image.height)
    step = factor * max(1, _PIECE // (image.width * factor))
    result: Image.Image | None = None
    for top in range(rows.start, rows.stop, step):
        part = convert(image.crop((0, top, image.width, min(top + step, rows.stop))))
        part = part.reduce(factor) if factor > 1 else part
        if result is None:
            result = Image.new(part.mode, (part.width, -(-len(rows) // factor)))
        result.paste(part, (0, (top - rows.start) // factor))
    return image if result is None else result


def _reducible(image: Image.Image) -> Image.Image:
    if image.mode in ("P", "PA", "LA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return to_rgb(image)
