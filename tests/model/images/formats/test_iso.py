"""What an AV1 sequence header says of its frames, in every form that the specification allows."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.errors import DamagedImageError, ImageError
from model.images.formats.iso import coded_size, still_picture
from tests.model.images.hostile.case import picture, saved


class Writer:
    """Bits in, bytes out."""

    def __init__(self) -> None:
        self.bits = ""

    def put(self, value: int, count: int) -> Writer:
        self.bits += f"{value:0{count}b}" if count else ""
        return self

    def bytes(self) -> bytes:
        padded = self.bits + "1" + "0" * (-(len(self.bits) + 1) % 8)
        return int(padded, 2).to_bytes(len(padded) // 8, "big")


def reduced_header(width: int, height: int) -> bytes:
    bits = Writer().put(0, 3).put(1, 1).put(1, 1).put(8, 5)
    return bits.put(15, 4).put(15, 4).put(width - 1, 16).put(height - 1, 16).bytes()


@st.composite
def full_header(draw: st.DrawFn) -> tuple[bytes, int, int]:
    """AV1 specification 5.5.1 to 5.5.4, written from the table."""
    width, height = draw(st.integers(1, 65_536)), draw(st.integers(1, 65_536))
    bits = Writer().put(0, 3).put(0, 1).put(0, 1)
    timing, model, delay = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    buffer_bits = draw(st.integers(1, 32))
    bits.put(timing, 1)
    if timing:
        bits.put(1, 32).put(25, 32)
        equal = draw(st.booleans())
        bits.put(equal, 1)
        if equal:
            zeros = draw(st.integers(0, 20))
            bits.put(0, zeros).put(1, 1).put(draw(st.integers(0, 2**zeros - 1)), zeros)
        bits.put(model, 1)
        if model:
            bits.put(buffer_bits - 1, 5).put(7, 32).put(9, 5).put(9, 5)
    bits.put(delay, 1)
    points = draw(st.integers(1, 4))
    bits.put(points - 1, 5)
    for _ in range(points):
        level = draw(st.integers(0, 31))
        bits.put(0, 12).put(level, 5)
        if level > 7:
            bits.put(1, 1)
        if timing and model:
            here = draw(st.booleans())
            bits.put(here, 1)
            if here:
                bits.put(1, buffer_bits).put(1, buffer_bits).put(0, 1)
        if delay:
            here = draw(st.booleans())
            bits.put(here, 1)
            if here:
                bits.put(3, 4)
    across, down = max((width - 1).bit_length(), 1), max((height - 1).bit_length(), 1)
    bits.put(across - 1, 4).put(down - 1, 4).put(width - 1, across).put(height - 1, down)
    return bits.bytes(), width, height


def box(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def obu(kind: int, content: bytes) -> bytes:
    size = len(content)
    return bytes([kind << 3 | 2, size & 127 | (128 if size > 127 else 0)]) + bytes([size >> 7] * (size > 127)) + content


def container(item: bytes, version: int = 0) -> bytes:
    """A file of one AV1 item, its bytes in the idat box (version 1) or behind everything (version 0)."""
    kind = box(b"infe", b"\2\0\0\0" + b"\0\1" + b"\0\0" + b"av01" + b"\0")
    types = box(b"iinf", b"\0\0\0\0" + b"\0\1" + kind)

    def place(offset: int) -> bytes:
        method = b"\0\1" if version else b""
        entry = b"\0\1" + method + b"\0\0" + b"\0\1" + offset.to_bytes(4, "big") + len(item).to_bytes(4, "big")
        return box(b"iloc", bytes([version, 0, 0, 0]) + b"\x44\0" + b"\0\1" + entry)

    start = box(b"ftyp", b"avif\0\0\0\0avifmif1")
    if version:
        return start + box(b"meta", b"\0\0\0\0" + types + place(0) + box(b"idat", item))
    meta = box(b"meta", b"\0\0\0\0" + types + place(0))
    offset = len(start) + len(meta) + 8
    return start + box(b"meta", b"\0\0\0\0" + types + place(offset)) + box(b"mdat", item)


@pytest.mark.parametrize("version", [0, 1])
def test_reduced_header(version: int) -> None:
    assert coded_size(container(obu(1, reduced_header(640, 480)), version)) == (640, 480)


@settings(max_examples=200, deadline=None)
@given(header=full_header())
def test_full_header(header: tuple[bytes, int, int]) -> None:
    content, width, height = header
    assert coded_size(container(obu(2, b"") + obu(1, content) + obu(6, bytes(200)))) == (width, height)


def test_largest_of_several_headers_counts() -> None:
    item = obu(1, reduced_header(64, 64)) + obu(6, bytes(9)) + obu(1, reduced_header(16_000, 32)) + obu(6, bytes(9))
    assert coded_size(container(item)) == (16_000, 64)


def test_endless_interval_and_endless_units_are_refused() -> None:
    endless = Writer().put(0, 5).put(1, 1).put(0, 64).put(1, 1).put(0, 60).bytes()
    with pytest.raises(DamagedImageError):
        coded_size(container(obu(1, endless)))
    with pytest.raises(DamagedImageError):
        coded_size(container(obu(2, b"") * 2000))


def test_files_without_av1_have_no_coded_size() -> None:
    assert coded_size(box(b"ftyp", b"heic")) is None
    assert coded_size(b"") is None
    assert coded_size(container(b"").replace(b"av01", b"hvc1")) is None


def test_encoders_files_agree() -> None:
    for mode in ("RGB", "RGBA", "L"):
        assert coded_size(saved(picture(70, 33, mode), "AVIF", speed=10)) == (70, 33)
    frames = [Image.new("RGB", (80, 60), colour) for colour in ("red", "blue")]
    sequence = saved(frames[0], "AVIF", save_all=True, append_images=frames[1:], speed=10)
    assert coded_size(sequence) == (80, 60)
    assert still_picture(sequence)[8:12] == b"avif"


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=300))
def test_any_boxes_are_read_or_refused(body: bytes) -> None:
    for data in (box(b"ftyp", b"avif") + body, box(b"ftyp", b"avif") + box(b"meta", bytes(4) + body)):
        try:
            coded_size(data)
            still_picture(data)
        except (ImageError, IndexError, struct.error):  # the last two are answered by `inspect`, for every format
            continue
