"""AVIF and HEIF containers: what a still picture's coded frames really measure, whatever the container declares.

A decoder allocates what the AV1 sequence header says, so a file that declares 64 x 64 pixels may still ask for hundreds
of megabytes. Layouts: ISO 14496-12 (boxes), ISO 23008-12 (items), AV1 specification section 5.5 (sequence header).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from model.errors import ImageFormatError
from model.images.formats.container import damaged

_MAX_BOXES = 10_000
_MAX_ITEMS = 2_000  # a grid of phone-sized tiles has about 100
_MAX_EXTENTS = 64  # per item
_MAX_OBUS = 1_000  # per item
_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{7}|\x03.{9}))Exif", re.DOTALL)

Box = tuple[bytes, int, int]
"""Type, start and end of its content."""


def still_picture(data: bytes) -> bytes:
    """The file as a still picture, without its further pictures, and with its EXIF hidden from decoders.

    The orientation that counts is an item property, which decoders apply; EXIF would be parsed for nothing.
    """
    patched = _EXIF_ITEM.sub(rb"\1free", data)
    if data[8:12] == b"avis":  # the major brand decides which of the two a decoder takes
        if all(kind != b"meta" for kind, _, _ in boxes(data, 0, len(data))):
            raise ImageFormatError("this is a film without a still picture; save one of its pictures and send that")
        patched = patched[:8] + b"avif" + patched[12:]
    return patched


def coded_size(data: bytes) -> tuple[int, int] | None:
    """Width and height, in pixels, of the largest AV1 frame that any item holds; None where no item is AV1.

    Raises:
        DamagedImageError: more parts than any honest file has, or parts outside the file.
    """
    parts = _parts(data)
    if parts is None:
        return None
    coded = set(_items_of_type(data, *parts[b"iinf"], b"av01"))
    sizes = [_frame_size(content) for item, content in _contents(data, parts) if item in coded]
    known = [size for size in sizes if size is not None]
    if not known:
        return None
    return max(width for width, _ in known), max(height for _, height in known)


def item_place(data: bytes, kind: bytes) -> tuple[int, int] | None:
    """Offset and length in the file of the first piece of the first item of a kind; None where there is none.

    Args:
        data: the file, or as much of its start as holds the boxes.
        kind: of the item, such as b"Exif".

    Raises:
        DamagedImageError: more parts than any honest file has.
    """
    parts = _parts(data)
    if parts is None:
        return None
    wanted = set(_items_of_type(data, *parts[b"iinf"], kind))
    places = (pieces[0] for item, pieces in _places(data, parts) if item in wanted and pieces)
    return next(places, None)


def _parts(data: bytes) -> dict[bytes, tuple[int, int]] | None:
    """Where the boxes below `meta` lie; None where it does not list items."""
    meta = next((box for box in boxes(data, 0, len(data)) if box[0] == b"meta"), None)
    if meta is None:
        return None
    parts = {kind: (start, end) for kind, start, end in boxes(data, meta[1] + 4, meta[2])}
    return parts if b"iinf" in parts and b"iloc" in parts else None


def boxes(data: bytes, position: int, end: int) -> Iterator[Box]:
    """The boxes that follow each other from `position` on.

    Raises:
        DamagedImageError: a box smaller than its header, or more boxes than any honest file has.
    """
    for _ in range(_MAX_BOXES):
        if position + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, position)
        header = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
            header = 16
        stop = end if size == 0 else position + size
        if size and size < header:
            raise damaged("a box smaller than its header")
        yield kind, position + header, min(stop, end)
        position = stop
    raise damaged("too many boxes")


def _items_of_type(data: bytes, start: int, end: int, wanted: bytes) -> Iterator[int]:
    first = start + (6 if data[start] == 0 else 8)
    for kind, at, _ in boxes(data, first, end):
        if kind == b"infe" and data[at] in (2, 3):
            number, _, item_type = struct.unpack_from(">HH4s" if data[at] == 2 else ">IH4s", data, at + 4)
            if item_type == wanted:
                yield number


def _contents(data: bytes, parts: dict[bytes, tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each item."""
    for number, places in _places(data, parts):
        pieces = (data[offset : offset + length] if length else data[offset:] for offset, length in places)
        yield number, b"".join(pieces)


def _places(data: bytes, parts: dict[bytes, tuple[int, int]]) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Number of each item, and offset and length of its pieces; a length of 0 reaches to the end of the file."""
    reader = _Reader(data, parts[b"iloc"][0])
    version = reader.take(1)
    reader.take(3)
    sizes = reader.take(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    count = reader.take(2 if version < 2 else 4)
    if count > _MAX_ITEMS:
        raise damaged("too many items")
    for _ in range(count):
        number = reader.take(2 if version < 2 else 4)
        method = reader.take(2) & 15 if version in (1, 2) else 0
        reader.take(2)
        base = reader.take(base_size)
        extents = reader.take(2)
        if method > 1 or extents > _MAX_EXTENTS:
            raise damaged("items of items, or in too many pieces")
        if method == 1:
            base += parts.get(b"idat", (len(data), 0))[0]
        pieces = list[tuple[int, int]]()
        for _ in range(extents):
            reader.take(index_size if version in (1, 2) else 0)
            pieces.append((base + reader.take(offset_size), reader.take(length_size)))
        yield number, pieces


def _frame_size(content: bytes) -> tuple[int, int] | None:
    """Largest frame of all sequence headers among an item's open bitstream units."""
    reader = _Reader(content, 0)
    largest: tuple[int, int] | None = None
    for _ in range(_MAX_OBUS):
        if reader.position >= len(content):
            return largest
        header = reader.take(1)
        if header & 4:
            reader.take(1)
        length = reader.leb128() if header & 2 else len(content) - reader.position
        if header >> 3 & 15 == 1:
            width, height = _sequence_size(content[reader.position : reader.position + length])
            largest = (max(width, largest[0]), max(height, largest[1])) if largest else (width, height)
        reader.position += length
    raise damaged("too many units")


def _sequence_size(header: bytes) -> tuple[int, int]:
    """max_frame_width and max_frame_height of a sequence header (AV1 specification, 5.5.1)."""
    bits = _Bits(header)
    bits.take(4)  # profile, still picture
    if bits.take(1):  # reduced still picture header
        bits.take(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits, decoder_model = 0, False
    if bits.take(1):  # timing info
        bits.take(64)
        if bits.take(1):  # equal picture interval, an exponential Golomb code
            zeros = 0
            while not bits.take(1):
                zeros += 1
                if zeros == 32:  # decoders disagree about what follows
                    raise damaged("an endless interval")
            bits.take(zeros)
        decoder_model = bool(bits.take(1))
        if decoder_model:
            delay_bits = bits.take(5) + 1
            bits.take(42)
    display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if decoder_model and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if display_delay and bits.take(1):
            bits.take(4)


class _Reader:
    """Big-endian numbers from a position on."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position

    def take(self, size: int) -> int:
        if self.position + size > len(self.data):
            raise damaged("it ends early")
        self.position += size
        return int.from_bytes(self.data[self.position - size : self.position], "big")

    def leb128(self) -> int:
        value = 0
        for index in range(8):
            byte = self.take(1)
            value |= (byte & 127) << 7 * index
            if byte < 128:
                break
        return value


class _Bits:
    """Numbers of any number of bits from the start of `data`."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data[:512], "big")
        self._left = 8 * min(len(data), 512)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise damaged("it ends early")
        return self._value >> self._left & (1 << count) - 1
