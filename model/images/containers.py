"""What stands around an image's pixels: read with bounds, and stripped of what decoding does not need.

Decoders parse metadata before anyone can stop them: text chunks that inflate, directories of a million entries,
thousands of frames or scans. So each format's container is walked here first, with a bound on its blocks, and what is
not needed for the first picture (texts, profiles, thumbnails, later frames) never reaches the decoder.

Layouts: JPEG ITU-T T.81 annex B; PNG (third edition) chapter 5; GIF89a; WebP RFC 9649; TIFF 6.0 and BigTIFF; BMP as
Windows' BITMAPINFOHEADER; EXIF 3.0 section 4.6.2 (orientation); AVIF and HEIF in `model.images.avif`.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from model.errors import DamagedImageError, ImageFormatError
from model.images.avif import coded_size, still_picture

MAX_SEGMENTS = 2_000  # JPEG segments before the pixels; a camera's file has about 20
MAX_CHUNKS = 200_000  # PNG chunks: 100 MB in IDATs of 512 bytes
MAX_BLOCKS = 1_000_000  # GIF sub-blocks
MAX_DIRECTORY = 4_096  # TIFF directory entries; libtiff's own bound
MAX_STRIPS = 70_000
MAX_SCANS = 100
MAX_RLE_BYTES = 2_000_000
_MANY_IDATS = 4_096
_FILL = re.compile(rb"\xff+")  # any number of these may precede a JPEG marker
_SCAN_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


@dataclass(frozen=True)
class Container:
    """What the decoder gets, and what the walk found.

    Attributes:
        data: the file without what decoding its first picture does not need.
        orientation: EXIF orientation 1..8 that the decoder does not see (1 where the decoder applies it by itself).
        size: width and height in pixels where they are known before a decoder opens the file (of AVIF's largest frame).
        scans: passes over a JPEG's coefficients; 1 where it is decoded as it streams in.
        components: of a JPEG.
    """

    data: bytes
    orientation: int = 1
    size: tuple[int, int] | None = None
    scans: int = 1
    components: int = 3


def damaged(what: str) -> DamagedImageError:
    """The error for a container that makes no sense."""
    return DamagedImageError(f"the image is damaged or made to harm ({what}); save it again and retry")


def inspect(data: bytes) -> Container:
    """Walks the container that `data` begins with; unknown formats pass as they are.

    Raises:
        DamagedImageError: the container makes no sense, or has more parts than any honest file.
    """
    for matches, walk in _WALKS:
        if matches(data[:16]):
            try:
                return walk(data)
            except (struct.error, IndexError) as error:
                raise damaged("it ends early") from error
    return Container(data)


def exif_orientation(exif: bytes) -> int:
    """Orientation 1..8 of a TIFF-structured EXIF block; 1 where it is absent or senseless."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    try:
        if order is None:
            return 1
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(min(count, 512)):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, start + 2 + 12 * entry)
            if tag == 0x0112:
                return int(value) if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _jpeg(data: bytes) -> Container:
    kept = [b"\xff\xd8"]
    position, orientation, size, components, progressive = 2, 0, None, 3, False
    for _ in range(MAX_SEGMENTS):
        fill = _FILL.match(data, position)
        if fill is None:
            raise damaged("no marker where one belongs")
        position = fill.end() - 1
        marker = data[position + 1]
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # stand alone
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        body = data[position + 4 : position + 2 + length]
        if marker == 0xDA:
            scans = _scans(data, position) if progressive or body[0] < components else 1
            kept.append(data[position:])
            return Container(b"".join(kept), orientation or 1, size, scans, components)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width, components = struct.unpack_from(">HHB", body, 1)
            size = (width, height)
            progressive = marker in (0xC2, 0xC6, 0xCA, 0xCE)
        if marker == 0xE1 and body.startswith(b"Exif\0\0") and not orientation:
            orientation = exif_orientation(body[6:])
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE) or marker in (0xE0, 0xEE):  # JFIF and Adobe tell the colours
            kept.append(data[position : position + 2 + length])
        position += 2 + length
    raise damaged("too many segments")


def _scans(data: bytes, position: int) -> int:
    """Scans from the first start-of-scan marker on."""
    scans = 0
    while (found := _SCAN_MARKER.search(data, position)) is not None:
        position, kind = found.end(), data[found.end() - 1]
        if kind == 0xD9:
            break
        scans += kind == 0xDA
        if scans > MAX_SCANS:
            raise damaged(f"more than {MAX_SCANS} scans")
        if kind != 0x01 and position + 2 <= len(data):
            position += max(2, struct.unpack_from(">H", data, position)[0])
    return scans


def _png(data: bytes) -> Container:
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


def _gif(data: bytes) -> Container:
    position = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    kept = [data[:position]]
    budget = MAX_BLOCKS
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


def _webp(data: bytes) -> Container:
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


def _bmp(data: bytes) -> Container:
    (header,) = struct.unpack_from("<I", data, 14)
    if header >= 40:
        width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
        if compression in (1, 2) and (len(data) > MAX_RLE_BYTES or abs(width * height) > 2 * MAX_RLE_BYTES):
            raise ImageFormatError("run-length coded BMP files are read up to 2 MB only; save it as PNG and retry")
    return Container(data)


def _tiff(data: bytes) -> Container:
    order = "<" if data[:2] == b"II" else ">"
    big = data[2] == 43
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    for pointer in _tiff_directory(data, start, order, big):
        _tiff_directory(data, pointer, order, big)
    return Container(data)


def _tiff_directory(data: bytes, start: int, order: str, big: bool) -> list[int]:
    """Checks one directory; offsets of those it points to."""
    count_form, entry_form = (order + "Q", order + "HHQQ") if big else (order + "H", order + "HHII")
    if start > len(data):
        return []  # the decoder says what is missing
    (count,) = struct.unpack_from(count_form, data, start)
    if count > MAX_DIRECTORY:
        raise damaged("too many tags")
    position, pointers = start + struct.calcsize(count_form), []
    for entry in range(count):
        tag, kind, number, value = struct.unpack_from(entry_form, data, position + entry * struct.calcsize(entry_form))
        if tag in (273, 279, 324, 325) and number > MAX_STRIPS:
            raise damaged("too many strips")
        if tag in (330, 34665, 34853, 40965) and kind in (4, 13, 16, 18) and number == 1:
            pointers.append(value)
    return pointers


def _isobmff(data: bytes) -> Container:
    return Container(still_picture(data), size=coded_size(data))


_ISO_BRANDS = (b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_WALKS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Container]], ...] = (
    (lambda head: head[:3] == b"\xff\xd8\xff", _jpeg),
    (lambda head: head[:8] == b"\x89PNG\r\n\x1a\n", _png),
    (lambda head: head[:6] in (b"GIF87a", b"GIF89a"), _gif),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", _webp),
    (lambda head: head[:2] == b"BM", _bmp),
    (lambda head: head[:2] in (b"II", b"MM") and (b"*" in head[2:4] or b"+" in head[2:4]), _tiff),
    (lambda head: head[4:8] == b"ftyp" and head[8:12] in _ISO_BRANDS, _isobmff),
)

# Magic bytes of what people send, by Pillow's names where it has one.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG", "PNG"),
    (rb"GIF8[79]a", "GIF"),
    (rb"RIFF.{4}WEBP", "WEBP"),
    (rb"BM.{12}[\x0c-\x7c]\0\0\0", "BMP"),
    (rb"(?:II|MM)(?:[*+]\0|\0[*+])", "TIFF"),
    (rb".{4}ftypavi[fs]", "AVIF"),
    (rb".{4}ftyp(?:mif1|msf1|he[iv][cxms])", "HEIF"),
    (rb".{4}ftyp", "MP4"),
    (rb"8BPS", "PSD"),
    (rb"%PDF", "PDF"),
    (rb"(?:\xc5\xd0\xd3\xc6|%!PS)", "EPS"),
    (rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|svg|!--|!DOCTYPE svg)", "SVG"),
    (rb"\0\0[\1\2]\0[^\0]", "ICO"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG2000"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL"),
    (rb"PK\x03\x04", "ZIP"),
    (rb"DDS ", "DDS"),
    (rb"icns", "ICNS"),
    (rb"qoif", "QOI"),
)


def sniff(data: bytes) -> str | None:
    """The format that `data` seems to be by its first bytes; None if unknown."""
    for signature, name in _SIGNATURES:
        if re.match(signature, data[:64], re.DOTALL):
            return name
    return None
