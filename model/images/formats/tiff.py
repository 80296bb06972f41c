"""TIFF and BigTIFF: bounds on the directories; the file stays as it is (TIFF 6.0)."""

from __future__ import annotations

import struct

from model.images.formats.container import Container, damaged

_MAX_DIRECTORY = 4_096  # entries; libtiff's own bound
_MAX_STRIPS = 70_000
_MAX_RAW_TAGS, _MAX_BELOW = 200, 16  # looked at to tell RAW from other TIFF files
_PHOTOMETRIC, _SUB_DIRECTORIES, _DNG_VERSION = 262, 330, 50706
_SENSOR = (32803, 34892)  # a mosaic of colours, linear


def walk_tiff(data: bytes) -> Container:
    """The file as it is, its first directory and those it points to checked."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2] == 43
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    for pointer in _checked_directory(data, start, order, big):
        _checked_directory(data, pointer, order, big)
    return Container(data)


def _checked_directory(data: bytes, start: int, order: str, big: bool) -> list[int]:
    """Checks one directory; offsets of those it points to."""
    count_form, entry_form = (order + "Q", order + "HHQQ") if big else (order + "H", order + "HHII")
    if start > len(data):
        return []  # the decoder says what is missing
    (count,) = struct.unpack_from(count_form, data, start)
    if count > _MAX_DIRECTORY:
        raise damaged("too many tags")
    position, pointers = start + struct.calcsize(count_form), []
    for entry in range(count):
        tag, kind, number, value = struct.unpack_from(entry_form, data, position + entry * struct.calcsize(entry_form))
        if tag in (273, 279, 324, 325) and number > _MAX_STRIPS:
            raise damaged("too many strips")
        if tag in (330, 34665, 34853, 40965) and kind in (4, 13, 16, 18) and number == 1:
            pointers.append(value)
    return pointers


def is_raw(data: bytes) -> bool:
    """Whether a TIFF container holds a camera's sensor data: DNG, NEF, ARW, PEF and their like.

    Either a DNG says its version, or the picture or one of those below it is a mosaic of colours, or linear.
    """
    order = "<" if data[:2] == b"II" else ">"
    try:
        if struct.unpack_from(order + "H", data, 2) != (42,):
            return False
        (start,) = struct.unpack_from(order + "I", data, 4)
        below = _raw_signs(data, start, order)
        return below is None or any(_raw_signs(data, one, order) is None for one in below)
    except struct.error:
        return False


def _raw_signs(data: bytes, start: int, order: str) -> list[int] | None:
    """None if the directory at `start` is of sensor data; else offsets of the directories below it."""
    below: list[int] = []
    (count,) = struct.unpack_from(order + "H", data, start)
    for entry in range(min(count, _MAX_RAW_TAGS)):
        tag, kind, number, value = struct.unpack_from(order + "HHII", data, start + 2 + 12 * entry)
        (short,) = struct.unpack_from(order + "H", data, start + 10 + 12 * entry)
        if tag == _DNG_VERSION or (tag == _PHOTOMETRIC and kind == 3 and short in _SENSOR):
            return None
        if tag == _SUB_DIRECTORIES and number == 1:
            below = [value]
        elif tag == _SUB_DIRECTORIES:
            below = list(struct.unpack_from(f"{order}{min(number, _MAX_BELOW)}I", data, value))
    return below
