"""Which format a file seems to be of, by its first bytes."""

from __future__ import annotations

import os
import re
import stat

from model.images.formats.endings import KNOWN, ImageFormat
from model.images.formats.tiff import is_raw

HEAD_BYTES = 64
"""As many bytes tell a format."""

# Magic bytes of what people send, by Pillow's names where it has one.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG", "PNG"),
    (rb"GIF8[79]a", "GIF"),
    (rb"RIFF.{4}WEBP", "WEBP"),
    (rb"BM.{12}[\x0c-\x7c]\0\0\0", "BMP"),
    (rb"II\*\0.{4}CR|.{4}ftypcrx |FUJIFILMCCD-RAW|II(?:RO|RS|U\0)|MMOR|(?:II|MM).{4}HEAPCCDR|\0MRM|FOVb", "RAW"),
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
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JXL"),
    (rb"PK\x03\x04", "ZIP"),
    (rb"DDS ", "DDS"),
    (rb"icns", "ICNS"),
    (rb"qoif", "QOI"),
)


def sniff(data: bytes) -> str | None:
    """The format that `data` seems to be by its first bytes; None if unknown.

    Most RAW files are TIFF files, and only their directories tell. A head of a few bytes is "TIFF".
    """
    for signature, name in _SIGNATURES:
        if re.match(signature, data[:HEAD_BYTES], re.DOTALL):
            return "RAW" if name == "TIFF" and is_raw(data) else name
    return None


def is_picture(path: bytes) -> bool:
    """Whether the regular file at `path` begins as a picture that this installation reads."""
    try:
        found = format_at(path)
    except OSError:
        return False
    return found is not None and found.is_available


def format_at(path: bytes) -> ImageFormat | None:
    """The format that the regular file at `path` seems to be of by its first bytes; None if it is none that we know.

    Raises:
        OSError: it cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would block for ever
    try:
        return format_of(os.pread(handle, HEAD_BYTES, 0)) if stat.S_ISREG(os.fstat(handle).st_mode) else None
    finally:
        os.close(handle)


def format_of(data: bytes) -> ImageFormat | None:
    """The format that `data` seems to be of by its first bytes; None if it is none that we know."""
    found = sniff(data)
    return next((one for one in KNOWN if one.name == found), None)
