"""Opening images: formats by content, orientation, first frames, sizes, draft decoding, limits, typed errors."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from model.errors import (
    ConfigurationError,
    DamagedImageError,
    ImageError,
    ImageFormatError,
    ImageTooLargeError,
    SketchseekError,
)
from model.images import reduction
from model.images.containers import inspect
from model.images.formats.container import exif_orientation
from model.images.opening import FORMATS, HEIF_AVAILABLE, ImageLimits, open_image, read_image, to_rgb
from tests.model.images.hostile.case import picture, saved

KINDS: dict[str, dict[str, Any]] = {
    "JPEG": {},
    "JPEG progressive": {"progressive": True},
    "PNG": {},
    "WEBP": {},
    "WEBP lossless": {"lossless": True},
    "BMP": {},
    "TIFF": {},
    "TIFF lzw": {"compression": "tiff_lzw"},
    "TIFF jpeg": {"compression": "jpeg"},
    "GIF": {},
    "AVIF": {},
    "HEIF": {},
}


def encoded(kind: str, image: Image.Image | None = None, **more: Any) -> bytes:
    if kind.startswith("HEIF") and not HEIF_AVAILABLE:
        pytest.skip("pillow-heif is not installed")
    return saved(image or picture(60, 40), kind.split(maxsplit=1)[0], **KINDS[kind], **more)


@pytest.mark.parametrize("kind", KINDS)
def test_format_is_told_by_content(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.txt"
    path.write_bytes(encoded(kind))
    opened = read_image(path)
    assert (opened.width, opened.height, opened.format) == (60, 40, kind.split(maxsplit=1)[0])
    assert opened.image.size == (60, 40)
    assert type(opened.image) is Image.Image  # nothing of the file lives on in it
    difference = np.abs(np.asarray(to_rgb(opened.image)).astype(int) - np.asarray(picture(60, 40)))
    assert difference.mean() < 8


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("BMP", "GIF")])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_as_pillow_does(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    opened = read_image(data)
    assert (opened.width, opened.height) == expected.size
    np.testing.assert_array_equal(np.asarray(to_rgb(opened.image)), np.asarray(expected))


def test_big_endian_and_senseless_orientations() -> None:
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    assert exif_orientation(b"MM\0*" + struct.pack(">IH", 8, 1) + entry) == 6
    assert exif_orientation(b"MM\0*" + struct.pack(">IH", 8, 1) + entry[:-4] + b"\0\x09\0\0") == 1
    assert exif_orientation(b"MM\0*" + struct.pack(">IH", 8, 9) + entry[:6]) == 1
    assert exif_orientation(b"") == 1


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP lossless", "TIFF", "AVIF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "lime", "blue")]
    opened = open_image(encoded(kind, frames[0], save_all=True, append_images=frames[1:]))
    assert np.abs(np.asarray(to_rgb(opened)).astype(int) - (255, 0, 0)).max() < 6


def test_transparent_gif_keeps_its_transparency() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 255, 0, 0, 255])
    image.paste(0, (0, 0, 4, 8))
    opened = open_image(saved(image, "GIF", transparency=0))
    assert np.asarray(to_rgb(opened))[0].tolist() == [[255] * 3] * 4 + [[0, 0, 255]] * 4


def test_adobe_cmyk_is_not_negative() -> None:
    image = Image.new("RGB", (16, 16), "red").convert("CMYK")
    assert np.asarray(to_rgb(open_image(saved(image, "JPEG"))))[0, 0].tolist() == pytest.approx([255, 0, 0], abs=6)


def test_sixteen_bits_and_floats_survive_the_file() -> None:
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (8, 1))
    for data in (saved(Image.fromarray(ramp), "PNG"), saved(Image.fromarray(ramp), "TIFF")):
        np.testing.assert_allclose(np.asarray(to_rgb(open_image(data)))[0, :, 0], ramp[0] / 257, atol=1)
    floats = saved(Image.fromarray(ramp.astype(np.float32) / 65535), "TIFF")
    np.testing.assert_allclose(np.asarray(to_rgb(open_image(floats)))[0, :, 0], ramp[0] / 257, atol=1)


def test_profile_and_metadata_are_dropped() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        image = open_image(encoded(kind, icc_profile=profile, exif=Image.Exif()))
        assert image.info == {}


@pytest.mark.parametrize("way", ["path", "text path", "bytes", "file"])
def test_sources(way: str, tmp_path: Path) -> None:
    data = encoded("PNG")
    path = tmp_path / "a"
    path.write_bytes(data)
    source: Any = {"path": path, "text path": str(path), "bytes": data, "file": io.BytesIO(b"before" + data)}[way]
    if way == "file":
        source.seek(6)
    np.testing.assert_array_equal(np.asarray(open_image(source)), np.asarray(picture(60, 40)))


# Decoding fewer pixels.


@pytest.fixture
def soon_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image counts as large from a megapixel on, so that encoding one takes no seconds."""
    monkeypatch.setattr(reduction, "_SMALL_PIXELS", 1_000_000)


@pytest.mark.usefixtures("soon_large")
@pytest.mark.parametrize("kind", KINDS)
def test_large_image_keeps_at_least_twice_the_longest_side(kind: str) -> None:
    image = picture(1300, 900)
    opened = read_image(encoded(kind, image), longest_side=100)
    assert (opened.width, opened.height) == (1300, 900)
    assert 200 <= max(opened.image.size) <= 400
    small = np.asarray(to_rgb(opened.image).resize((65, 45)), dtype=float)
    expected = np.asarray(image.reduce(20), dtype=float)
    assert np.abs(small - expected)[:, 3:-3].mean() < (6 if kind == "GIF" else 3)


@pytest.mark.usefixtures("soon_large")
@pytest.mark.parametrize("mode", ["P", "1", "L", "RGBA", "I;16"])
def test_large_image_is_reduced_in_any_mode(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.asarray(picture(1300, 900, "L")).astype(np.uint16) * 257)
    else:
        image = picture(1300, 900, mode)
    opened = read_image(saved(image, "PNG"), longest_side=100)
    assert opened.image.size == (217, 150)
    difference = np.asarray(to_rgb(opened.image), dtype=float) - np.asarray(picture(1300, 900).reduce(6), dtype=float)
    if mode not in ("P", "RGBA"):
        difference = np.asarray(to_rgb(opened.image), dtype=float)[..., 0] - np.asarray(
            picture(1300, 900).convert("L").reduce(6), dtype=float
        )
    assert np.abs(difference).mean() < (6 if mode != "1" else 20)


@pytest.mark.usefixtures("soon_large")
def test_transparency_survives_the_reduction() -> None:
    image = picture(1300, 900, "RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    assert np.asarray(to_rgb(open_image(saved(image, "PNG"), longest_side=100))).min() == 255


def test_ordinary_image_keeps_every_pixel() -> None:
    image = picture(1600, 1200)
    opened = open_image(saved(image, "PNG"), longest_side=224)
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(image))


# Errors and limits.


@pytest.mark.parametrize("data", [b"", b"a", b"no image at all" * 100])
def test_what_is_no_image(data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        open_image(data)
    assert caught.value.code == "unreadable_image"


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_anywhere_is_a_typed_error_or_said_to_be_incomplete(kind: str) -> None:
    data = encoded(kind, picture(200, 150))
    for cut in [*range(1, 64, 7), *range(64, len(data) * 9 // 10, max(1, len(data) // 40))]:
        with contextlib.suppress(ImageError):
            opened = read_image(data[:cut])
            assert opened.incomplete
            assert opened.shown is not None
            assert 0.1 <= opened.shown <= 1
        with contextlib.suppress(ImageError):
            assert read_image(data[:cut], whole=True).shown == 1


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png"):
        open_image(tmp_path / "gone.png")
    with pytest.raises(ImageError):
        open_image(tmp_path)
    with pytest.raises(ImageError):
        open_image("a\0b")


def test_format_outside_the_allow_list() -> None:
    only = ImageLimits(formats=("PNG",))
    with pytest.raises(ImageFormatError, match="JPEG are not accepted") as caught:
        open_image(encoded("JPEG"), only)
    assert caught.value.code == "unsupported_image_format"
    with pytest.raises(ImageFormatError, match="JPEG"):
        open_image(encoded("JPEG")[:100], only)
    with pytest.raises(ImageFormatError, match="ICO"):
        open_image(saved(picture(), "ICO"))
    assert open_image(encoded("PNG"), only).size == (60, 40)


def test_limits_are_inclusive_and_checked_from_the_header() -> None:
    data = encoded("PNG")
    assert open_image(data, ImageLimits(max_pixels=2400, max_bytes=len(data))).size == (60, 40)
    for limits, code in (
        (ImageLimits(max_pixels=2399), "image_too_large"),
        (ImageLimits(max_bytes=len(data) - 1), "image_file_too_large"),
        (ImageLimits(max_memory=1000), "image_memory"),
    ):
        with pytest.raises(ImageTooLargeError, match="send a smaller one") as caught:
            open_image(data, limits)
        assert caught.value.code == code


def test_memory_is_bounded_before_decoding() -> None:
    frugal = ImageLimits(max_memory=1_000_000)
    photo = picture(1000, 1000)
    with pytest.raises(ImageTooLargeError, match="decoding the image takes about"):
        open_image(saved(photo, "PNG"), frugal)
    assert open_image(saved(photo, "JPEG"), frugal, longest_side=100).size == (250, 250)
    with pytest.raises(ImageTooLargeError):
        open_image(saved(photo, "JPEG", progressive=True), frugal, longest_side=100)
    with pytest.raises(ImageTooLargeError):
        open_image(saved(photo, "WEBP"), ImageLimits(max_memory=10_000_000))


@pytest.mark.parametrize("wrong", [{"max_pixels": 0}, {"max_bytes": -1}, {"max_memory": 0}, {"formats": ("EPS",)}])
def test_limits_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        ImageLimits(**wrong)


def test_every_default_format_is_known() -> None:
    assert set(FORMATS) >= {"JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"}
    assert ("HEIF" in FORMATS) == HEIF_AVAILABLE


def test_no_warning_leaks_even_from_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)  # from which on Pillow warns; 89 megapixels otherwise
    bomb = saved(Image.new("1", (1400, 1400)), "PNG")
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(bomb))
    filters = list(warnings.filters)
    problems: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(4):
                assert open_image(bomb, longest_side=100).size[0] > 0
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert list(warnings.filters) == filters


# Any bytes at all.


def survives(data: bytes) -> None:
    try:
        opened = read_image(data, ImageLimits(max_pixels=1_000_000, max_memory=20_000_000), longest_side=64)
    except SketchseekError:
        return
    assert to_rgb(opened.image).mode == "RGB"
    assert opened.width > 0
    assert opened.height > 0


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), data=st.data())
def test_any_damage_is_an_image_or_a_typed_error(kind: str, data: st.DataObject) -> None:
    original = bytearray(encoded(kind, picture(24, 16)))
    for _ in range(data.draw(st.integers(1, 6), label="edits")):
        at = data.draw(st.integers(0, len(original) - 1), label="at")
        action = data.draw(st.sampled_from(["set", "delete", "insert", "repeat"]), label="action")
        piece = data.draw(st.binary(min_size=1, max_size=8), label="piece")
        if action == "set":
            original[at : at + len(piece)] = piece
        elif action == "delete":
            del original[at : at + len(piece)]
        elif action == "insert":
            original[at:at] = piece
        else:
            original[at:at] = original[at : at + 64]
        if not original:
            break
    survives(bytes(original))


SIGNATURES = [
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\0\0\0\0WEBPVP8 ",
    b"RIFF\0\0\0\0WEBPVP8X",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"\0\0\0\x1cftypavif",
    b"\0\0\0\x1cftypheic",
]


@settings(max_examples=200, deadline=None)
@given(signature=st.sampled_from(SIGNATURES), body=st.binary(max_size=400))
def test_any_bytes_behind_a_signature(signature: bytes, body: bytes) -> None:
    survives(signature + body)
    try:
        container = inspect(signature + body)
    except (DamagedImageError, ImageFormatError):
        return
    assert 1 <= container.orientation <= 8
