"""Which format a file seems to be of, by its first bytes."""

from __future__ import annotations

import re

# Magic bytes of what people send, by Pillow's names where it has one.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG", "PNG"),
    (rb"GIF8[79]a", "GIF"),
    (rb"RIFF.{4}WEBP", "WEBP"),
    (rb"BM.{12}[\x0c-\x7c]\0\0\0", "BMP"),
    (rb"(?:II|MM)(?:[*+]\0|\0[*+])", "TIFF"),
    (rb".{4}ftypavi[fs]", "AVIF"),
    (rb".{4}ftyp(?:mif1|msf1|he[iv][cxms])", "HEIF"),
    (rb".{4}ftyp", "MP4"),
    (rb"8BPS", "PSD"),
    (rb"%PDF", "PDF"),
    (rb"(?:\xc5\xd0\xd3\xc6|%!PS)", "EPS"),
    (rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|svg|!--|!DOCTYPE svg)", "SVG"),
    (rb"\0\0[\1\2]\0[^\0]", "ICO"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG2000"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL"),
    (rb"PK\x03\x04", "ZIP"),
    (rb"DDS ", "DDS"),
    (rb"icns", "ICNS"),
    (rb"qoif", "QOI"),
)


def sniff(data: bytes) -> str | None:
    """The format that `data` seems to be by its first bytes; None if unknown."""
    for signature, name in _SIGNATURES:
        if re.match(signature, data[:64], re.DOTALL):
            return name
    return None
