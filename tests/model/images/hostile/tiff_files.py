"""TIFF: directories of any size, tiles and strips that lie."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from PIL import Image

from model.errors import DamagedImageError, ImageTooLargeError
from tests.model.images.hostile.case import Case, either, fails, opens, picture, saved, small_and_large, zeros

GOOD = saved(picture(), "TIFF")
SHORT, LONG = 3, 4


def tiff(tags: dict[int, tuple[int, int, int]], data: bytes = b"", extra: int = 0) -> bytes:
    """`tags` maps a tag to type, count and value or offset; `data` starts at 8, the directory follows it."""
    start = 8 + len(data)
    entries = b"".join(struct.pack("<HHII", tag, *tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<I", start) + data + struct.pack("<H", len(tags) + extra) + entries + bytes(4)


def grey(width: int, height: int, data: bytes, compression: int = 1, **more: tuple[int, int, int]) -> bytes:
    tags = {
        256: (LONG, 1, width),
        257: (LONG, 1, height),
        258: (SHORT, 1, 8),
        259: (SHORT, 1, compression),
        262: (SHORT, 1, 1),
        273: (LONG, 1, 8),
        277: (SHORT, 1, 1),
        278: (LONG, 1, height),
        279: (LONG, 1, len(data)),
    }
    tags |= {int(name[1:]): value for name, value in more.items()}
    return tiff(tags, data)


def tiled(side: int) -> bytes:
    """A small picture in one tile of side by side pixels."""
    data = zeros(side * side)
    tags = {"t322": (LONG, 1, side), "t323": (LONG, 1, side), "t324": (LONG, 1, 8), "t325": (LONG, 1, len(data))}
    return grey(64, 64, data, 8, **tags)


def many_pages(count: int) -> bytes:
    pages = bytearray(b"II*\0" + struct.pack("<I", 8))
    for _ in range(count):
        tags = [(256, LONG, 1, 1), (257, LONG, 1, 1), (258, SHORT, 1, 8), (259, SHORT, 1, 1), (262, SHORT, 1, 1)]
        tags += [(273, LONG, 1, 0), (278, LONG, 1, 1), (279, LONG, 1, 1)]
        pages += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        pages += struct.pack("<I", len(pages) + 4)
    return bytes(pages)


def big_tiff(entries: int) -> bytes:
    return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, entries) + bytes(10_000_000)


def aliased(count: int) -> bytes:
    """`count` private tags that all point at the same megabyte."""
    tags: dict[str, Any] = {f"t{40_000 + index}": (7, 1_000_000, 8) for index in range(count)}
    return grey(64, 64, bytes(1_000_000), **tags)


TIFF: dict[str, Case] = {
    **small_and_large(
        "tiff of {}, deflated",
        lambda w, h: either(lambda: grey(w, h, zeros(w * h), 8), ImageTooLargeError),
        (3000, 3000),
        (8000, 8000),
        both=True,
    ),
    **small_and_large(
        "tiff of {} in small strips",
        lambda w, h: opens(lambda: saved(Image.new("RGB", (w, h)), "TIFF", compression="tiff_deflate")),
        (3000, 3000),
        (7000, 7000),
    ),
    "tiff that declares 60 000 by 60 000": fails(lambda: grey(60_000, 60_000, b"abc"), ImageTooLargeError),
    "tiff that declares 2^32 by 2^32": fails(lambda: grey(2**32 - 1, 2**32 - 1, b"abc"), ImageTooLargeError),
    "tiff without pixels": fails(lambda: grey(0, 0, b"abc"), DamagedImageError),
    "tiff with fewer pixels than it says": fails(lambda: grey(5000, 5000, b"abc"), DamagedImageError),
    "tiff truncated": opens(lambda: GOOD[: len(GOOD) // 2]),
    "tiff of eight bytes": fails(lambda: GOOD[:8], DamagedImageError),
    "tiff whose directory lies outside": fails(lambda: b"II*\0\xff\xff\xff\xff" + bytes(100), DamagedImageError),
    "tiff whose directory is itself": fails(lambda: b"II*\0\0\0\0\0" + bytes(100), DamagedImageError),
    "tiff of 65 535 tags": fails(lambda: tiff({256: (LONG, 1, 8)}, extra=65_534) + bytes(900_000), DamagedImageError),
    "tiff of 2^60 tags": fails(lambda: big_tiff(1 << 60), DamagedImageError),
    "tiff with 4 000 tags of one megabyte": either(lambda: aliased(4000), DamagedImageError),
    "tiff with a tag of 4 GB": either(lambda: grey(64, 64, bytes(4096), t40000=(7, 2**32 - 1, 8)), DamagedImageError),
    "tiff with a million strips": fails(
        lambda: grey(64, 64, bytes(4096), t273=(LONG, 1_000_000, 8)), DamagedImageError
    ),
    "tiff with 60 000 strips": either(
        lambda: grey(64, 64, bytes(400_000), t273=(LONG, 60_000, 8), t278=(LONG, 1, 1)), DamagedImageError
    ),
    "tiff in one tile of 400 megapixels": fails(lambda: tiled(20_000), ImageTooLargeError),
    "tiff with 65 535 samples": fails(lambda: grey(64, 64, bytes(4096), t277=(SHORT, 1, 65_535)), DamagedImageError),
    "tiff of no bits": fails(lambda: grey(64, 64, bytes(4096), t258=(SHORT, 1, 0)), DamagedImageError),
    "tiff of unknown compression": fails(lambda: grey(64, 64, bytes(4096), 60_000), DamagedImageError),
    "tiff with damaged lzw": fails(lambda: grey(64, 64, b"\xff" * 4096, 5), DamagedImageError),
    "tiff of 10 000 pages": opens(lambda: many_pages(10_000)),
    "tiff whose next page is itself": opens(lambda: many_pages(1)[:-4] + struct.pack("<I", 8)),
    "tiff whose EXIF is its directory": either(
        lambda: grey(64, 64, bytes(4096), t34665=(LONG, 1, 8 + 4096)), DamagedImageError
    ),
    "tiff of floats that are no numbers": opens(
        lambda: saved(Image.fromarray(np.full((64, 64), np.nan, dtype=np.float32)), "TIFF")
    ),
    "tiff of huge floats": opens(
        lambda: saved(Image.fromarray(np.linspace(-3e38, 3e38, 4096, dtype=np.float32).reshape(64, 64)), "TIFF")
    ),
    "tiff of negative integers": opens(
        lambda: saved(Image.fromarray(np.arange(-2048, 2048, dtype=np.int32).reshape(64, 64)), "TIFF")
    ),
    "tiff turned by a senseless orientation": either(
        lambda: grey(64, 64, bytes(4096), t274=(SHORT, 1, 77)), DamagedImageError
    ),
    "tiff with text for its width": fails(
        lambda: grey(64, 64, bytes(4096), t256=(2, 4, 0x41414141)), DamagedImageError
    ),
}
