"""JPEG: segments before the pixels, and how many passes the pixels take (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
import struct

from model.images.formats.container import Container, damaged, exif_orientation

_MAX_SEGMENTS = 2_000  # before the pixels; a camera's file has about 20
_MAX_SCANS = 100
_PROFILE = b"ICC_PROFILE\0"  # behind it: number of the piece from 1, and how many there are (ICC.1, annex B.4)
_MARKER = re.compile(rb"\xff+([^\x00\xff])")  # decoders pass over other bytes, and so do we
_END = b"\xff\xd9"
_SCAN_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def walk_jpeg(data: bytes) -> Container:
    """The file without metadata; the EXIF orientation, the size, the profile, and the passes over its coefficients."""
    kept: list[bytes | memoryview] = [b"\xff\xd8"]
    pieces: dict[int, bytes] = {}
    position, orientation, size, components, progressive = 2, 0, None, 3, False
    samples = 3.0
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None:
            raise damaged("it ends early")
        position, marker = found.end() - 2, data[found.end() - 1]
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # stand alone
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        body = data[position + 4 : position + 2 + length]
        if marker == 0xDA:
            scans = _scans(data, position) if progressive or body[0] < components else 1
            whole = data.rfind(_END, position) >= 0  # never among the pixels
            if whole:
                kept.append(memoryview(data)[position:])
            else:  # zeros would be pixels: of a copy that was cut short, or whose end was never written
                kept += [data[position:].rstrip(b"\0"), _END]
            profile = _whole(pieces)
            return Container(
                b"".join(kept), orientation or 1, size, scans, samples, profile, shown=None if whole else 1.0
            )
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width, components = struct.unpack_from(">HHB", body, 1)
            size = (width, height)
            samples = _samples(body[6 : 6 + 3 * components])
            progressive = marker in (0xC2, 0xC6, 0xCA, 0xCE)
        if marker == 0xE1 and body.startswith(b"Exif\0\0") and not orientation:
            orientation = exif_orientation(body[6:])
        if marker == 0xE2 and body.startswith(_PROFILE) and len(body) > 14:
            pieces[body[12]] = body[13:]
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE) or marker in (0xE0, 0xEE):  # JFIF and Adobe tell the colours
            kept.append(data[position : position + 2 + length])
        position += 2 + length
    raise damaged("too many segments")


def _whole(pieces: dict[int, bytes]) -> bytes | None:
    """The profile put together; None if a piece is missing or they disagree how many there are."""
    if not pieces or any(piece[0] != len(pieces) for piece in pieces.values()) or max(pieces) != len(pieces):
        return None
    return b"".join(pieces[number][1:] for number in sorted(pieces))


def _samples(components: bytes) -> float:
    """Values per pixel of a frame header's components together; the finest of them counts 1."""
    factors = [(factor >> 4, factor & 15) for factor in components[1::3]]
    widest, highest = (max((pair[axis] for pair in factors), default=1) for axis in (0, 1))
    return sum(across * down for across, down in factors) / max(1, widest * highest)


def _scans(data: bytes, position: int) -> int:
    """Scans from the first start-of-scan marker on."""
    scans = 0
    while (found := _SCAN_MARKER.search(data, position)) is not None:
        position, kind = found.end(), data[found.end() - 1]
        if kind == 0xD9:
            break
        scans += kind == 0xDA
        if scans > _MAX_SCANS:
            raise damaged(f"more than {_MAX_SCANS} scans")
        if kind != 0x01 and position + 2 <= len(data):
            position += max(2, struct.unpack_from(">H", data, position)[0])
    return scans
