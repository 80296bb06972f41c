"""Rows that other processes write and the writer commits: the same gallery as of a build here, whatever goes wrong."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from index_builder import BuildOptions, BuildProgress, build_gallery, sync_gallery, verify_gallery
from index_builder.distributed.cluster import ClusterError
from index_builder.gallery_errors import GalleryWriteError
from index_builder.store import writer as writers
from tests.fault.conftest import contents
from tests.index_builder.distributed.here import EngineHere, ray_here  # noqa: F401 - a fixture
from tests.index_builder.pictures import write_photo

pytestmark = pytest.mark.usefixtures("ray_here")


def options(engine=None):
    return BuildOptions(batch_size=4, commit_photos=4, workers=1, most_lost=90, engine=engine)


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    for seed in range(24):
        write_photo(root / ("cat" if seed % 2 else "dog") / f"{seed}.jpg", seed)
    write_photo(root / "again.jpg", 3)
    (root / "bad.jpg").write_bytes(b"\xff\xd8\xffno picture")
    return root


def assert_same(one, other, network):
    a, b = contents(one, network.identity), contents(other, network.identity)
    assert a.keys() == b.keys()
    for photo, (path, descriptor, _) in a.items():
        assert b[photo][0] == path
        np.testing.assert_allclose(b[photo][1], descriptor, atol=1e-5)
    report = verify_gallery(other)
    assert report.whole, report.problems


def told(report):
    return (report.added, report.changed, report.moved, report.unchanged, report.removed, report.skipped.values())


def test_builds_and_syncs_as_here(photos, tmp_path, network):
    here, there = tmp_path / "here", tmp_path / "there"
    progress = list[BuildProgress]()
    expected = build_gallery(photos, here, network, options=options())
    report = build_gallery(photos, there, network, options=options(EngineHere()), progress=progress.append)
    assert told(report) == told(expected)
    assert (progress[-1].done, progress[-1].total) == (26, 26)
    assert_same(here, there, network)

    write_photo(photos / "dog" / "0.jpg", 100)  # another content, as long as it is not the same size and time
    (photos / "dog" / "2.jpg").rename(photos / "moved.jpg")
    shutil.copy(photos / "cat" / "5.jpg", photos / "copy.jpg")
    write_photo(photos / "new.jpg", 101)
    (photos / "cat" / "7.jpg").unlink()
    (photos / "dog" / "4.jpg").rename(photos / "aside.jpg")
    write_photo(photos / "dog" / "4.jpg", 102)  # where a photo was that lies elsewhere now
    expected = sync_gallery(here, network, options=options())
    report = sync_gallery(there, network, options=options(EngineHere()))
    assert told(report) == told(expected)
    assert (report.changed, report.removed) == (expected.changed, 1)
    assert_same(here, there, network)


def test_a_build_that_dies_leaves_leftovers_and_the_same_command_goes_on(photos, tmp_path, network):
    def dying(results):
        for number, result in enumerate(results):
            if number == 4:  # its rows are written
                raise KeyboardInterrupt
            yield result

    gallery, whole = tmp_path / "gallery", tmp_path / "whole"
    with pytest.raises(KeyboardInterrupt):
        build_gallery(photos, gallery, network, options=options(EngineHere(dying)))
    before = contents(gallery, network.identity)
    report = verify_gallery(gallery)
    assert report.whole, report.problems
    assert 0 < len(before) < 25
    assert [note for note in report.notes if "belongs to no version" in note]

    again = build_gallery(photos, gallery, network, options=options(EngineHere()))
    assert again.unchanged == len(before)
    build_gallery(photos, whole, network, options=options())
    assert_same(whole, gallery, network)
    assert not verify_gallery(gallery).notes


def test_tidying_meanwhile_leaves_rows_that_wait(photos, tmp_path, network, monkeypatch):
    def late(results):
        first = next(results)
        yield from results
        yield first

    monkeypatch.setattr(writers, "TIDY_EVERY", 2)
    build_gallery(photos, tmp_path / "gallery", network, options=options(EngineHere(late)))
    build_gallery(photos, tmp_path / "whole", network, options=options())
    assert_same(tmp_path / "whole", tmp_path / "gallery", network)


def test_a_file_that_is_still_being_written_gets_no_checksum(photos, tmp_path, network):
    gallery = tmp_path / "gallery"
    half = gallery / "photos-1.lance" / "data" / "half.lance"

    def writing(results):
        first = next(results)
        half.write_bytes(b"begun")
        yield first
        yield from results

    def dying(results):
        yield from writing(results)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_gallery(photos, gallery, network, options=options(EngineHere(dying)))
    half.write_bytes(b"begun and ended")  # by a worker that outlived the build
    report = verify_gallery(gallery)
    assert report.whole, report.problems
    assert len(contents(gallery, network.identity)) > 0


def test_rows_that_are_cut_short_are_not_committed(photos, tmp_path, network):
    gallery = tmp_path / "gallery"

    def cut(results):
        yield next(results)
        before = set((gallery / "photos-1.lance" / "data").iterdir())
        result = next(results)
        (path,) = set((gallery / "photos-1.lance" / "data").iterdir()) - before
        os.truncate(path, path.stat().st_size - 1)
        yield result

    with pytest.raises(GalleryWriteError, match="only be written in part"):
        build_gallery(photos, gallery, network, options=options(EngineHere(cut)))
    report = verify_gallery(gallery)
    assert report.whole, report.problems
    assert report.photos <= 4


def test_what_no_photo_is_to_blame_for_ends_the_build(photos, tmp_path, network, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("index_builder.store.checked_commit.write_apart", full)
    with pytest.raises(ClusterError, match="disk may be full"):
        build_gallery(photos, tmp_path / "gallery", network, options=options(EngineHere()))
