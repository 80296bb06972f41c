"""One hostile image."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Case:
    """A builder of bytes and the errors it may end in; `None` among them stands for an image that opens."""

    build: Callable[[], bytes]
    outcomes: tuple[type[Exception] | None, ...]


def opens(build: Callable[[], bytes]) -> Case:
    return Case(build, (None,))


def fails(build: Callable[[], bytes], error: type[Exception]) -> Case:
    return Case(build, (error,))


def either(build: Callable[[], bytes], error: type[Exception]) -> Case:
    """Opens or fails: decoders of different versions differ, and both are an answer."""
    return Case(build, (None, error))


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
