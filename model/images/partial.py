"""Files that end early: the part of the picture that every viewer shows, and how much of it is there.

Pillow can be told to load truncated files, but only for the whole process. So a load that fails is caught instead, and
what the decoder had written by then is kept. Containers make a whole file of some formats: a JPEG gets the marker that
ends it, a WebP zeros in place of the missing bytes.
"""

from __future__ import annotations

import struct

import numpy as np
from PIL import Image, ImageFile

from model.images.colour_profiles import KEY
from model.images.formats.container import Container, damaged
from model.images.modes import in_8_bits

LEAST_SHOWN = 0.1
"""Of a picture's rows must be there, or the file is refused as damaged."""

_FILLED_BELOW = ("PNG", "GIF", "WEBP")  # whose missing rows are at the bottom, with no colour of their own
_BY_ROWS = ("PNG", "GIF", "BMP", "TIFF")  # whose decoders leave rows that are missing as they were made: zero
_GREY = (127, 128)  # what JPEG's decoder makes of blocks that are missing, in CMYK inverted
_STRIP = 64


def load_what_is_there(image: Image.Image, name: str, container: Container) -> float | None:
    """Decode an opened image. Returns the share of its rows that is there; None for a whole file.

    Raises:
        DamagedImageError: too few rows are there.
        Exception: as Pillow, for what is damaged in another way.
    """
    shown = container.shown
    try:
        image.load()
    except (OSError, EOFError, SyntaxError, IndexError, struct.error):
        if name not in _BY_ROWS or not isinstance(image, ImageFile.ImageFile) or image._im is None:
            raise
        if _has_gaps(image, name):
            raise
        image.tile = []  # so that nothing more is decoded
        image.load()
        shown = _rows_of_something(image, upside_down=name == "BMP")
        if name == "TIFF":
            image.load_end()  # turns the picture upright
    else:
        if shown is not None and name == "JPEG":
            shown = _rows_above_grey(image)
    if shown is not None and shown < LEAST_SHOWN:
        raise damaged("less than a tenth of its rows is there")
    return shown


def _has_gaps(image: ImageFile.ImageFile, name: str) -> bool:
    """Whether rows that are missing lie between those that are there."""
    settings = image.tile[0].args if name == "GIF" and image.tile else None
    interlaced = isinstance(settings, tuple) and bool(settings[1])
    return interlaced or bool(image.info.get("interlace"))


def whiten_below(image: Image.Image, name: str, shown: float | None) -> Image.Image:
    """The picture with the rows that are missing at its bottom white, as the page below a picture is."""
    if shown is None or shown >= 1 or name not in _FILLED_BELOW:
        return image
    if image.mode.startswith("I;16"):
        white = in_8_bits(image)(image)
    elif image.mode not in ("L", "RGB", "RGBA"):  # there may be no white among these
        white = image.convert("RGBA" if image.has_transparency_data else "RGB")
    else:
        white = image
    white.info = {key: value for key, value in image.info.items() if key == KEY or white is image}
    white.paste("white", (0, round(white.height * shown), white.width, white.height))
    return white


def _rows_of_something(image: Image.Image, *, upside_down: bool) -> float:
    box = image.getbbox(alpha_only=False)
    return 0.0 if box is None else (box[3] - (box[1] if upside_down else 0)) / image.height


def _rows_above_grey(image: Image.Image) -> float:
    """Rows above those at the bottom that are grey alone."""
    for end in range(image.height, 0, -_STRIP):
        start = max(0, end - _STRIP)
        strip = np.asarray(image.crop((0, start, image.width, end)))
        drawn = ((strip != _GREY[0]) & (strip != _GREY[1])).reshape(end - start, -1).any(axis=1)
        if drawn.any():
            return float(start + np.flatnonzero(drawn)[-1] + 1) / image.height
    return 0.0
