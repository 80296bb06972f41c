"""AVIF and HEIC: the colours that the first picture's properties state (ISO 14496-12, `colr`; ISO 23008-12, `ipma`)."""

from __future__ import annotations

import struct

from model.images.formats.iso import Box, boxes
from model.images.formats.stated_colours import coded_profile

_MAX_ASSOCIATIONS = 4_000


def coded_colours(data: bytes) -> bytes | None:
    """The profile of the primary item's code points (`nclx`); None where there are none, or they mean sRGB.

    A profile that lies in the file is the decoder's to tell, and goes before.
    """
    try:
        return _coded_colours(data)
    except (struct.error, IndexError):
        return None


def _coded_colours(data: bytes) -> bytes | None:
    meta = next((box for box in boxes(data, 0, len(data)) if box[0] == b"meta"), None)
    if meta is None:
        return None
    parts = {kind: (start, end) for kind, start, end in boxes(data, meta[1] + 4, meta[2])}
    if b"iprp" not in parts:
        return None
    within = {kind: (start, end) for kind, start, end in boxes(data, *parts[b"iprp"])}
    if b"ipco" not in within:
        return None
    properties = list(boxes(data, *within[b"ipco"]))
    coded = [index for index, one in enumerate(properties, 1) if _is_coded(data, one)]
    if len(coded) > 1 and b"pitm" in parts and b"ipma" in within:
        coded = [index for index in _properties_of(data, within[b"ipma"][0], _primary(data, parts)) if index in coded]
    if not coded:
        return None
    start = properties[coded[0] - 1][1]
    return coded_profile(*struct.unpack_from(">HH", data, start + 4))


def _is_coded(data: bytes, one: Box) -> bool:
    kind, start, _ = one
    return kind == b"colr" and data[start : start + 4] == b"nclx"


def _primary(data: bytes, parts: dict[bytes, tuple[int, int]]) -> int:
    start = parts[b"pitm"][0]
    (item,) = struct.unpack_from(">I" if data[start] else ">H", data, start + 4)
    return int(item)


def _properties_of(data: bytes, start: int, item: int) -> list[int]:
    """Numbers, from 1, of the item's properties."""
    wide_items, wide_properties = data[start] >= 1, data[start + 3] & 1
    (count,) = struct.unpack_from(">I", data, start + 4)
    position = start + 8
    for _ in range(min(count, _MAX_ASSOCIATIONS)):
        (number,) = struct.unpack_from(">I" if wide_items else ">H", data, position)
        position += 4 if wide_items else 2
        size, many = 2 if wide_properties else 1, data[position]
        found = struct.unpack_from(f">{many}{'H' if wide_properties else 'B'}", data, position + 1)
        position += 1 + size * many
        if number == item:
            return [value & (0x7FFF if wide_properties else 0x7F) for value in found]
    return []
