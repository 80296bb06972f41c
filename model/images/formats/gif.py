"""GIF: the first frame alone, or the first few (GIF89a)."""

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
    animated = data[end : end + 1] in (b"!", b",")
    whole = end < len(data) or data[-1] == 0  # else the decoder is to see that the end is missing
    return Container(b"".join([*kept, data[start:end], b";" if whole else b""]), 1, size, animated=animated)


def first_gif_frames(data: bytes, count: int) -> tuple[bytes, tuple[int, int]]:
    """The file up to its `count`-th frame, and the size that these frames need."""
    position = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    kept, control, budget = [data[:position]], b"", _MAX_BLOCKS
    width, height = struct.unpack_from("<HH", data, 6)
    while count and position < len(data) and data[position] in (0x21, 0x2C):
        start, position = position, position + 2
        if data[start] == 0x2C:
            left, top, frame_width, frame_height, flags = struct.unpack_from("<HHHHB", data, start + 1)
            width, height = max(width, left + frame_width), max(height, top + frame_height)
            position = start + 10 + (3 << (flags & 7) + 1 if flags & 0x80 else 0) + 1
        position, budget = _skip_blocks(data, position, budget)
        if data[start] == 0x2C:
            kept += [control, data[start:position]]
            control, count = b"", count - 1
        elif data[start + 1] == 0xF9:
            control = data[start:position]
    return b"".join([*kept, b";"]), (width, height)


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
