"""One hostile image."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Case:
    """A builder of bytes and the errors it may end in; `None` among them stands for an image that opens.

    A large one takes seconds, and there is a smaller one of its kind.
    """

    build: Callable[[], bytes]
    outcomes: tuple[type[Exception] | None, ...]
    large: bool = False


def opens(build: Callable[[], bytes]) -> Case:
    return Case(build, (None,))


def fails(build: Callable[[], bytes], error: type[Exception]) -> Case:
    return Case(build, (error,))


def either(build: Callable[[], bytes], error: type[Exception]) -> Case:
    """Opens or fails: decoders of different versions differ, and both are an answer."""
    return Case(build, (None, error))


def small_and_large(
    name: str, case: Callable[[int, int], Case], small: tuple[int, int], large: tuple[int, int], *, both: bool = False
) -> dict[str, Case]:
    """The same in two sizes, of which `name` tells the megapixels.

    With `both`, the large one is opened by default too: the smaller one fits into the limits however it is decoded.
    """
    named = {
        name.format(f"{width * height / 1e6:g} megapixels"): case(width, height) for width, height in (small, large)
    }
    last = list(named)[-1]
    return {**named, last: replace(named[last], large=not both)}


def zeros(size: int) -> bytes:
    """`size` zero bytes, deflated: one block again and again, for hundreds of megabytes would take a second."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = packer.compress(bytes(size & (1 << 20) - 1)) + packer.flush()
    checksum = struct.pack(">I", size % 65_521 << 16 | 1)  # Adler-32 of so many zeros
    return b"\x78\xda" + block * (size >> 20) + rest + checksum


def picture(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    """Smooth colours with a line through them."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // width, y * 255 // height, 255 - x * 255 // width], axis=2).astype(np.uint8)
    pixels[height // 2] = 0
    return Image.fromarray(pixels).convert(mode)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def exif_of_many_tags(count: int, size: int) -> bytes:
    """A little-endian TIFF directory of `count` tags that all point at the same `size` bytes."""
    entries = b"".join(struct.pack("<HHII", 1000 + index, 7, size, 0) for index in range(count))
    block = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", count) + entries + struct.pack("<I", 0)
    return block.ljust(size, b"\0")
