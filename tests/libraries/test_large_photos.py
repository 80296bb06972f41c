"""Photos as large as phones and cameras make them: found and shown, or skipped with the option that lets them in."""

from __future__ import annotations

import io
import re
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile

from app.main import create_app
from index_builder import BuildOptions, GallerySnapshot, build_gallery, verify_gallery
from model.errors import ImageTooLargeError
from model.images.appearance import photo_rgb
from model.images.decoding_memory import DecodingMemory
from model.images.limits import ImageLimits
from model.images.opening import open_shown
from model.images.reduction import photo_within
from tests.app.conftest import WRITE_KEY, encoded, open_client, picture, service_in, settings_for, sketch
from tests.index_builder.pictures import write_photo

WIDE, HIGH = 16320, 12240


@pytest.fixture(scope="module")
def giant():
    """A JPEG of 200 megapixels, in grey."""
    buffer = io.BytesIO()
    Image.new("L", (WIDE, HIGH), 90).save(buffer, "JPEG")
    return buffer.getvalue()


def declared(width, height):
    """A PNG that declares this size and has no pixels to speak of."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def the_reason(report):
    (one,) = report.skipped.reasons()
    return one.reason


def test_two_hundred_megapixels_are_found_and_verified(tmp_path, giant, network, options):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "giant.jpg").write_bytes(giant)
    report = build_gallery(tmp_path / "photos", tmp_path / "g", network, options=options)
    assert (report.added, len(report.skipped)) == (1, 0)
    record = GallerySnapshot.load(tmp_path / "g", network.identity).photo(0)
    assert (record.width, record.height) == (WIDE, HIGH)
    assert verify_gallery(tmp_path / "g").decoded == 1


@pytest.mark.parametrize(
    ("limits", "option"),
    [
        (ImageLimits(max_pixels=300), r"--max-pixels \(SKETCHSEEK_MAX_PIXELS\)"),
        (ImageLimits(max_bytes=100), r"--max-image-bytes \(SKETCHSEEK_MAX_IMAGE_BYTES\)"),
        (ImageLimits(max_memory=1000), r"--max-image-memory-bytes \(SKETCHSEEK_MAX_IMAGE_MEMORY_BYTES\)"),
    ],
)
def test_a_skipped_photo_says_which_option_lets_it_in(tmp_path, network, limits, option):
    write_photo(tmp_path / "photos" / "a.jpg", seed=0)
    report = build_gallery(tmp_path / "photos", tmp_path / "g", network, options=BuildOptions(limits=limits))
    assert report.added == 0
    assert re.search(option, the_reason(report))
    assert "send" not in the_reason(report)


def test_no_option_is_promised_that_would_not_help(tmp_path, network, options):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "strip.png").write_bytes(declared(70_000, 10))
    report = build_gallery(tmp_path / "photos", tmp_path / "g", network, options=options)
    assert "no side may have more than 65535" in the_reason(report)
    assert "--" not in the_reason(report)


def test_pillows_own_limit_is_not_ours(tmp_path, network):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "bomb.png").write_bytes(declared(30_000, 15_000))
    report = build_gallery(
        tmp_path / "photos", tmp_path / "g", network, options=BuildOptions(limits=ImageLimits(max_memory=10**9))
    )
    assert "decoding the image takes about 1800 MB" in the_reason(report)  # judged by memory, not by pixels


def test_giants_at_the_same_time_do_not_add_up(tmp_path, network, monkeypatch):
    """Four threads, eight photos of which one fills the shared memory: never two of them at once."""
    for seed in range(8):
        write_photo(tmp_path / "photos" / f"{seed}.png", seed=seed, kind="PNG", size=(400, 300))
    memory = DecodingMemory(600_000)  # a photo takes 480 kB and its file, and pixels may take 450 kB
    held, most = [0], [0]
    lock = threading.Lock()
    load = ImageFile.ImageFile.load

    def watched(image):
        with lock:
            held[0] += 1
            most[0] = max(most[0], held[0])
        try:
            return load(image)
        finally:
            with lock:
                held[0] -= 1

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", watched)
    report = build_gallery(
        tmp_path / "photos",
        tmp_path / "g",
        network,
        options=BuildOptions(workers=4, limits=ImageLimits(together=memory)),
    )
    assert (report.added, most[0]) == (8, 1)


@pytest.fixture
def served(tmp_path, network):
    """A service with small limits over one photo, and the photos' folder."""
    write_photo(tmp_path / "photos" / "a.jpg", seed=0)
    build_gallery(tmp_path / "photos", tmp_path / "g", network)
    settings = settings_for(
        tmp_path / "g", photos=tmp_path / "photos", write_key=WRITE_KEY, max_pixels=50_000, max_sketch_pixels=5_000
    )
    with open_client(create_app(settings, network), headers={"Authorization": f"Bearer {WRITE_KEY}"}) as client:
        yield client, tmp_path / "photos"


@pytest.mark.parametrize(("size", "status"), [((200, 200), 201), ((250, 200), 201), ((251, 200), 413)])
def test_an_upload_is_indexed_and_shown_or_refused(served, size, status):
    client, photos = served
    before = sorted(photos.rglob("*.*"))
    answer = client.post("/photos", files={"photo": encoded(picture(1, size))})
    assert answer.status_code == status
    if status == 201:
        (photo,) = answer.json()["photos"]
        assert client.get(f"/photos/{photo['photo_id']}/thumbnail").status_code == 200
    else:
        assert answer.json()["code"] == "image_too_large"
        assert sorted(photos.rglob("*.*")) == before  # no orphan


def test_a_photo_larger_than_any_sketch_has_a_thumbnail(served):
    client, _ = served
    large = encoded(picture(1, (200, 200)))
    assert client.post("/search", files={"sketch": large}).json()["code"] == "image_too_large"
    assert client.post("/photos", files={"photo": large}).status_code == 201


def test_searches_and_originals_do_not_wait_for_photos_that_wait_for_memory(tmp_path, network):
    for seed in range(2):
        write_photo(tmp_path / "photos" / f"{seed}.png", seed=seed, size=(300, 200))
    build_gallery(tmp_path / "photos", tmp_path / "g", network)
    settings = settings_for(tmp_path / "g", decoding_memory_bytes=1_600_000, request_timeout_s=2, decode_threads=2)
    with open_client(create_app(settings, network)) as client, ThreadPoolExecutor(2) as pool:
        found = client.post("/search", files={"sketch": sketch()}).json()["results"]
        with service_in(client).photo_limits.together.pixels(1_200_000):  # what indexing a giant holds
            thumbnails = [pool.submit(client.get, one["thumbnail_url"]) for one in found]
            time.sleep(0.2)
            assert client.post("/search", files={"sketch": sketch()}).status_code == 200
            assert [client.get(one["url"]).status_code for one in found] == [200, 200]
            late = [one.result() for one in thumbnails]
            assert {(one.status_code, one.json()["code"]) for one in late} == {(503, "deadline_exceeded")}
        assert [client.get(one["thumbnail_url"]).status_code for one in found] == [200, 200]


def test_a_picture_for_the_screen_keeps_to_the_memory_that_one_photo_may_take():
    data = encoded(Image.new("RGBA", (2500, 1600), "red"))
    assert open_shown(data, ImageLimits(), 1200).size == (1200, 768)
    with pytest.raises(ImageTooLargeError):  # 16 MB of pixels alone
        open_shown(data, ImageLimits(max_memory=20_000_000), 1200)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16", "F", "CMYK"])
@pytest.mark.parametrize("size", [100, 299, 450, 601])
def test_a_picture_made_in_pieces_is_the_picture_made_at_once(mode, size):
    smooth = picture(3, (600, 450)).resize((1800, 1350)).resize((600, 450))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(smooth.convert("L")).astype(np.uint16) * 250)
    elif mode == "F":
        image = Image.fromarray(np.asarray(smooth.convert("L")).astype(np.float32) / 200)
    else:
        image = smooth.quantize(64) if mode == "P" else smooth.convert(mode)
    if mode == "RGBA":
        image.putalpha(smooth.convert("L"))
    expected = photo_rgb(image.copy())
    expected.thumbnail((size, size), Image.Resampling.LANCZOS)
    found = photo_within(image, size)
    assert (found.mode, max(found.size)) == ("RGB", min(size, 600))
    difference = np.abs(np.asarray(found, dtype=int) - np.asarray(expected.resize(found.size), dtype=int))
    assert (difference.mean(), np.percentile(difference, 99)) < (1.5, 12)
