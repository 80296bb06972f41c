"""Modification times that no calendar of ours reaches: NTFS's zero, broken clocks, the far future."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from app.service.files.photo_files import is_unchanged, open_photo
from index_builder import BuildOptions, GallerySnapshot, build_gallery, rebuild_gallery, sync_gallery, verify_gallery
from index_builder.comparing.files_to_read import FileToRead
from index_builder.file_times import EARLIEST_NS, LATEST_NS, may_hide_a_change, modified_ns
from index_builder.ingest.decode import read_photo
from index_builder.photo_folders import PhotoFolders
from tests.index_builder.conftest import tiny_network
from tests.index_builder.pictures import photo_bytes, write_photo

OPTIONS = BuildOptions(batch_size=4, commit_photos=4, workers=1)
SECOND = 10**9
YEAR = 365 * 24 * 3600 * SECOND
TIMES = {
    "ntfs-zero": -11_644_473_600 * SECOND,
    "1601": -11_644_473_599 * SECOND,
    "1677": -(2**63) - 1,
    "before-1970": -SECOND,
    "zero": 0,
    "tomorrow-and-more": time.time_ns() + 10 * 24 * 3600 * SECOND,
    "2099": 129 * YEAR,
    "2262": 2**63,
    "2446": 15_032_385_535 * SECOND,
    "after-all": 10**20,
}


@pytest.fixture
def odd_photos():
    """A photo of every odd time; in memory where there is such a folder, because ext4 cannot hold them all."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    root = Path(tempfile.mkdtemp(dir=shared))
    for number, (name, when) in enumerate(TIMES.items()):
        write_photo(root / f"{name}.jpg", seed=number)
        os.utime(root / f"{name}.jpg", ns=(when, when))
    yield root
    shutil.rmtree(root)


def readings(monkeypatch) -> list[FileToRead]:
    """Every file that is read from now on."""
    read: list[FileToRead] = []

    def read_and_note(folders, job, **options):
        read.append(job)
        return read_photo(folders, job, **options)

    monkeypatch.setattr("index_builder.ingest.pipeline.read_photo", read_and_note)
    return read


def test_photos_of_any_time_are_built_and_stay_unchanged(odd_photos, tmp_path, network, monkeypatch):
    report = build_gallery(odd_photos, tmp_path / "g", network, options=OPTIONS)
    assert (report.added, len(report.skipped)) == (len(TIMES), 0)
    read = readings(monkeypatch)
    again = sync_gallery(tmp_path / "g", network, options=OPTIONS)
    assert (again.unchanged, again.added, again.changed, again.removed) == (len(TIMES), 0, 0, 0)
    assert not read, "an odd time is no reason to read an unchanged file again"
    assert verify_gallery(tmp_path / "g").whole


def test_a_changed_content_is_noticed_whatever_the_time_was(odd_photos, tmp_path, network):
    build_gallery(odd_photos, tmp_path / "g", network, options=OPTIONS)
    for number, name in enumerate(TIMES):
        (odd_photos / f"{name}.jpg").write_bytes(photo_bytes(seed=100 + number))
    options = replace(OPTIONS, most_lost=100)
    assert sync_gallery(tmp_path / "g", network, options=options).changed == len(TIMES)


def test_such_a_gallery_is_rebuilt_and_its_files_count_as_unchanged(odd_photos, tmp_path, network):
    build_gallery(odd_photos, tmp_path / "g", network, options=OPTIONS)
    assert rebuild_gallery(tmp_path / "g", tiny_network(1), options=OPTIONS).added == len(TIMES)
    snapshot = GallerySnapshot.load(tmp_path / "g", tiny_network(1).identity)
    for row in range(len(snapshot)):
        photo = snapshot.photo(row)
        with open_photo(PhotoFolders.of(odd_photos), photo) as file:
            assert is_unchanged(file, photo), (photo.path, photo.modified)


@pytest.mark.parametrize("when", TIMES.values(), ids=list(TIMES))
def test_one_function_bounds_the_times(when):
    status = cast(os.stat_result, SimpleNamespace(st_mtime_ns=when))
    assert EARLIEST_NS <= modified_ns(status) <= LATEST_NS
    assert modified_ns(status) == when or abs(when) > LATEST_NS


def test_a_time_hides_a_change_only_around_the_reading():
    now = time.time_ns()
    hour = 3600 * SECOND
    assert [may_hide_a_change(now + ahead, now) for ahead in (-hour, -SECOND, 0, hour, 30 * 24 * hour)] == [
        False, True, True, True, False
    ]  # fmt: skip


@pytest.mark.parametrize("hours", [5, -5])
def test_a_change_is_noticed_though_the_clock_was_hours_wrong_when_it_was_read(tmp_path, network, monkeypatch, hours):
    photos = tmp_path / "photos"
    photos.mkdir()
    file = photos / "new.jpg"
    file.write_bytes(photo_bytes(1).ljust(3000, b"\0"))
    wrong = time.time_ns() + hours * 3600 * SECOND
    with monkeypatch.context() as patch:
        patch.setattr("index_builder.ingest.decode.time.time_ns", lambda: wrong)
        build_gallery(photos, tmp_path / "g", network, options=OPTIONS)
    modified = file.stat().st_mtime_ns
    file.write_bytes(photo_bytes(2).ljust(3000, b"\0"))
    if hours < 0:  # our clock was behind: no time of the file can be trusted
        os.utime(file, ns=(modified, modified))
    assert sync_gallery(tmp_path / "g", network, options=OPTIONS).changed == 1


def test_a_photo_read_while_it_was_fresh_is_read_once_more_and_then_trusted(tmp_path, network, monkeypatch):
    """An upload is read as soon as it is written. That must not make every later comparison read it again."""
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "new.jpg").write_bytes(photo_bytes(1))
    build_gallery(photos, tmp_path / "g", network, options=OPTIONS)
    read = readings(monkeypatch)
    later = time.time_ns() + 60 * SECOND
    monkeypatch.setattr("index_builder.ingest.decode.time.time_ns", lambda: later)
    for _ in range(3):
        assert sync_gallery(tmp_path / "g", network, options=OPTIONS).unchanged == 1
    assert len(read) == 1
