"""RAW files of cameras, with the extra `raw`: the preview that the camera made, else the sensor's data at half size."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from PIL import Image

from model.images.formats.jpeg import walk_jpeg
from model.images.limits import ImageLimits

if TYPE_CHECKING:
    import rawpy

BYTES = 8
"""Per pixel of the sensor: its data in 16 bits, four colours at half size, and the result. A DNG took 5.9."""

_PREVIEW_SIDE = 1024  # of a preview that is good enough where no size is asked for
_ORIENTATION = {3: 3, 5: 8, 6: 6}  # EXIF's number by LibRaw's
_TURNS = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}


def read_raw(
    data: bytes,
    limits: ImageLimits,
    longest_side: int | None,
    decode: Callable[[bytes], Image.Image],
    finish: Callable[[Image.Image], Image.Image],
) -> tuple[Image.Image, int, int]:
    """The picture, upright, and the width and height of the sensor's picture in pixels.

    Args:
        data: the file.
        limits: what it may cost.
        longest_side: as of `model.images.opening.read_image`; a smaller preview is not used.
        decode: gives the upright picture of a JPEG, within the limits, as it is wanted.
        finish: makes of decoded pixels what is wanted of them.

    Raises:
        ImageTooLargeError: the header declares more than the limits allow; nothing was decoded.
        rawpy.LibRawError: damaged, or of a camera that LibRaw does not know.
    """
    import rawpy

    with rawpy.imread(io.BytesIO(data)) as raw:
        sizes = raw.sizes
        limits.check_size(max(sizes.raw_width, sizes.width), max(sizes.raw_height, sizes.height))
        orientation = _ORIENTATION.get(sizes.flip, 1)
        width, height = sizes.width, sizes.height
        if orientation >= 5:
            width, height = height, width
        wanted = min(longest_side or _PREVIEW_SIDE, max(width, height) // 2)
        image = _preview(raw, orientation, decode, finish)
        if image is None or max(image.size) < wanted:
            with limits.turn(BYTES * sizes.raw_width * sizes.raw_height, len(data)):
                # LibRaw turns the picture upright by itself.
                image = finish(Image.fromarray(raw.postprocess(half_size=True, use_camera_wb=True, output_bps=8)))
        return image, width, height


def _preview(
    raw: rawpy.RawPy,
    orientation: int,
    decode: Callable[[bytes], Image.Image],
    finish: Callable[[Image.Image], Image.Image],
) -> Image.Image | None:
    """The largest picture that the camera put into the file; None where there is none that can be read."""
    import rawpy

    try:
        found = raw.extract_thumb()
    except rawpy.LibRawError:
        return None
    if not isinstance(found.data, bytes):
        image = finish(Image.fromarray(found.data))
    else:
        try:
            if not found.data.startswith(b"\xff\xd8\xff"):
                return None
            image = decode(found.data)
            if walk_jpeg(found.data).orientation != 1:  # says so itself, and was turned
                return image
        except Exception:  # a damaged preview is no damaged photo, and decoders raise nearly anything
            return None
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)
