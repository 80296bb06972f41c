"""PNG: the chunks that the picture needs, or the first few frames, and no others (PNG, third edition, chapter 5)."""

from __future__ import annotations

import struct
import zlib

from model.images.formats.container import MAX_CHUNKS, Container, damaged, exif_orientation
from model.images.formats.stated_colours import SRGB, Chromaticities, coded_profile, gamma_profile

_MANY_IDATS = 4_096
_MAX_PROFILE = 4_000_000  # bytes, inflated
_COLOURS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")


def walk_png(data: bytes) -> Container:
    """The file without texts and profiles; the EXIF orientation, the size and the colours."""
    view = memoryview(data)  # without copies: a photo may have hundreds of megabytes
    kept: list[bytes | memoryview] = [view[:8]]
    colours: dict[bytes, bytes] = {}
    position, pixels, frames, orientation, seen = 8, 0, 0, 1, set()
    idats: list[memoryview] = []
    for _ in range(MAX_CHUNKS):
        if not data[position + 4 : position + 8].isalpha():
            break  # the end, or no chunk: zeros in place of what is missing, which the decoder notices
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if kind == b"IDAT":
            idats.append(view[position + 8 : end - 4])
            pixels += 1
            if pixels <= _MANY_IDATS:
                kept.append(view[position:end])
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"IEND") and kind not in seen:
            seen.add(kind)
            kept.append(view[position:end])
        elif kind == b"eXIf" and kind not in seen:
            seen.add(kind)
            orientation = exif_orientation(data[position + 8 : end - 4])
        elif kind in _COLOURS and kind not in colours and not pixels:
            colours[kind] = data[position + 8 : end - 4]
        frames += kind == b"fcTL"
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
    return Container(b"".join(kept), orientation, size, profile=_profile(colours), animated=frames > 1)


def first_png_frames(data: bytes, count: int) -> tuple[bytes, tuple[int, int]]:
    """An animation up to its `count`-th frame, without metadata, and its size."""
    kept, frames, position, animation = [data[:8]], 0, 8, None
    for _ in range(_MANY_IDATS):
        if position + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        frames += kind == b"fcTL"
        if kind == b"IEND" or frames > count:
            break
        if kind == b"acTL":
            animation = len(kept)
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"IDAT", b"fdAT"):
            kept.append(data[position:end])
        position = end
    if animation is not None:
        kept[animation] = _chunk(b"acTL", struct.pack(">II", min(frames, count), 0))
    kept.append(_chunk(b"IEND", b""))
    width, height = struct.unpack_from(">II", data, 16)
    return b"".join(kept), (width, height)


def _profile(colours: dict[bytes, bytes]) -> bytes | None:
    """What browsers make of the chunks, the strongest first; primaries without a gamma count for nothing."""
    try:
        if coded := colours.get(b"cICP"):
            return coded_profile(coded[0], coded[1], video_as_srgb=False)
        if packed := colours.get(b"iCCP"):
            profile = packed[packed.index(b"\0") + 2 :]
            return zlib.decompressobj().decompress(profile, _MAX_PROFILE + 1)
        if b"sRGB" in colours or b"gAMA" not in colours:
            return None
        (gamma,) = struct.unpack(">I", colours[b"gAMA"])
        return gamma_profile(_chromaticities(colours.get(b"cHRM")), 100_000 / gamma)
    except (ValueError, IndexError, ZeroDivisionError, struct.error, zlib.error):
        return None


def _chromaticities(stated: bytes | None) -> Chromaticities:
    if stated is None:
        return SRGB
    white_x, white_y, *others = (value / 100_000 for value in struct.unpack(">8I", stated))
    return (white_x, white_y, *others)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
