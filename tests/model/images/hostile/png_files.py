"""PNG: bombs, lying headers, text and profile bombs, animations, broken chunks."""

from __future__ import annotations

import struct
import zlib

from model.errors import DamagedImageError, ImageTooLargeError
from tests.model.images.hostile.case import (
    Case,
    either,
    exif_of_many_tags,
    fails,
    opens,
    picture,
    saved,
    small_and_large,
    zeros,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width: int, height: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


END = chunk(b"IEND")
GOOD = saved(picture(), "PNG")
HEAD, BODY = GOOD[:33], GOOD[33:]  # signature and IHDR; the rest


def blank(width: int, height: int, colour: int = 2, depth: int = 8, interlace: int = 0) -> bytes:
    """An honest picture of one colour (rows counted without interlacing, which is close enough)."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = 1 + (width * channels * depth + 7) // 8
    rows = row * height + (8 * height if interlace else 0)
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    return SIGNATURE + header(width, height, depth, colour, interlace) + palette + chunk(b"IDAT", zeros(rows)) + END


def animation() -> bytes:
    frames = []
    pixels = zlib.compress((b"\0" + bytes(24)) * 8)
    for number in range(5000):
        control = struct.pack(">IIIIIHHBB", 2 * number, 8, 8, 0, 0, 1, 10, 0, 0)
        frames += [chunk(b"fcTL", control), chunk(b"fdAT", struct.pack(">I", 2 * number + 1) + pixels)]
    control = chunk(b"acTL", struct.pack(">II", 5000, 0))
    return SIGNATURE + header(8, 8) + control + chunk(b"IDAT", pixels) + b"".join(frames) + END


def large_animation(width: int, height: int) -> bytes:
    """A first frame of transparency alone, and one of a single pixel."""
    dot = zlib.compress(bytes(5))
    first = struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 10, 0, 0)
    second = struct.pack(">IIIIIHHBB", 1, 1, 1, 0, 0, 1, 10, 0, 0)
    control = chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", first)
    more = chunk(b"fcTL", second) + chunk(b"fdAT", struct.pack(">I", 2) + dot)
    pixels = chunk(b"IDAT", zeros((1 + 4 * width) * height))
    return SIGNATURE + header(width, height, colour=6) + control + pixels + more + END


def in_front(extra: bytes) -> bytes:
    return HEAD + extra + BODY


PNG: dict[str, Case] = {
    **small_and_large(
        "png bomb of {}",
        lambda w, h: either(lambda: blank(w, h), ImageTooLargeError),
        (3000, 3000),
        (8000, 8000),
        both=True,
    ),
    "png bomb of 64 megapixels with alpha": fails(lambda: blank(8000, 8000, colour=6), ImageTooLargeError),
    **small_and_large(
        "png bomb of {} with alpha", lambda w, h: opens(lambda: blank(w, h, colour=6)), (3000, 3000), (7000, 7000)
    ),
    **small_and_large(
        "png animation of {} that begins empty",
        lambda w, h: opens(lambda: large_animation(w, h)),
        (2000, 2000),
        (7000, 7000),
    ),
    **small_and_large(
        "png of {} with zeros in place of its end",
        lambda w, h: opens(lambda: blank(w, h)[:-40] + bytes(1_000_000)),
        (3000, 3000),
        (7000, 7000),
    ),
    **small_and_large(
        "png bomb of {} in a palette", lambda w, h: opens(lambda: blank(w, h, colour=3)), (3000, 3000), (8000, 8000)
    ),
    **small_and_large(
        "png bomb of {} of one bit",
        lambda w, h: opens(lambda: blank(w, h, colour=0, depth=1)),
        (3000, 3000),
        (8000, 8000),
    ),
    **small_and_large(
        "png bomb of {} of 16 bits, grey",
        lambda w, h: opens(lambda: blank(w, h, colour=0, depth=16)),
        (3000, 3000),
        (8000, 8000),
    ),
    **small_and_large(
        "png bomb of {} of 16 bits, interlaced",
        lambda w, h: either(lambda: blank(w, h, colour=6, depth=16, interlace=1), DamagedImageError),
        (1000, 1000),
        (5000, 5000),
    ),
    "png of 2.5 gigapixels": fails(lambda: blank(50_000, 200)[:16] + header(50_000, 50_000)[8:], ImageTooLargeError),
    "png that declares 2^31 by 2^31": fails(
        lambda: SIGNATURE + header(2**31 - 1, 2**31 - 1) + BODY, ImageTooLargeError
    ),
    "png one pixel wide, 60 000 high": opens(lambda: blank(1, 60_000)),
    "png one pixel wide, 60 million high": fails(lambda: blank(1, 60_000_000, colour=0, depth=1), ImageTooLargeError),
    "png without pixels": fails(lambda: SIGNATURE + header(0, 0) + BODY, DamagedImageError),
    "png without height": fails(lambda: SIGNATURE + header(64, 0) + BODY, DamagedImageError),
    "png that promises 49 megapixels and holds 3 072": fails(
        lambda: SIGNATURE + header(7000, 7000) + BODY, DamagedImageError
    ),
    "png truncated in its pixels": opens(lambda: GOOD[: len(GOOD) // 2]),
    "png truncated in its header": fails(lambda: GOOD[:20], DamagedImageError),
    "png signature alone": fails(lambda: SIGNATURE, DamagedImageError),
    "png without pixels' chunk": fails(lambda: HEAD + END, DamagedImageError),
    "png without an end": either(lambda: GOOD[:-12], DamagedImageError),
    "png with pixels before its header": fails(lambda: SIGNATURE + BODY + HEAD[8:], DamagedImageError),
    "png with a wrong checksum": fails(lambda: GOOD[:29] + b"abcd" + GOOD[33:], DamagedImageError),
    "png with deflate damaged": either(lambda: GOOD[:50] + b"\xff" * 20 + GOOD[70:], DamagedImageError),
    "png with a chunk of 4 GB": fails(lambda: HEAD + b"\xff\xff\xff\xffIDAT" + bytes(1000), DamagedImageError),
    "png of colour type 9": fails(lambda: SIGNATURE + header(8, 8, colour=9) + BODY, DamagedImageError),
    "png in a palette it lacks": either(lambda: SIGNATURE + header(64, 48, colour=3) + BODY, DamagedImageError),
    "png with too much transparency": opens(lambda: in_front(chunk(b"tRNS", bytes(100_000)))),
    "png with 300 texts of 1 MB each": opens(lambda: in_front(chunk(b"zTXt", b"a\0\0" + zeros(1 << 20)) * 300)),
    "png with a text of 300 MB": opens(lambda: in_front(chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(300 << 20)))),
    "png with 150 000 tiny texts": opens(lambda: in_front(chunk(b"tEXt", b"a\0b") * 150_000)),
    "png with a million tiny texts": fails(lambda: in_front(chunk(b"tEXt", b"a\0b") * 1_000_000), DamagedImageError),
    "png with a profile of 300 MB": opens(lambda: in_front(chunk(b"iCCP", b"a\0\0" + zeros(300 << 20)))),
    "png with 5 MB of EXIF": opens(lambda: in_front(chunk(b"eXIf", exif_of_many_tags(60_000, 5_000_000)))),
    "png whose EXIF points outside": opens(lambda: in_front(chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"))),
    "png with 150 000 empty pixel chunks": opens(lambda: in_front(chunk(b"IDAT") * 150_000)),
    "png with 10 000 headers": either(lambda: in_front(header(64, 48) * 10_000), DamagedImageError),
    "png whose second header lies": either(lambda: in_front(header(60_000, 60_000)), DamagedImageError),
    "png of 5 000 frames": opens(animation),
    "png that promises 2^31 frames": opens(lambda: in_front(chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)))),
    "png with a zip behind it": opens(lambda: GOOD + b"PK\3\4" + bytes(1000)),
    "png with a script in its text": opens(lambda: in_front(chunk(b"tEXt", b"a\0<script>alert(1)</script>"))),
}
