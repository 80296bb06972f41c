"""Files that every viewer opens although something is missing or too much: read as far as they go, and marked."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from index_builder import GallerySnapshot, build_gallery, gallery_info, sync_gallery, verify_gallery
from model.errors import DamagedImageError
from model.images.appearance import photo_rgb
from model.images.opening import read_image, to_rgb
from tests.index_builder.pictures import write_photo

NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
PICTURE = Image.fromarray(NOISE).resize((320, 240))
KINDS = {
    "JPEG": {},
    "JPEG progressive": {"progressive": True},
    "JPEG optimised": {"optimize": True},
    "PNG": {},
    "WEBP": {},
    "WEBP lossless": {"lossless": True},
    "BMP": {},
    "GIF": {"interlace": False},
    "TIFF": {},
}


def encoded(kind, image=PICTURE):
    stream = io.BytesIO()
    image.save(stream, kind.split()[0], **KINDS[kind])
    return stream.getvalue()


def rgb(data):
    return np.asarray(to_rgb(read_image(data).image), dtype=float)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0.6, 0.9])
def test_what_is_there_is_shown_and_marked(kind, kept):
    whole = encoded(kind)
    opened = read_image(whole[: int(len(whole) * kept)])
    assert opened.shown is not None
    assert (opened.width, opened.height) == (320, 240)
    assert not read_image(whole).incomplete
    differs = np.abs(np.asarray(to_rgb(opened.image), dtype=float) - rgb(whole)).mean(axis=(1, 2)) > 12
    if kind == "JPEG progressive":
        assert opened.shown == 1
        assert np.abs(np.asarray(to_rgb(opened.image), dtype=float) - rgb(whole)).mean() < 40
    elif kind == "BMP":  # is stored from the bottom up
        assert not differs[round(240 * (1 - kept)) + 4 :].any()
        assert opened.shown == pytest.approx(kept, abs=0.02)
    else:
        assert not differs[: round(240 * opened.shown) - 18].any()
        assert opened.shown == pytest.approx(kept, abs=0.15)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "WEBP lossless"])
def test_what_is_missing_is_white_as_the_page_is(kind):
    whole = encoded(kind)
    assert rgb(whole[: int(len(whole) * 0.6)])[-20:].min() == 255


def cut_at(data, share):
    return data[: int(len(data) * share)]


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("GIF", PICTURE.quantize(64)),
        ("PNG", PICTURE.quantize(64)),
        ("PNG", PICTURE.convert("LA")),
        ("PNG", Image.fromarray(np.asarray(PICTURE.convert("L")).astype(np.uint16) * 200)),
    ],
    ids=["GIF", "palette", "grey with opacity", "16 bits"],
)
@pytest.mark.parametrize("scale", [1, 12])
def test_what_is_missing_is_white_in_every_mode(kind, image, scale):
    large = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    opened = read_image(cut_at(encoded(kind, large), 0.6), longest_side=64)
    assert opened.shown == pytest.approx(0.6, abs=0.3)
    shown = np.asarray(photo_rgb(opened.image))
    assert shown[-len(shown) // 20 :].min() == 255
    assert shown[: len(shown) // 4].min() < 200


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "WEBP lossless", "JPEG", "GIF"])
def test_zeros_or_anything_else_behind_a_whole_file_are_nobodys(kind):
    whole = encoded(kind)
    for behind in (bytes(2_000_000), b"SEFHk\0\0\0" + b"Motion" * 1000, NOISE.tobytes()):
        opened = read_image(whole + behind)
        assert not opened.incomplete
        np.testing.assert_array_equal(np.asarray(to_rgb(opened.image)), rgb(whole))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_zeros_in_place_of_the_end_are_not_rows(kind):
    whole = encoded(kind, PICTURE.resize((320, 1200)))
    part = cut_at(whole, 0.4)
    opened = read_image(part + bytes(len(whole) - len(part)))
    if kind == "WEBP":
        return  # whose pixels nobody can tell from zeros; it opens
    assert opened.shown == pytest.approx(0.4, abs=0.12)
    with pytest.raises(DamagedImageError, match="a part of the image is missing"):
        read_image(part + bytes(100_000), whole=True)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("zeros", [0, 200_000])
def test_a_jpeg_in_any_colours_that_lacks_most_rows_is_not_whole(mode, zeros):
    whole = encoded("JPEG", PICTURE.resize((320, 1200)).convert(mode))
    start = whole.index(b"\xff\xda")
    part = whole[: start + int((len(whole) - start) * 0.3)] + bytes(zeros)
    assert read_image(part).shown == pytest.approx(0.3, abs=0.1)
    with pytest.raises(DamagedImageError, match="a part of the image is missing"):
        read_image(part, whole=True)


@pytest.mark.parametrize("kind", KINDS)
def test_too_little_is_refused(kind):
    # Tall, because the decoder smooths what is there into the three rows of blocks below.
    whole = encoded(kind, PICTURE.resize((320, 1200)))
    start = (16 if "progressive" in kind else 40) + whole.index(b"\xff\xda") if kind.startswith("JPEG") else 40
    for cut in (start,) if kind == "JPEG progressive" else (start, start + (len(whole) - start) // 20):
        with pytest.raises(DamagedImageError):
            read_image(whole[:cut])


def test_interlaced_files_with_gaps_are_refused():
    png = encoded("PNG")
    gif = io.BytesIO()
    PICTURE.save(gif, "GIF", interlace=True)
    for whole in (png[:28] + b"\1" + png[29:], gif.getvalue()):
        with pytest.raises(DamagedImageError):
            read_image(whole[: len(whole) * 3 // 4])


@pytest.mark.parametrize("lost", [1, 2])
def test_a_jpeg_without_its_last_bytes_shows_every_row(lost):
    opened = read_image(encoded("JPEG")[:-lost])
    assert (opened.shown, opened.incomplete) == (1, True)
    np.testing.assert_array_equal(np.asarray(opened.image), rgb(encoded("JPEG")))


@pytest.mark.parametrize("stray", [b"\0", b"\0" * 1000, b"stray", b"\xff\0", b"\0\xff\xff\xff"])
def test_stray_bytes_between_the_segments_of_a_jpeg(stray):
    whole = encoded("JPEG")
    tables = whole.index(b"\xff\xdb")
    frame = whole.index(b"\xff\xc0")
    strewn = whole[:tables] + stray + whole[tables:frame] + stray + whole[frame:]
    assert not read_image(strewn).incomplete
    np.testing.assert_array_equal(rgb(strewn), rgb(whole))


def test_a_sketch_has_to_be_whole():
    whole = encoded("PNG")
    with pytest.raises(DamagedImageError, match="send the whole file"):
        read_image(whole[: len(whole) * 3 // 4], whole=True)
    assert read_image(encoded("JPEG")[:-2], whole=True).incomplete


def test_verify_and_info_name_them(tmp_path, network, options):
    write_photo(tmp_path / "photos" / "whole.jpg", seed=0)
    (tmp_path / "photos" / "cut.jpg").write_bytes(encoded("JPEG")[:-2000])
    report = build_gallery(tmp_path / "photos", tmp_path / "g", network, options=options)
    assert (report.added, len(report.skipped)) == (2, 0)
    info = gallery_info(tmp_path / "g")
    assert (info.incomplete, info.incomplete_photos) == (1, ["cut.jpg"])
    verified = verify_gallery(tmp_path / "g")
    assert verified.whole
    assert (verified.decoded, verified.incomplete) == (2, ["cut.jpg"])


def test_moved_and_copied_photos_stay_marked(tmp_path, network, options):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cut.jpg").write_bytes(encoded("JPEG")[:-2000])
    build_gallery(photos, tmp_path / "g", network, options=options)
    (photos / "cut.jpg").rename(photos / "moved.jpg")
    (photos / "copy.jpg").write_bytes((photos / "moved.jpg").read_bytes())
    sync_gallery(tmp_path / "g", network, options=options)
    assert sorted(gallery_info(tmp_path / "g").incomplete_photos) == ["copy.jpg", "moved.jpg"]


def test_a_gallery_from_before_has_no_such_column_and_works(tmp_path, network, options, monkeypatch):
    from index_builder.store import metadata

    write_photo(tmp_path / "photos" / "whole.jpg", seed=0)
    monkeypatch.setattr(metadata, "OPTIONAL_COLUMNS", {})
    build_gallery(tmp_path / "photos", tmp_path / "g", network, options=options)
    monkeypatch.undo()
    assert gallery_info(tmp_path / "g").incomplete is None
    (tmp_path / "photos" / "cut.jpg").write_bytes(encoded("JPEG")[:-2000])
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert (report.added, report.unchanged) == (1, 1)
    assert len(GallerySnapshot.load(tmp_path / "g", network.identity)) == 2
    assert gallery_info(tmp_path / "g").incomplete is None
    assert verify_gallery(tmp_path / "g").incomplete == ["cut.jpg"]
