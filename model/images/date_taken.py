"""When a photo was taken, as its EXIF says: by the camera's clock, which has no zone."""

from __future__ import annotations

import re
import struct
from datetime import datetime
from typing import BinaryIO

from model.images.formats.exif import exif_block

_MOST_TAGS = 512
_EXIF_DIRECTORY = 0x8769
_ORIGINAL, _DIGITISED, _CHANGED = 0x9003, 0x9004, 0x0132
_FRACTION = {_ORIGINAL: 0x9291, _DIGITISED: 0x9292, _CHANGED: 0x9290}
_DATE = re.compile(rb"(\d{4})[:./-](\d\d)[:./-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_FIRST_YEAR, _LAST_YEAR = 1826, 2261  # the oldest photograph, and what 64 bits of nanoseconds reach


def date_taken(file: BinaryIO) -> int | None:
    """When a picture was taken, in nanoseconds since 1970 by the camera's clock; None where its file does not say.

    The date of the picture counts, else that of its digital copy, else that of its last change. A date that no
    photograph can have is none: cameras without a set clock write zeros.

    Args:
        file: the picture, which can be sought; a few hundred bytes of it are read.
    """
    block = exif_block(file)
    if block is None:
        return None
    try:
        values = _values(block)
    except (struct.error, ValueError, OverflowError):
        return None
    for tag in (_ORIGINAL, _DIGITISED, _CHANGED):
        seconds = _seconds(values.get(tag, b""))
        if seconds is not None:
            return seconds * 1_000_000_000 + _fraction(values.get(_FRACTION[tag], b""))
    return None


def _values(block: BinaryIO) -> dict[int, bytes]:
    """The texts of the tags above."""
    head = _read(block, 0, 8)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        return {}
    (start,) = struct.unpack_from(order + "I", head, 4)
    first = _directory(block, start, order)
    values = _texts(block, first, (_CHANGED,), order)
    below = first.get(_EXIF_DIRECTORY)
    if below is not None:
        (start,) = struct.unpack(order + "I", below[2])
        wanted = (_ORIGINAL, _DIGITISED, *_FRACTION.values())
        values |= _texts(block, _directory(block, start, order), wanted, order)
    return values


def _directory(block: BinaryIO, start: int, order: str) -> dict[int, tuple[int, int, bytes]]:
    """Kind, count and value of each tag (TIFF 6.0, section 2)."""
    (count,) = struct.unpack(order + "H", _read(block, start, 2))
    count = min(count, _MOST_TAGS)
    entries = struct.iter_unpack(order + "HHI4s", _read(block, start + 2, 12 * count))
    return {tag: (kind, number, value) for tag, kind, number, value in entries}


def _texts(
    block: BinaryIO, directory: dict[int, tuple[int, int, bytes]], wanted: tuple[int, ...], order: str
) -> dict[int, bytes]:
    found = {}
    for tag in wanted:
        kind, number, value = directory.get(tag, (0, 0, b""))
        if kind == 2:  # text
            place = struct.unpack(order + "I", value)[0]
            found[tag] = value[:number] if number <= 4 else _read(block, place, min(number, 64))
    return found


def _seconds(text: bytes) -> int | None:
    match = _DATE.match(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        return None
    try:
        moment = datetime(year, month, day, hour, minute, min(second, 59))
    except ValueError:
        return None
    return round((moment - datetime(1970, 1, 1)).total_seconds())


def _fraction(text: bytes) -> int:
    digits = text.strip(b"\0 ")[:9]
    return int(digits.ljust(9, b"0")) if digits.isdigit() else 0


def _read(block: BinaryIO, position: int, size: int) -> bytes:
    block.seek(position)
    return block.read(size)
