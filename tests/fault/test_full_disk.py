"""A disk that fills up: a typed error, the last committed version whole, and success once there is room."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from index_builder import GallerySnapshot, build_gallery
from index_builder.gallery_errors import GalleryWriteError
from index_builder.index.settings import RecallSettings
from index_builder.store.layout import POINTER
from tests.fault import jobs
from tests.fault.conftest import assert_part_of, assert_whole, contents
from tests.index_builder.pictures import write_photo

pytestmark = pytest.mark.timeout(600)  # seconds where nothing else runs, minutes on a busy machine
PHOTOS = 16
IVF_PHOTOS, IVF = 40, RecallSettings(kind="ivf")  # as few as its lists can be trained on


@pytest.fixture
def photos(tmp_path):
    for seed in range(PHOTOS):
        write_photo(tmp_path / "photos" / "cat" / f"{seed}.jpg", seed)
    return tmp_path / "photos"


@pytest.fixture
def expected(tmp_path, photos):
    build_gallery(photos, tmp_path / "undisturbed", jobs.NETWORK, options=jobs.OPTIONS)
    return contents(tmp_path / "undisturbed", jobs.NETWORK.identity)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, whose size can be set."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size, *options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={size}"]), "tmpfs", str(place)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if shutil.which("mount") is None or not mount("64k"):
        pytest.skip("mounting a small file system is not allowed here; test_files_that_may_not_grow stands in for it")
    yield place, lambda size: mount(size, "remount")
    subprocess.run(["umount", str(place)], check=True)


def built(photos, gallery):
    """ "done", or what the error says."""
    try:
        build_gallery(photos, gallery, jobs.NETWORK, options=jobs.OPTIONS)
    except GalleryWriteError as error:
        return str(error)
    return "done"


def fill(file):
    while True:
        file.write(b"x" * 65536)
        file.flush()


def test_a_full_disk(small_disk, photos, expected):
    place, resize = small_disk
    gallery = place / "gallery"
    words = []
    for kilobytes in range(16, 4096, 16):  # fails at another place each time
        assert resize(f"{kilobytes}k")
        words.append(built(photos, gallery))
        if words[-1] == "done":
            break
        assert "disk" in words[-1]
        if (gallery / POINTER).exists():
            assert_whole(gallery)
            assert_part_of(contents(gallery, jobs.NETWORK.identity), expected)
    assert words[-1] == "done"
    assert len(words) > 5
    assert resize("8m")
    now = contents(gallery, jobs.NETWORK.identity)
    assert now.keys() == expected.keys()
    assert_part_of(now, expected)
    assert_whole(gallery)


def test_searching_goes_on_where_the_recall_cache_has_no_room(small_disk, photos, caplog):
    place, resize = small_disk
    assert resize("8m")
    for seed in range(PHOTOS, IVF_PHOTOS):
        write_photo(photos / "cat" / f"{seed}.jpg", seed)
    build_gallery(photos, place / "gallery", jobs.NETWORK, options=jobs.OPTIONS)
    with pytest.raises(OSError, match="space"), (place / "filler").open("wb") as file:
        fill(file)
    snapshot = GallerySnapshot.load(place / "gallery", jobs.NETWORK.identity, recall=IVF)
    assert len(snapshot) == IVF_PHOTOS
    assert not snapshot.load_times.recall_cached
    assert "recall cache could not be written" in caplog.text
    assert not [path for path in (place / "gallery" / "recall").iterdir() if path.suffix == ".tmp"]
    (place / "filler").unlink()
    for cached in (False, True):
        snapshot = GallerySnapshot.load(place / "gallery", jobs.NETWORK.identity, recall=IVF)
        assert snapshot.load_times.recall_cached == cached


@pytest.mark.parametrize("job", ["build", "rebuild"])
def test_files_that_may_not_grow(tmp_path, runner, photos, expected, job):
    """The same by a limit on the size of files, which any user may set."""
    gallery = tmp_path / "gallery"
    if job == "rebuild":
        build_gallery(photos, gallery, jobs.NETWORK, options=jobs.OPTIONS)
    words = []
    for limit in (100, 1000, 3000, 5000, 7000, 10_000, 14_000, 1_000_000):
        outcome = runner.run(job, photos, gallery, file_limit=limit)
        words.append(outcome.word)
        if outcome.word == "done":
            break
        assert outcome.word == "gallery_write_failed"
        if (gallery / POINTER).exists():
            assert_whole(gallery)
            assert_part_of(contents(gallery, jobs.NETWORK.identity), expected)
    assert words[-1] == "done"
    assert len(words) > 2
    identity = (jobs.OTHER if job == "rebuild" else jobs.NETWORK).identity
    assert contents(gallery, identity).keys() == expected.keys()
    assert_whole(gallery)
