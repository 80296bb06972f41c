"""JPEG XL, with the extra `jxl`: the header is read first, then decoding is bounded in memory and time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from PIL import Image

from model.images.limits import ImageLimits

if TYPE_CHECKING:
    import pylibjxl

BYTES = 12
"""Per pixel. Pictures of 12 megapixels took 5.2 to 7.3: with losses and without, with opacity and without."""

_SECONDS = 20.0

_of_thread = threading.local()


def read_jpeg_xl(data: bytes, limits: ImageLimits) -> Image.Image:
    """The picture, upright, 8 bits per channel; its profile is in `info["icc_profile"]`. An animation's first frame.

    Raises:
        ImageTooLargeError: the header declares more than the limits allow; nothing was decoded.
        RuntimeError, TimeoutError: damaged, or slower than anything honest.
    """
    decoder = _decoder()
    header = decoder.probe(data)
    width, height = header["width"], header["height"]
    limits.check_size(width, height)
    limits.check_memory(BYTES * width * height)
    with limits.together.pixels(BYTES * width * height):
        pixels, found = decoder.decode(data, metadata=True, timeout=_SECONDS)
        image = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    if profile := found.get("icc"):
        image.info["icc_profile"] = profile
    return image


def _decoder() -> pylibjxl.JXL:
    """This thread's decoder. It has one thread: photos are decoded beside each other."""
    import pylibjxl

    known: pylibjxl.JXL | None = getattr(_of_thread, "decoder", None)
    if known is None:
        known = _of_thread.decoder = pylibjxl.JXL(threads=1)
    return known
