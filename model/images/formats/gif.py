"""GIF: the first frame alone (GIF89a)."""

from __future__ import annotations

import struct

from model.images.formats.container import Container, damaged

_MAX_BLOCKS = 1_000_000  # sub-blocks


def walk_gif(data: bytes) -> Container:
    """The file up to its first frame, and the size that this frame needs."""
    position = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    kept = [data[:position]]
    budget = _MAX_BLOCKS
    while data[position] == 0x21:
        end, budget = _skip_blocks(data, position + 2, budget)
        if data[position + 1] == 0xF9:  # graphic control: the transparent colour
            kept[1:] = [data[position:end]]
        position = end
    if data[position] != 0x2C:
        raise damaged("no frame")
    start, flags = position, data[position + 9]
    position += 10 + (3 << (flags & 7) + 1 if flags & 0x80 else 0) + 1
    end, _ = _skip_blocks(data, position, budget)
    left, top, width, height = struct.unpack_from("<HHHH", data, start + 1)
    screen = struct.unpack_from("<HH", data, 6)
    size = (max(screen[0], left + width), max(screen[1], top + height))
    return Container(b"".join([*kept, data[start:end], b";"]), 1, size)


def _skip_blocks(data: bytes, position: int, budget: int) -> tuple[int, int]:
    """Behind the terminator of the sub-blocks at `position`, or at the file's end."""
    end = len(data)
    while position < end:
        step = data[position]
        position += step + 1
        budget -= 1
        if not step:
            break
        if budget < 0:
            raise damaged("too many blocks")
    return min(position, end), budget
