"""AVIF and HEIF: sizes that lie, sequences, items in pieces."""

from __future__ import annotations

import base64
import struct
import zlib

from PIL import Image

from model.errors import DamagedImageError, ImageFormatError, ImageTooLargeError
from model.images.opening import HEIF_AVAILABLE
from tests.model.images.hostile.case import Case, either, exif_of_many_tags, fails, opens, picture, saved

# Encoding this takes seconds and a gigabyte: a black AVIF of 12 000 x 12 000 pixels.
_GIANT = (
    r"c-muNU{FXasVqn=%S>Yc0uY^>nP!-qnV9D5Xy^nKdYzkElE?r7iWw<6MNl?FL1uCZ0~+8f$SlbPvlxL`E;A=T8N_h`@fjhajKT~I"
    r"Y-&KZMrLMS8eFXukdw*;<t3IG7&_<Y<b&<X$}A`<0Mg!>1<Cn9S|qc$AQfVr-UA3`5Gcs3$OMTnb8v6~DW1eKL+3_$9*~f5a(+%x"
    r"UUE(a&}3c)wg#Y(cxFK^%uhgvu`n_<vjAPCmz$DUBE-POE&o05{_fgEOj5iYMpJkMT#mQ5r803S%yR^)k3D}baINMOsar=A6ypuv"
    r"tT<Dkd3M4=O|So&Y<w+?tg@Ofa6E8Y{mC&#`R-Ax%!T#A^IwZ^&*8i#v1H!zldEFQj)!X+8t*zP(^GOF!Z(in|C2|RM|Kz7Td<Jz"
    r"HtT|=58}_CizsLM{Jbv2ea3Z1i@VnrZq%}FUH);y{e`h<vkaR4#XV<@eX}+}+ik=1Bg%<ijti+-CB%KOx3h7mn|tQt2^sEv4_}-O"
    r"+ZJRl|L_dc0d2M`Y=34cN%i^eo}qm#J$e`IEr=uDf<IPnRyVc!Z2mjeKPh>a>J}Z?Z?t^BdHTA!mv$fcH~EjGfZ64SugM>HE`EF7"
    r"#99BN%VX1H|Dhj3qfsy#1(ZfX9Bn<Ycc`0B+u$z%0I*?Ma{"
)


def giant(width: int, height: int) -> bytes:
    """144 megapixels in a container that declares others."""
    return declared(zlib.decompress(base64.b85decode(_GIANT)), width, height)


def declared(data: bytes, width: int, height: int) -> bytes:
    at = data.find(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def good(kind: str = "AVIF") -> bytes:
    return saved(picture(), kind)


def damaged(kind: str) -> bytes:
    data = bytearray(good(kind))
    at = data.find(b"mdat") + 30
    data[at : at + 40] = b"\xff" * 40
    return bytes(data)


def sequence() -> bytes:
    frames = [Image.new("RGB", (64, 48), (index % 256, 0, 0)) for index in range(100)]
    return saved(frames[0], "AVIF", save_all=True, append_images=frames[1:], speed=10)


def film() -> bytes:
    """A sequence without a still picture."""
    return sequence().replace(b"meta", b"free", 1)


def in_pieces(count: int) -> bytes:
    """The item location box promises `count` extents."""
    data = good()
    at = data.find(b"iloc") + 4
    version = data[at]
    extents = at + 6 + (2 if version < 2 else 4) + (2 if version < 2 else 4) + (2 if version else 0) + 2
    return data[:extents] + struct.pack(">H", count) + data[extents + 2 :]


ISO: dict[str, Case] = {
    "avif truncated": fails(lambda: good()[:-100], DamagedImageError),
    "avif truncated in its boxes": fails(lambda: good()[:150], DamagedImageError),
    "avif of a type alone": fails(lambda: good()[:32], DamagedImageError),
    "avif damaged": either(lambda: damaged("AVIF"), DamagedImageError),
    "avif of 144 megapixels": fails(lambda: giant(12_000, 12_000), ImageTooLargeError),
    "avif of 144 megapixels that declares 64 by 64": fails(lambda: giant(64, 64), ImageTooLargeError),
    "avif of 3 072 pixels that declares 50 000 by 50 000": fails(
        lambda: declared(good(), 50_000, 50_000), DamagedImageError
    ),
    "avif without pixels": fails(lambda: declared(good(), 0, 0), DamagedImageError),
    "avif of 100 frames": opens(sequence),
    "avif film without a still": fails(film, ImageFormatError),
    "avif with 5 MB of EXIF": opens(lambda: saved(picture(), "AVIF", exif=exif_of_many_tags(60_000, 5_000_000))),
    "avif with its item in 60 000 pieces": fails(lambda: in_pieces(60_000), DamagedImageError),
    "avif with a million boxes": fails(
        lambda: good()[:32] + b"\0\0\0\x08free" * 1_000_000 + good()[32:], DamagedImageError
    ),
    "avif with a box of no size": either(lambda: good()[:32] + b"\0\0\0\0free" + good()[32:], DamagedImageError),
    "avif with a box of four bytes": fails(lambda: good()[:32] + b"\0\0\0\4free" + good()[32:], DamagedImageError),
    "film": fails(lambda: b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(1000), ImageFormatError),
}
if HEIF_AVAILABLE:
    ISO |= {
        "heif truncated": fails(lambda: good("HEIF")[:-100], DamagedImageError),
        "heif damaged": either(lambda: damaged("HEIF"), DamagedImageError),
        "heif that declares 50 000 by 50 000": fails(lambda: declared(good("HEIF"), 50_000, 50_000), DamagedImageError),
        "heif that declares 8 by 8": either(lambda: declared(good("HEIF"), 8, 8), DamagedImageError),
        "heif with 60 KB of EXIF": opens(lambda: saved(picture(), "HEIF", exif=exif_of_many_tags(4000, 60_000))),
    }
