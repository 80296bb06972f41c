"""RAW, JPEG XL, pictures for two eyes, and files without an ending become photos."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from app.settings import load_settings
from index_builder import GallerySnapshot, build_gallery, sync_gallery
from index_builder.scanning import found_files
from model.errors import DamagedImageError, ImageFormatError, ImageTooLargeError
from model.images.appearance import photo_rgb
from model.images.formats import endings
from model.images.formats.endings import ending_for, media_type_of, missing_extra
from model.images.formats.signatures import is_picture, sniff
from model.images.opening import FORMATS, ImageLimits, open_image, read_image
from tests.libraries.odd_looks import P3, patches, saved
from tests.libraries.raw_files import dng
from tests.libraries.test_looks import IN_P3, colours
from tests.model.images.hostile.case import picture

raw = pytest.mark.skipif("RAW" not in FORMATS, reason="rawpy is not installed")
jxl = pytest.mark.skipif("JXL" not in FORMATS, reason="pylibjxl is not installed")


def jpeg_xl(image: Image.Image | np.ndarray, **options) -> bytes:
    import pylibjxl

    return bytes(pylibjxl.encode(np.asarray(image), **options))


def corner(image: Image.Image, x: float, y: float) -> np.ndarray:
    small: np.ndarray = np.asarray(photo_rgb(image).resize((9, 9), Image.Resampling.BOX), dtype=int)
    return np.array(small[round(8 * y), round(8 * x)])


@raw
@pytest.mark.parametrize("preview", [(320, 240), (40, 30), None], ids=["preview", "too small a preview", "none"])
def test_a_raw_is_its_preview_or_its_sensors_picture(preview):
    opened = read_image(dng(preview=preview), longest_side=224)
    assert (opened.width, opened.height, opened.format) == (320, 240, "RAW")
    assert opened.image.size == ((320, 240) if preview == (320, 240) else (160, 120))
    blue, red = corner(opened.image, 0, 0), corner(opened.image, 1, 0)
    assert blue[2] - blue[0] > 140
    assert red[0] - red[2] > 140


@raw
@pytest.mark.parametrize("preview", [(320, 240), None])
@pytest.mark.parametrize(("orientation", "red_at"), [(3, (0, 1)), (6, (1, 1)), (8, (0, 0))])
def test_a_raw_is_upright(preview, orientation, red_at):
    opened = read_image(dng(preview=preview, orientation=orientation), longest_side=224)
    assert (opened.width, opened.height) == ((320, 240) if orientation == 3 else (240, 320))
    assert (opened.image.width > opened.image.height) == (opened.width > opened.height)
    red = corner(opened.image, *red_at)
    assert red[0] > 180 > red[2]


@raw
def test_a_raw_keeps_to_the_limits_before_it_is_decoded():
    with pytest.raises(ImageTooLargeError):
        read_image(dng(), ImageLimits(max_pixels=320 * 240 - 1))
    with pytest.raises(ImageTooLargeError):
        read_image(dng(preview=None), ImageLimits(max_memory=300_000))


@raw
def test_a_damaged_raw_is_one_typed_error_or_a_picture():
    data = dng()
    for cut in (9, 100, 500, 2000, len(data) // 2):
        try:
            assert read_image(data[:cut], longest_side=64).image.width > 0
        except DamagedImageError:
            continue


def test_raw_is_told_from_tiff_by_its_content():
    assert sniff(dng()) == "RAW"
    assert sniff(saved(picture(), "TIFF")) == "TIFF"
    assert sniff(b"II*\0\x10\0\0\0CR\x02\0" + bytes(60)) == sniff(b"FUJIFILMCCD-RAW 0201") == "RAW"
    assert sniff(b"\0\0\0\x18ftypcrx \0\0\0\1") == sniff(b"IIU\0\x18\0\0\0") == sniff(b"IIRO\x08\0\0\0") == "RAW"
    assert ending_for("RAW", "DSC_1.NEF") == ".nef"
    assert ending_for("RAW", "DSC_1.exe") == ".dng"
    assert ending_for("JPEG", "DSC_1.nef") == ".jpg"


@jxl
def test_jpeg_xl_is_read_with_its_profile():
    opened = read_image(jpeg_xl(patches(), lossless=True, icc=P3))
    assert (opened.width, opened.height, opened.format) == (160, 120, "JXL")
    np.testing.assert_allclose(colours(photo_rgb(opened.image)), IN_P3, atol=3)


@jxl
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_jpeg_xl_keeps_every_pixel_and_is_reduced_where_it_is_large(mode):
    image = picture(90, 70, mode)
    np.testing.assert_array_equal(np.asarray(open_image(jpeg_xl(image, lossless=True))), np.asarray(image))
    large = read_image(jpeg_xl(picture(2600, 1800, mode), effort=1), longest_side=200)
    assert (large.width, large.height, max(large.image.size)) == (2600, 1800, 434)


@jxl
def test_jpeg_xl_keeps_to_the_limits_before_it_is_decoded():
    data = jpeg_xl(picture(200, 100))
    for limits in (ImageLimits(max_pixels=19_999), ImageLimits(max_memory=20_000)):
        with pytest.raises(ImageTooLargeError):
            read_image(data, limits)
    for cut in (2, 5, 20, len(data) // 2):
        with pytest.raises(DamagedImageError):
            read_image(data[:cut])


@pytest.mark.parametrize("kind", [pytest.param("RAW", marks=raw), pytest.param("JXL", marks=jxl)])
def test_sketches_of_strangers_are_neither_raw_nor_jpeg_xl(kind):
    data = dng() if kind == "RAW" else jpeg_xl(picture())
    with pytest.raises(ImageFormatError, match=f"files of format {kind} are not accepted"):
        open_image(data, load_settings().sketch_limits())
    assert open_image(data).width


def test_a_format_without_its_extra_is_refused_by_the_extras_name(monkeypatch):
    monkeypatch.setattr(endings, "_is_installed", lambda _: False)
    without = ImageLimits(formats=("JPEG", "PNG", "TIFF"))
    for data, extra in ((dng(), "raw"), (b"\xff\x0a" + bytes(50), "jxl"), (b"\0\0\0\x18ftypheic" + bytes(50), "heic")):
        with pytest.raises(ImageFormatError, match=rf"needs an extra: pip install 'sketchseek\[{extra}\]'"):
            open_image(data, without)


def test_the_first_of_several_pictures_in_a_jpeg():
    data = saved(picture(), "MPO", save_all=True, append_images=[Image.new("RGB", (30, 30), "red")])
    opened = read_image(data)
    assert (opened.width, opened.height, opened.format) == (64, 48, "JPEG")
    assert media_type_of("a.MPO") == "image/jpeg"


def test_what_an_extra_reads_is_skipped_with_its_name_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(endings, "_is_installed", lambda _: False)
    assert missing_extra(".nef") == "RAW needs an extra: pip install 'sketchseek[raw]'"
    assert missing_extra(".jxl") == "JPEG XL needs an extra: pip install 'sketchseek[jxl]'"
    assert missing_extra(".heic") == "HEIC needs an extra: pip install 'sketchseek[heic]'"
    assert missing_extra(".jpg") is missing_extra(".txt") is None


def test_a_gallery_of_all_of_them(tmp_path, network, options, monkeypatch):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "IMG_0001").write_bytes(saved(picture(), "JPEG"))
    (photos / "notes").write_text("no picture")
    (photos / "empty").touch()
    (photos / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (photos / "stereo.mpo").write_bytes(saved(picture(), "MPO"))
    expected = {"IMG_0001", "stereo.mpo"}
    if "RAW" in FORMATS:
        (photos / "DSC.NEF").write_bytes(dng())
        expected.add("DSC.NEF")
    if "JXL" in FORMATS:
        (photos / "a.jxl").write_bytes(jpeg_xl(picture()))
        expected.add("a.jxl")
    report = build_gallery(photos, tmp_path / "gallery", network, options=options)
    snapshot = GallerySnapshot.load(tmp_path / "gallery", network.identity)
    assert {snapshot.photo(row).path for row in range(len(snapshot))} == expected
    assert report.added == len(expected)
    found_files._needed_extra.cache_clear()
    monkeypatch.setattr(endings, "_is_installed", lambda _: False)
    (photos / "b.dng").write_bytes(b"x")
    again = build_gallery(photos, tmp_path / "other", network, options=options)
    found_files._needed_extra.cache_clear()
    assert ("b.dng", "RAW needs an extra: pip install 'sketchseek[raw]'") in again.skipped.named()


@jxl
@pytest.mark.parametrize("name", ["a.jxl", "a", "a.jpg"])
def test_an_extra_that_is_missing_takes_no_photo_out(tmp_path, network, options, monkeypatch, name):
    """Whoever installs anew and forgets the extra has not deleted a photo, whatever its name ends in."""
    (photos := tmp_path / "photos").mkdir()
    (photos / name).write_bytes(jpeg_xl(picture()))
    (photos / "b.png").write_bytes(saved(picture(), "PNG"))
    assert build_gallery(photos, tmp_path / "g", network, options=options).photos == 2
    (photos / name).write_bytes(jpeg_xl(np.zeros((64, 64, 3), np.uint8)))  # so that it would be decoded
    found_files._needed_extra.cache_clear()
    monkeypatch.setattr(endings, "_is_installed", lambda _: False)
    limits = ImageLimits(formats=tuple(one for one in FORMATS if one != "JXL"))
    report = sync_gallery(tmp_path / "g", network, options=replace(options, limits=limits))
    found_files._needed_extra.cache_clear()
    assert (report.photos, report.removed) == (2, 0)
    assert any("needs an extra" in reason for _, reason in report.skipped.named())


@pytest.mark.parametrize("fails", ["open", "pread"])
def test_a_name_without_an_ending_that_cannot_be_read_stays(tmp_path, network, options, monkeypatch, fails):
    (photos := tmp_path / "photos").mkdir()
    for name in "ab":
        (photos / name).write_bytes(saved(picture(), "PNG"))
    build_gallery(photos, tmp_path / "g", network, options=options)
    real = getattr(os, fails)

    def refuse(what, *rest, **named):
        place = f"/proc/self/fd/{what}" if isinstance(what, int) else os.fsdecode(what)
        if os.path.realpath(place) == str(photos / "a"):
            raise OSError(5, "Input/output error")
        return real(what, *rest, **named)

    monkeypatch.setattr(os, fails, refuse)
    assert sync_gallery(tmp_path / "g", network, options=options).photos == 2


def test_a_look_at_the_first_bytes_is_of_regular_files_alone(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a").write_bytes(saved(picture(), "PNG"))
    (tmp_path / "b").write_bytes(b"%PDF-1.4")
    assert is_picture(os.fsencode(tmp_path / "a"))
    assert not any(is_picture(os.fsencode(tmp_path / name)) for name in ("b", "pipe", "gone", "."))
    assert media_type_of("a", "PNG") == "image/png"
    assert media_type_of("a", None) == "application/octet-stream"
