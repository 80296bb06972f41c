"""WebP: the chunks that the first picture needs, or the first few, and no others (RFC 9649)."""

from __future__ import annotations

import struct

from model.images.formats.container import MAX_CHUNKS, Container, damaged, exif_orientation

_MOST_PADDED = 100_000_000  # bytes of pixels


def walk_webp(data: bytes) -> Container:
    """The file without metadata and later frames; the EXIF orientation, the size and the profile."""
    position, orientation, size, profile, frames = 12, 1, None, None, 0
    shown: float | None = None
    kept: list[bytes] = []
    last = _end_of_file(data)
    for _ in range(MAX_CHUNKS):
        if position + 8 > last:
            break
        kind, length = struct.unpack_from("<4sI", data, position)
        end = position + 8 + length + (length & 1)
        body = data[position + 8 : position + 24]
        if kind == b"EXIF":
            exif = data[position + 8 : position + 8 + length]
            orientation = exif_orientation(exif.removeprefix(b"Exif\0\0"))
        elif kind == b"ICCP" and profile is None:
            profile = data[position + 8 : position + 8 + length]
        elif kind in (b"VP8X", b"ANIM", b"ALPH", b"VP8 ", b"VP8L", b"ANMF") and kind not in {part[:4] for part in kept}:
            kept.append(data[position:end])
            size = size or _webp_size(kind, body)
            if end > len(data) and kind in (b"VP8 ", b"VP8L"):
                kept[-1], shown = _made_whole(kind, data[position:], length)
        frames += kind == b"ANMF"
        position = end
    else:
        raise damaged("too many chunks")
    if kept and kept[0][:4] == b"VP8X":
        kept[0] = _without_metadata(kept[0])
    body = b"".join(kept)
    riff = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP"
    return Container(riff + body, orientation, size, profile=profile, animated=frames > 1, shown=shown)


def _end_of_file(data: bytes) -> int:
    """Where the file says that it ends; what follows belongs to nobody."""
    return min(len(data), 8 + int(struct.unpack_from("<I", data, 4)[0]))


def _made_whole(kind: bytes, chunk: bytes, length: int) -> tuple[bytes, float]:
    """A chunk of pixels with zeros in place of its missing end, and about which share of the rows is there.

    Rows follow each other, in VP8 behind a first partition that describes all of them (RFC 6386, 9.1).
    """
    first = 10 + (int.from_bytes(chunk[8:11], "little") >> 5) if kind == b"VP8 " else 0
    present = len(chunk) - 8
    if length > _MOST_PADDED or present <= first or length <= first:
        raise damaged("it ends early")
    padded = chunk.ljust(8 + length + (length & 1), b"\0")
    return padded, min(1.0, (present - first) / (length - first))


def first_webp_frames(data: bytes, count: int) -> tuple[bytes, tuple[int, int]]:
    """An animation up to its `count`-th frame, without metadata, and its size."""
    position, size = 12, (0, 0)
    kept: list[bytes] = []
    last = _end_of_file(data)
    for _ in range(MAX_CHUNKS):
        if position + 8 > last or not count:
            break
        kind, length = struct.unpack_from("<4sI", data, position)
        end = position + 8 + length + (length & 1)
        if kind == b"VP8X" and not kept:
            size = _webp_size(kind, data[position + 8 : position + 24]) or size
            kept.append(_without_metadata(data[position:end]))
        elif kind in (b"ANIM", b"ANMF"):
            kept.append(data[position:end])
            count -= kind == b"ANMF"
        position = end
    body = b"".join(kept)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body, size


def _without_metadata(header: bytes) -> bytes:
    """The chunk VP8X without the flags of ICC profile, EXIF and XMP."""
    return header[:8] + bytes([header[8] & ~0b00101100]) + header[9:]


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int] | None:
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", body, 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    return None
