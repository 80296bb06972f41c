"""WebP: the chunks that the first picture needs, and no others (RFC 9649)."""

from __future__ import annotations

import struct

from model.images.formats.container import MAX_CHUNKS, Container, damaged, exif_orientation


def walk_webp(data: bytes) -> Container:
    """The file without metadata and later frames; the EXIF orientation and the size."""
    position, orientation, size = 12, 1, None
    kept: list[bytes] = []
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, position)
        end = position + 8 + length + (length & 1)
        body = data[position + 8 : position + 24]
        if kind == b"EXIF":
            exif = data[position + 8 : position + 8 + length]
            orientation = exif_orientation(exif.removeprefix(b"Exif\0\0"))
        elif kind in (b"VP8X", b"ANIM", b"ALPH", b"VP8 ", b"VP8L", b"ANMF") and kind not in {part[:4] for part in kept}:
            kept.append(data[position:end])
            size = size or _webp_size(kind, body)
        position = end
    else:
        raise damaged("too many chunks")
    if kept and kept[0][:4] == b"VP8X":
        flags = kept[0][8] & ~0b00101100  # no ICC profile, EXIF or XMP any more
        kept[0] = kept[0][:8] + bytes([flags]) + kept[0][9:]
    body = b"".join(kept)
    return Container(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body, orientation, size)


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
