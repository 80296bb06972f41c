"""JPEG: lying sizes, many scans, many segments, metadata of all kinds."""

from __future__ import annotations

import struct

import numpy as np
from PIL import Image

from model.errors import DamagedImageError, ImageTooLargeError
from tests.model.images.hostile.case import Case, either, exif_of_many_tags, fails, opens, picture, saved

GOOD = saved(picture(), "JPEG")
REST = GOOD[2:]


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def in_front(extra: bytes) -> bytes:
    return b"\xff\xd8" + extra + REST


def resized(data: bytes, width: int, height: int) -> bytes:
    """The frame header declares another size."""
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def many_scans(count: int, side: int) -> bytes:
    """A progressive picture whose last scan comes `count` times."""
    data = saved(picture(side, side), "JPEG", progressive=True)
    last = data.rfind(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + b"\xff\xd9"


def exif(body: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + body)


def icc(count: int) -> bytes:
    rng = np.random.default_rng(0)
    profile = b"ICC_PROFILE\0"
    return b"".join(segment(0xE2, profile + bytes([n % 256, count % 256]) + rng.bytes(60_000)) for n in range(count))


def progressive_giant() -> bytes:
    return resized(saved(picture(64, 64), "JPEG", progressive=True), 8000, 8000)


def with_many_images_promised() -> bytes:
    index = b"II*\0" + struct.pack("<IHHHII", 8, 1, 0xB001, 4, 1, 100_000) + bytes(4)
    return in_front(segment(0xE2, b"MPF\0" + index))


JPEG: dict[str, Case] = {
    "jpeg of 64 megapixels": opens(lambda: saved(Image.new("RGB", (8000, 8000), "red"), "JPEG")),
    "jpeg that declares 65 500 by 65 500": fails(lambda: resized(GOOD, 65_500, 65_500), ImageTooLargeError),
    "jpeg that declares 8 000 by 8 000": either(lambda: resized(GOOD, 8000, 8000), DamagedImageError),
    "jpeg without height": fails(lambda: resized(GOOD, 64, 0), DamagedImageError),
    "jpeg one pixel high": opens(lambda: saved(picture(60_000, 1), "JPEG")),
    "jpeg in passes, 64 megapixels": Case(progressive_giant, (None,), large=True),
    "jpeg in passes, 20 megapixels": opens(lambda: saved(Image.new("RGB", (5000, 4000)), "JPEG", progressive=True)),
    "jpeg in 90 passes": opens(lambda: many_scans(90, 500)),
    "jpeg in 90 passes, large": fails(lambda: many_scans(80, 3000), ImageTooLargeError),
    "jpeg in 10 000 passes": fails(lambda: many_scans(10_000, 64), DamagedImageError),
    "jpeg truncated in its pixels": opens(lambda: GOOD[: len(GOOD) - 200]),
    "jpeg truncated in its header": fails(lambda: GOOD[:60], DamagedImageError),
    "jpeg of three bytes": fails(lambda: b"\xff\xd8\xff", DamagedImageError),
    "jpeg without pixels": fails(lambda: GOOD[: GOOD.find(b"\xff\xda")], DamagedImageError),
    "jpeg without tables": fails(lambda: GOOD.replace(b"\xff\xdb", b"\xff\xfe"), DamagedImageError),
    "jpeg of noise after the header": either(
        lambda: GOOD[: GOOD.find(b"\xff\xda") + 14] + np.random.default_rng(0).bytes(50_000), DamagedImageError
    ),
    "jpeg with a segment of no length": either(lambda: in_front(b"\xff\xe5\0\0"), DamagedImageError),
    "jpeg with a segment beyond its end": fails(lambda: in_front(b"\xff\xe5\xff\xff"), DamagedImageError),
    "jpeg with 10 MB of fill bytes": opens(lambda: in_front(b"\xff" * 10_000_000)),
    "jpeg with 1 900 comments": opens(lambda: in_front(segment(0xFE, b"a") * 1900)),
    "jpeg with a million comments": fails(lambda: in_front(segment(0xFE, b"a") * 1_000_000), DamagedImageError),
    "jpeg with 10 MB of comments": opens(lambda: in_front(segment(0xFE, bytes(65_000)) * 150)),
    "jpeg with 10 MB of EXIF": opens(lambda: in_front(exif(exif_of_many_tags(5000, 65_000)) * 150)),
    "jpeg with 5 000 EXIF tags of 60 KB": opens(lambda: in_front(exif(exif_of_many_tags(5000, 65_000)))),
    "jpeg whose EXIF refers to itself": opens(
        lambda: in_front(exif(b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x8769, 4, 1, 8) + struct.pack("<I", 8)))
    ),
    "jpeg whose EXIF turns it by 99": opens(
        lambda: in_front(exif(b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x112, 3, 1, 99) + bytes(4)))
    ),
    "jpeg with a profile of 9 MB of noise": opens(lambda: in_front(icc(150))),
    "jpeg with a profile in senseless order": opens(lambda: in_front(icc(3)[::-1][:0] + icc(3)[60_018:] + icc(1))),
    "jpeg that promises 100 000 pictures": opens(with_many_images_promised),
    "jpeg that says it is CMYK but is not": either(
        lambda: in_front(segment(0xEE, b"Adobe\0\x64\0\0\0\0\2")), DamagedImageError
    ),
    "jpeg with a zip and a page behind it": opens(lambda: GOOD + b"PK\3\4" + b"<html><script>" + bytes(1000)),
    "jpeg of 12 bits": fails(lambda: GOOD.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), DamagedImageError),
    "jpeg named arithmetic": either(lambda: GOOD.replace(b"\xff\xc0", b"\xff\xc9"), DamagedImageError),
    "jpeg with 255 components": fails(
        lambda: GOOD[: GOOD.find(b"\xff\xc0") + 9] + b"\xff" + REST[200:], DamagedImageError
    ),
}
