"""TIFF and BigTIFF: bounds on the directories; the file stays as it is (TIFF 6.0)."""

from __future__ import annotations

import struct

from model.images.formats.container import Container, damaged

_MAX_DIRECTORY = 4_096  # entries; libtiff's own bound
_MAX_STRIPS = 70_000


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
