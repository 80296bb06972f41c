"""JPEG XL, with the extra `jxl`: the header is read first, then decoding is bounded by pixels and memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from PIL import Image

from model.images.limits import ImageLimits

if TYPE_CHECKING:
    import pylibjxl

BYTES = 12
"""Per pixel. Pictures of 12 megapixels took 5.2 to 7.3: with losses and without, with opacity and without."""

_of_thread = threading.local()


def read_jpeg_xl(
    data: bytes, limits: ImageLimits, finish: Callable[[Image.Image], Image.Image]
) -> tuple[Image.Image, int, int]:
    """The picture, upright, 8 bits per channel, and its width and height; an animation's first frame.

    Args:
        data: the file.
        limits: what it may cost. Nothing ends the decoder, so pixels bound its time too.
        finish: makes of the decoded picture what is wanted of it; its profile is in `info["icc_profile"]`.

    Raises:
        ImageTooLargeError: the header declares more than the limits allow; nothing was decoded.
        RuntimeError: damaged.
    """
    decoder = _decoder()
    header = decoder.probe(data)
    width, height = header["width"], header["height"]
    limits.check_size(width, height)
    with limits.turn(BYTES * width * height, len(data)):
        pixels, found = decoder.decode(data, metadata=True)
        image = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
        if profile := found.get("icc"):
            image.info["icc_profile"] = profile
        return finish(image), width, height


def _decoder() -> pylibjxl.JXL:
    """This thread's decoder. It has one thread: photos are decoded beside each other."""
    import pylibjxl

    known: pylibjxl.JXL | None = getattr(_of_thread, "decoder", None)
    if known is None:
        known = _of_thread.decoder = pylibjxl.JXL(threads=1)
    return known
