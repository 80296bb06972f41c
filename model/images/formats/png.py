"""PNG: the chunks that the picture needs, and no others (PNG, third edition, chapter 5)."""

from __future__ import annotations

import struct
import zlib

from model.images.formats.container import MAX_CHUNKS, Container, damaged, exif_orientation

_MANY_IDATS = 4_096


def walk_png(data: bytes) -> Container:
    """The file without texts and profiles; the EXIF orientation and the size."""
    kept, pixels = [data[:8]], 0
    position, orientation, seen = 8, 1, set()
    view = memoryview(data)
    idats: list[memoryview] = []
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            break  # the decoder says what is missing
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if kind == b"IDAT":
            idats.append(view[position + 8 : end - 4])
            pixels += 1
            if pixels <= _MANY_IDATS:
                kept.append(data[position:end])
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"IEND") and kind not in seen:
            seen.add(kind)
            kept.append(data[position:end])
        elif kind == b"eXIf" and kind not in seen:
            seen.add(kind)
            orientation = exif_orientation(data[position + 8 : end - 4])
        position = end
        if kind == b"IEND":
            break
    else:
        raise damaged("too many chunks")
    size = struct.unpack_from(">II", data, 16) if data[12:16] == b"IHDR" else None
    if pixels > _MANY_IDATS:  # one chunk instead: decoders take time for each
        body = b"".join(idats)
        kept = [part for part in kept if part[4:8] not in (b"IDAT", b"IEND")]
        kept += [_chunk(b"IDAT", body), _chunk(b"IEND", b"")]
    return Container(b"".join(kept), orientation, size)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
