"""Where each format keeps its EXIF block, read with bounds and without the pixels (CIPA DC-008, Exif 3.0).

Files are read where their blocks are, so a look at a photo of 50 MB costs a few hundred bytes.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from model.errors import ImageError
from model.images.formats.iso import item_place

_MOST_BYTES = 1_000_000
"""Longest block that is read; a JPEG's has at most 65 533."""
_HEAD_BYTES = 262_144  # where phones keep the boxes of a HEIC file
_MOST_SEGMENTS, _MOST_CHUNKS = 4_096, 4_096
_FILL = 0xFFFF  # any number of bytes of ones may stand before a marker (ITU T.81, B.1.1.2)
_PREFIX = b"Exif\0\0"


def exif_block(file: BinaryIO) -> BinaryIO | None:
    """The TIFF structure of a file's EXIF, from its start; None where there is none, or nobody can tell.

    Args:
        file: a picture, which can be sought. A TIFF or RAW file is such a structure itself.
    """
    head = _read(file, 0, 16)
    try:
        if head[:3] == b"\xff\xd8\xff":
            return _block(_of_jpeg(file))
        if head[:8] == b"\x89PNG\r\n\x1a\n":
            return _block(_of_chunks(file, 8, ">I4s", b"eXIf", rest=4, padded=False))
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return _block(_of_chunks(file, 12, "<4sI", b"EXIF", rest=0, padded=True))
        if head[:2] in (b"II", b"MM"):
            return file
        if head[4:8] == b"ftyp":
            return _block(_of_heif(file))
    except (struct.error, IndexError, ImageError):
        pass  # damaged: whoever decodes it says so
    return None


def _block(content: bytes) -> BinaryIO | None:
    content = content.removeprefix(_PREFIX)
    return io.BytesIO(content) if content else None


def _of_jpeg(file: BinaryIO) -> bytes:
    position = 2
    for _ in range(_MOST_SEGMENTS):
        head = _read(file, position, 4 + len(_PREFIX))
        marker, length = struct.unpack_from(">HH", head)
        if marker == _FILL:
            position += 1
            continue
        if marker == 0xFFE1 and head[4:] == _PREFIX:
            return _read(file, position + 4, length - 2)
        if not 0xFFC0 <= marker <= 0xFFFE or marker == 0xFFDA:  # the pixels, or no marker
            return b""
        position += 2 + length
    return b""


def _of_chunks(file: BinaryIO, position: int, form: str, wanted: bytes, *, rest: int, padded: bool) -> bytes:
    """A chunk's content; `rest` bytes follow each content."""
    for _ in range(_MOST_CHUNKS):
        first, second = struct.unpack(form, _read(file, position, 8))
        kind, length = (first, second) if isinstance(first, bytes) else (second, first)
        if kind == wanted:
            return _read(file, position + 8, length)
        position += 8 + length + rest + (length & 1 if padded else 0)
    return b""


def _of_heif(file: BinaryIO) -> bytes:
    """The first extent of the item Exif, without the offset that stands before it (ISO 23008-12, annex A)."""
    place = item_place(_read(file, 0, _HEAD_BYTES), b"Exif")
    if place is None:
        return b""
    content = _read(file, *place)
    (before,) = struct.unpack_from(">I", content)
    return content[4 + before :]


def _read(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(min(max(size, 0), _MOST_BYTES))
