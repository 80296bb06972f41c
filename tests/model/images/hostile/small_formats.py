"""GIF, WebP and BMP."""

from __future__ import annotations

import struct

from PIL import Image

from model.errors import DamagedImageError, ImageFormatError, ImageTooLargeError
from tests.model.images.hostile.case import (
    Case,
    either,
    exif_of_many_tags,
    fails,
    opens,
    picture,
    saved,
    small_and_large,
)

GIF = saved(picture(mode="L"), "GIF")
WEBP = saved(picture(), "WEBP")
LOSSLESS = saved(picture(), "WEBP", lossless=True)
BMP = saved(picture(), "BMP")


def gif(width: int, height: int, blocks: bytes) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + blocks + b";"


def frame(left: int, top: int, width: int, height: int, data: bytes = b"\x02\x4c\x01\0") -> bytes:
    return b"," + struct.pack("<HHHHB", left, top, width, height, 0) + b"\x02" + data


def gif_animation(width: int, height: int) -> bytes:
    """A first frame of transparency alone, and one with a dot."""
    frames = [Image.new("P", (width, height)) for _ in range(2)]
    for one in frames:
        one.putpalette([255, 255, 255] + [0] * 765)
    frames[1].putpixel((0, 0), 1)
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:], transparency=0, disposal=2)


def webp(*chunks: bytes) -> bytes:
    body = b"".join(chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def webp_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


def vp8x(width: int, height: int, flags: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return webp_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + size)


def webp_animation(count: int) -> bytes:
    one = webp_chunk(b"ANMF", bytes(6) + b"\x3f\0\0\x2f\0\0" + b"\x0a\0\0\0" + LOSSLESS[12:])
    return webp(vp8x(64, 48, 2), webp_chunk(b"ANIM", bytes(6)), one * count)


def bmp(width: int, height: int, bits: int, compression: int, pixels: bytes, *, offset: int = 54 + 1024) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(pixels), 0, 0, offset) + info + bytes(1024) + pixels


SMALL_FORMATS: dict[str, Case] = {
    **small_and_large(
        "gif of {}",
        lambda w, h: opens(lambda: saved(Image.new("L", (w, h)), "GIF")),
        (3000, 3000),
        (8000, 8000),
        both=True,
    ),
    **small_and_large(
        "gif animation of {} that begins empty",
        lambda w, h: opens(lambda: gif_animation(w, h)),
        (2000, 2000),
        (7000, 7000),
    ),
    "gif without pixels": fails(lambda: gif(0, 0, frame(0, 0, 0, 0)), DamagedImageError),
    "gif of 65 535 by 65 535": fails(lambda: gif(65_535, 65_535, frame(0, 0, 1, 1)), ImageTooLargeError),
    "gif whose frame leaves the screen": fails(lambda: gif(8, 8, frame(60_000, 60_000, 8, 8)), ImageTooLargeError),
    "gif whose frame is larger than its screen": fails(
        lambda: gif(8, 8, frame(0, 0, 65_535, 9000)), ImageTooLargeError
    ),
    "gif of 50 000 frames": either(lambda: gif(1, 1, frame(0, 0, 1, 1) * 50_000), DamagedImageError),
    "gif without a frame": fails(lambda: gif(8, 8, b""), DamagedImageError),
    "gif truncated": fails(lambda: GIF[: len(GIF) // 2], DamagedImageError),
    "gif truncated in its palette": fails(lambda: GIF[:30], DamagedImageError),
    "gif of noise": either(
        lambda: gif(64, 64, frame(0, 0, 64, 64, b"\xfe" + b"\xa7" * 254 + b"\0")), DamagedImageError
    ),
    "gif with a comment in 400 000 blocks": opens(lambda: GIF[:781] + b"!\xfe" + b"\1a" * 400_000 + b"\0" + GIF[781:]),
    "gif with a comment in 4 million blocks": fails(
        lambda: GIF[:781] + b"!\xfe" + b"\1a" * 4_000_000 + b"\0" + GIF[781:], DamagedImageError
    ),
    "gif with pixels in blocks of one byte": either(
        lambda: gif(3000, 3000, frame(0, 0, 3000, 3000, b"\1\x44" * 900_000 + b"\0")), DamagedImageError
    ),
    "gif with 100 000 extensions": opens(lambda: GIF[:781] + b"!\xf9\4\0\0\0\0\0" * 100_000 + GIF[781:]),
    "webp truncated": opens(lambda: WEBP[: len(WEBP) // 2]),
    "webp truncated in its header": fails(lambda: WEBP[:24], DamagedImageError),
    "webp lossless, truncated": fails(lambda: LOSSLESS[: len(LOSSLESS) // 2], DamagedImageError),
    "webp whose canvas is 16 million wide": fails(lambda: webp(vp8x(1 << 24, 1, 0), WEBP[12:]), ImageTooLargeError),
    "webp whose canvas is 60 megapixels": fails(lambda: webp(vp8x(8000, 7500, 0), WEBP[12:]), ImageTooLargeError),
    "webp whose canvas is 14 megapixels": either(lambda: webp(vp8x(4000, 3500, 0), WEBP[12:]), DamagedImageError),
    "webp that declares 16 383 by 16 383": fails(
        lambda: webp(webp_chunk(b"VP8L", b"\x2f\xff\xff\xff\x0f" + LOSSLESS[25:])), ImageTooLargeError
    ),
    "webp of 14 megapixels": opens(lambda: saved(Image.new("RGB", (4000, 3500)), "WEBP", method=0)),
    "webp of 5 000 frames": opens(lambda: webp_animation(5000)),
    "webp animation of 49 megapixels that begins empty": fails(
        lambda: webp(vp8x(7000, 7000, 18), webp_chunk(b"ANIM", bytes(6)), webp_animation(2)[44:]), ImageTooLargeError
    ),
    "webp animation of 12 megapixels that begins empty": opens(
        lambda: webp(vp8x(4000, 3000, 18), webp_chunk(b"ANIM", bytes(6)), webp_animation(2)[44:])
    ),
    "webp with 3 MB of zeros behind it": opens(lambda: WEBP + bytes(3_000_000)),
    "webp with 5 MB of EXIF": opens(
        lambda: webp(vp8x(64, 48, 8), WEBP[12:], webp_chunk(b"EXIF", exif_of_many_tags(60_000, 5_000_000)))
    ),
    "webp with a profile of 9 MB": opens(
        lambda: webp(vp8x(64, 48, 32), webp_chunk(b"ICCP", bytes(9_000_000)), WEBP[12:])
    ),
    "webp with a million chunks": fails(
        lambda: webp(WEBP[12:], webp_chunk(b"JUNK", b"") * 1_000_000), DamagedImageError
    ),
    "webp whose size lies": either(lambda: b"RIFF\xff\xff\xff\xffWEBP" + WEBP[12:], DamagedImageError),
    "bmp of 64 megapixels in one bit": opens(lambda: bmp(8000, 8000, 1, 0, bytes(8_000_000))),
    "bmp that declares 30 000 by 30 000": fails(lambda: bmp(30_000, 30_000, 24, 0, b""), ImageTooLargeError),
    "bmp that declares 2^31 by 2^31": fails(lambda: bmp(2**31 - 1, 2**31 - 1, 24, 0, b""), ImageTooLargeError),
    "bmp of negative size": fails(lambda: bmp(-8, -(2**31), 24, 0, b""), ImageTooLargeError),
    "bmp without pixels": fails(lambda: bmp(7500, 7500, 24, 0, b""), DamagedImageError),
    "bmp of no bits": fails(lambda: bmp(8, 8, 0, 0, bytes(1000)), DamagedImageError),
    "bmp whose pixels lie outside": fails(lambda: bmp(8, 8, 24, 0, bytes(200), offset=2**31), DamagedImageError),
    "bmp run-length bomb": fails(lambda: bmp(8000, 8000, 8, 1, b"\xff\0" * 250_000), ImageFormatError),
    "bmp run-length coded in single pixels": fails(
        lambda: bmp(3000, 3000, 8, 1, b"\1\0" * 4_000_000), ImageFormatError
    ),
    **small_and_large(
        "bmp of {}, run-length coded, allowed",
        lambda w, h: either(lambda: bmp(w, h, 8, 1, b"\1\0" * (450 * w)), DamagedImageError),
        (500, 400),
        (2000, 1000),
    ),
    **small_and_large(
        "bmp of {}, of four bits, lines cut short",
        lambda w, h: either(lambda: bmp(w, h, 4, 2, b"\0\0" * (450 * w)), DamagedImageError),
        (500, 400),
        (2000, 1000),
    ),
    "bmp truncated": opens(lambda: BMP[: len(BMP) // 2]),
}
