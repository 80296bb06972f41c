"""Pictures whose looks are easily lost: colours, transparency, CMYK, animations. Browsers show all of them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from model.images.formats.stated_colours import BT2020, DISPLAY_P3, SRGB, coded_profile, gamma_profile

SIZE = (160, 120)
P3 = coded_profile(12, 13) or b""
LINEAR = gamma_profile(SRGB, 1.0) or b""
ADOBE = gamma_profile((0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 2.2) or b""
PROPHOTO = gamma_profile((0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001), 1.8) or b""
WIDE = gamma_profile(BT2020, 2.2) or b""
COLOURS = (
    ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)),
    ((200, 120, 40), (40, 140, 200), (128, 128, 128), (20, 20, 20)),
    ((10, 200, 100), (230, 200, 180), (90, 60, 40), (250, 240, 60)),
)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def patches(mode: str = "RGB") -> Image.Image:
    """Twelve colours in squares of 40 pixels."""
    pixels = np.array(COLOURS, dtype=np.uint8).repeat(40, axis=0).repeat(40, axis=1)
    return Image.fromarray(pixels).convert(mode)


def faded() -> Image.Image:
    """The same, from transparent at the left to opaque at the right."""
    image = patches("RGBA")
    image.putalpha(Image.fromarray(np.array([[0, 100, 200, 255]], dtype=np.uint8).repeat(3, axis=0)).resize(SIZE, 0))
    return image


def drawing(line: str = "navy", ground: str | tuple[int, ...] = "white", mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, SIZE, ground)
    pen = ImageDraw.Draw(image)
    pen.ellipse((40, 20, 120, 100), fill=line)
    pen.rectangle((10, 50, 150, 70), fill=line)
    return image


def empty(mode: str = "RGB") -> Image.Image:
    return Image.new(mode, SIZE, (0, 0, 0, 0) if mode == "RGBA" else "white")


def jpeg(image: Image.Image, **options: Any) -> bytes:
    return saved(image, "JPEG", quality=95, subsampling=0, **options)


def png_with(*chunks: tuple[bytes, bytes], image: Image.Image | None = None) -> bytes:
    """A PNG with more chunks behind its header."""
    data = saved(image or patches(), "PNG")
    more = b""
    for kind, body in chunks:
        more += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data[:33] + more + data[33:]


def gamma(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(100_000 / value))


def primaries(chromaticities: tuple[float, ...]) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(100_000 * value) for value in chromaticities))


def coded_avif(primaries_code: int, transfer: int) -> bytes:
    """An AVIF whose container states other code points than its encoder wrote."""
    data = saved(patches(), "AVIF", quality=100, subsampling="4:4:4")
    at = data.index(b"nclx") + 4
    return data[:at] + struct.pack(">HH", primaries_code, transfer) + data[at + 4 :]


def sixteen_bits(factor: int, kind: str = "PNG") -> bytes:
    """Greys of 8 bits, each times `factor`."""
    return saved(Image.fromarray(np.asarray(patches("L")).astype(np.uint16) * factor), kind)


def without_adobe(data: bytes) -> bytes:
    """A CMYK JPEG without Adobe's marker, which says that its values are inverted."""
    at = data.index(b"\xff\xee")
    (length,) = struct.unpack_from(">H", data, at + 2)
    return data[:at] + data[at + 2 + length :]


def profile_of(space: bytes, *tags: tuple[bytes, bytes]) -> bytes:
    """A profile of version 2 with these tags."""
    start = 128 + 4 + 12 * len(tags)
    table, body = b"", b""
    for name, content in tags:
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content.ljust(-(-len(content) // 4) * 4, b"\0")
    pcs = b"Lab " if space == b"CMYK" else b"XYZ "
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    header = struct.pack(">I4xI4s4s4s", start + len(body), 0x02400000, kind, space, pcs).ljust(36, b"\0") + b"acsp"
    white = struct.pack(">3i", 63190, 65536, 54061)
    return (header + bytes(28) + white).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def grey_profile(exponent: float) -> bytes:
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * exponent))
    return profile_of(b"GRAY", (b"wtpt", white), (b"kTRC", curve))


def press_profile() -> bytes:
    """A CMYK profile of a press whose inks are duller than the formula has them: two grid points per ink."""
    corners = []
    for number in range(16):
        c, m, y, k = (number >> shift & 1 for shift in (3, 2, 1, 0))
        light = (100 - 38 * c - 48 * m - 6 * y) * (0.15 if k else 1)
        fade = 0.1 if k else 1
        corners += [
            round(2.55 * max(light, 5)),
            round(128 + fade * (-34 * c + 70 * m - 4 * y)),
            round(128 + fade * (-46 * c - 3 * m + 85 * y)),
        ]
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 if at % 4 == 0 else 0 for at in range(9)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + 4 * identity + bytes(corners) + 3 * identity
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    other = table.replace(bytes(corners), bytes(value // 2 for value in corners))  # which browsers pass over
    return profile_of(b"CMYK", (b"wtpt", white), (b"A2B0", table), (b"A2B1", other), (b"A2B2", other))


def animation(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """Two empty frames, then a drawing."""
    frames = [empty(mode), empty(mode), drawing().convert(mode), drawing("maroon").convert(mode)]
    if kind != "GIF":
        frames[1].putpixel((0, 0), (254, 254, 254) if mode == "RGB" else (9, 9, 9, 9))  # encoders merge equal frames
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **options)


SHOWN: dict[str, tuple[str, Callable[[], bytes]]] = {
    "JPEG": ("image/jpeg", lambda: jpeg(patches())),
    "JPEG, Display P3": ("image/jpeg", lambda: jpeg(patches(), icc_profile=P3)),
    "JPEG, Adobe RGB": ("image/jpeg", lambda: jpeg(patches(), icc_profile=ADOBE)),
    "JPEG, ProPhoto": ("image/jpeg", lambda: jpeg(patches(), icc_profile=PROPHOTO)),
    "JPEG, grey, linear": ("image/jpeg", lambda: jpeg(patches("L"), icc_profile=grey_profile(1.0))),
    "JPEG, grey with a profile of colours": ("image/jpeg", lambda: jpeg(patches("L"), icc_profile=LINEAR)),
    "JPEG, a grey profile on colours": ("image/jpeg", lambda: jpeg(patches(), icc_profile=grey_profile(1.0))),
    "JPEG, a profile that makes no sense": ("image/jpeg", lambda: jpeg(patches(), icc_profile=P3[:200])),
    "JPEG, CMYK": ("image/jpeg", lambda: jpeg(patches("CMYK"))),
    "JPEG, CMYK without Adobe's marker": ("image/jpeg", lambda: without_adobe(jpeg(patches("CMYK")))),
    "JPEG, CMYK of a press": ("image/jpeg", lambda: jpeg(patches("CMYK"), icc_profile=press_profile())),
    "JPEG, CMYK with a profile of colours": ("image/jpeg", lambda: jpeg(patches("CMYK"), icc_profile=P3)),
    "PNG, Display P3": ("image/png", lambda: saved(patches(), "PNG", icc_profile=P3)),
    "PNG, Display P3 with transparency": ("image/png", lambda: saved(patches("RGBA"), "PNG", icc_profile=P3)),
    "PNG, Display P3 in a palette": ("image/png", lambda: saved(patches().quantize(16), "PNG", icc_profile=P3)),
    "PNG, gAMA": ("image/png", lambda: png_with(gamma(1.0))),
    "PNG, gAMA and cHRM": ("image/png", lambda: png_with(gamma(2.2), primaries(DISPLAY_P3))),
    "PNG, cHRM alone": ("image/png", lambda: png_with(primaries(DISPLAY_P3))),
    "PNG, sRGB before gAMA": ("image/png", lambda: png_with((b"sRGB", b"\0"), gamma(1.0))),
    "PNG, cICP": ("image/png", lambda: png_with((b"cICP", bytes([12, 13, 0, 1])))),
    "PNG, cICP of video": ("image/png", lambda: png_with((b"cICP", bytes([1, 1, 0, 1])))),
    "WebP, Display P3": ("image/webp", lambda: saved(patches(), "WEBP", lossless=True, icc_profile=P3)),
    "AVIF, Display P3": ("image/avif", lambda: saved(patches(), "AVIF", quality=95, icc_profile=P3)),
    "AVIF, Display P3 by its code": ("image/avif", lambda: coded_avif(12, 13)),
    "AVIF, BT.2020 by its code": ("image/avif", lambda: coded_avif(9, 1)),
    "GIF": ("image/gif", lambda: saved(patches().quantize(16), "GIF")),
    "PNG, partly transparent": ("image/png", lambda: saved(faded(), "PNG")),
    "PNG, Display P3, partly transparent": ("image/png", lambda: saved(faded(), "PNG", icc_profile=P3)),
    "PNG, 16 bits": ("image/png", lambda: sixteen_bits(257)),
    "PNG, 16 bits and dark": ("image/png", lambda: sixteen_bits(60)),
}
"""What a browser shows as it is: media type and bytes by name."""
