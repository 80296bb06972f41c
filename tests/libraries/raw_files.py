"""A small DNG, as cameras and phones write them: sensor data, and a preview or none."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image

Values = bytes | Sequence[int] | Sequence[tuple[int, int]]
Tags = dict[int, tuple[int, Values]]
Size = tuple[int, int]
_FORMS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 10: "i"}


def dng(
    size: tuple[int, int] = (320, 240), preview: tuple[int, int] | None = (320, 240), orientation: int = 1
) -> bytes:
    """Red grows to the right, green downwards and blue to the left; 12 bits.

    Args:
        size: of the sensor in pixels.
        preview: size of the embedded JPEG; None for none.
        orientation: EXIF's.
    """
    shot = _colours(size)
    mosaic = shot[..., 1].copy()
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = shot[0::2, 0::2, 0], shot[1::2, 1::2, 2]
    sensor = mosaic.astype("<u2").tobytes()
    jpeg = b""
    if preview is not None:
        stream = io.BytesIO()
        Image.fromarray((_colours(preview) // 16).astype(np.uint8)).save(stream, "JPEG", quality=95)
        jpeg = stream.getvalue()
    first = below = b""
    for _ in range(2):  # the second time with the places that the first one found
        at = 8 + len(first)
        at_jpeg = at + len(below)
        first = _directory(_first(preview, orientation, at, at_jpeg, len(jpeg)), 8)
        below = _directory(_sensor(size, at_jpeg + len(jpeg), len(sensor)), at)
    return b"II*\0" + struct.pack("<I", 8) + first + below + jpeg + sensor


def _colours(size: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    return np.stack([x * 4000 // size[0], y * 4000 // size[1], 4000 - x * 4000 // size[0]], axis=2).astype(np.uint16)


def _first(preview: tuple[int, int] | None, orientation: int, below: int, at: int, length: int) -> Tags:
    tags: dict[int, tuple[int, Values]] = {
        271: (2, b"Maker\0"), 272: (2, b"Model\0"), 274: (3, [orientation]), 330: (4, [below]),
        50706: (1, bytes([1, 4, 0, 0])), 50708: (2, b"Maker Model\0"), 50728: (5, [(1, 1)] * 3), 50778: (3, [21]),
        50721: (10, [(1, 1), (0, 1), (0, 1), (0, 1), (1, 1), (0, 1), (0, 1), (0, 1), (1, 1)]), 254: (4, [1]),
    }  # fmt: skip
    if preview is not None:
        tags |= {
            256: (4, [preview[0]]), 257: (4, [preview[1]]), 258: (3, [8, 8, 8]), 259: (3, [7]), 262: (3, [6]),
            273: (4, [at]), 277: (3, [3]), 278: (4, [preview[1]]), 279: (4, [length]),
        }  # fmt: skip
    return tags


def _sensor(size: tuple[int, int], at: int, length: int) -> Tags:
    return {
        254: (4, [0]), 256: (4, [size[0]]), 257: (4, [size[1]]), 258: (3, [16]), 259: (3, [1]), 262: (3, [32803]),
        273: (4, [at]), 277: (3, [1]), 278: (4, [size[1]]), 279: (4, [length]), 33421: (3, [2, 2]),
        33422: (1, bytes([0, 1, 1, 2])), 50714: (3, [0]), 50717: (3, [4095]),
    }  # fmt: skip


def _directory(tags: Tags, at: int) -> bytes:
    entries, behind = struct.pack("<H", len(tags)), b""
    end = at + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        flat = np.asarray(list(values)).ravel().tolist()
        data = struct.pack(f"<{len(flat)}{_FORMS[kind]}", *flat)
        content = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", end + len(behind))
        entries += struct.pack("<HHI", tag, kind, len(values)) + content
        behind += b"" if len(data) <= 4 else data + b"\0" * (len(data) & 1)
    return entries + bytes(4) + behind
