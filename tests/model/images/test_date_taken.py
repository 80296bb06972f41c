"""The date that a photo's file says, in every format that keeps one, and in files that are damaged."""

import io
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.images.date_taken import date_taken
from model.images.limits import HEIF_AVAILABLE

FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"] + (["HEIF"] if HEIF_AVAILABLE else [])
ORIGINAL, DIGITISED, CHANGED, FRACTION = 0x9003, 0x9004, 0x0132, 0x9291


def with_exif(kind: str = "JPEG", first: dict[int, str] | None = None, below: dict[int, str] | None = None) -> bytes:
    """A small picture whose EXIF has these tags, in its first directory and in the one below it."""
    exif = Image.Exif()
    exif[0x010F] = "A maker of cameras"
    for tag, value in (first or {}).items():
        exif[tag] = value
    for tag, value in (below or {}).items():
        exif.get_ifd(0x8769)[tag] = value
    if kind == "TIFF":  # Pillow writes no second directory; the block itself has the structure of a TIFF file
        return exif.tobytes().removeprefix(b"Exif\0\0")
    file = io.BytesIO()
    Image.new("RGB", (24, 16), (200, 30, 30)).save(file, kind, exif=exif)
    return file.getvalue()


def taken(data: bytes) -> datetime | None:
    found = date_taken(io.BytesIO(data))
    return None if found is None else datetime(1970, 1, 1) + timedelta(microseconds=found // 1000)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_says_when_the_picture_was_taken(kind):
    data = with_exif(kind, {CHANGED: "2021:01:02 03:04:05"}, {ORIGINAL: "2019:06:30 23:59:58", FRACTION: "25"})
    found = date_taken(io.BytesIO(data))
    assert found is not None
    assert divmod(found, 1_000_000_000) == (1_561_939_198, 250_000_000)


def test_the_picture_counts_before_its_copy_and_its_change():
    dates = {ORIGINAL: "2019:06:30 01:00:00", DIGITISED: "2020:06:30 01:00:00"}
    changed = {CHANGED: "2021:06:30 01:00:00"}
    assert taken(with_exif(below=dates, first=changed)) == datetime(2019, 6, 30, 1)
    assert taken(with_exif(below={DIGITISED: dates[DIGITISED]}, first=changed)) == datetime(2020, 6, 30, 1)
    assert taken(with_exif(first=changed)) == datetime(2021, 6, 30, 1)
    assert taken(with_exif(first={CHANGED: "1901:12:31 00:00:00"})) == datetime(1901, 12, 31)


@pytest.mark.parametrize(
    "text",
    ["0000:00:00 00:00:00", "    :  :     :  :  ", "2019:02:30 00:00:00", "1500:01:01 00:00:00", "9999:01:01 00:00:00",
     "yesterday", "", "2019:06:30"],
)  # fmt: skip
def test_a_date_that_no_photo_has_is_none(text):
    assert date_taken(io.BytesIO(with_exif(below={ORIGINAL: text}))) is None


def test_files_without_a_date_say_nothing():
    plain = io.BytesIO()
    Image.new("RGB", (8, 8)).save(plain, "JPEG")
    for data in (plain.getvalue(), b"", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"II*\0", b"\0\0\0\x18ftypheic", b"text"):
        assert date_taken(io.BytesIO(data)) is None


@pytest.mark.parametrize("before", [b"\xff" * 300, 300 * b"\xff\xee\0\x04ab"], ids=["fill bytes", "many segments"])
def test_a_jpeg_may_hold_much_before_its_date(before):
    data = with_exif(below={ORIGINAL: "2019:06:30 01:00:00"})
    assert taken(data[:2] + before + data[2:]) == datetime(2019, 6, 30, 1)


def test_only_a_few_bytes_of_a_large_file_are_read():
    class Counting(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            Counting.count += len(data)
            return data

    assert date_taken(Counting(with_exif(below={ORIGINAL: "2019:06:30 01:00:00"}) + bytes(5_000_000))) is not None
    assert Counting.count < 2_000


@settings(deadline=None, max_examples=100)
@given(
    kind=st.sampled_from(FORMATS),
    place=st.floats(0, 1, exclude_max=True),
    value=st.binary(min_size=1, max_size=6),
    cut=st.integers(0, 400),
)
def test_damaged_files_say_nothing_or_a_date_and_never_fail(kind, place, value, cut):
    data = SEEDS[kind]
    at = int(place * min(len(data), 700))
    broken = data[:at] + value + data[at + len(value) :]
    found = date_taken(io.BytesIO(broken[: len(broken) - cut]))
    assert found is None or -(2**63) < found < 2**63


SEEDS = {kind: with_exif(kind, below={ORIGINAL: "2019:06:30 01:00:00", FRACTION: "123456"}) for kind in FORMATS}
