"""Writers and readers at the same time, tidying, and moving to another checkpoint."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index_builder import (
    Gallery,
    GallerySnapshot,
    build_gallery,
    gallery_info,
    latest_version,
    rebuild_gallery,
    remove_photos,
    sync_gallery,
    verify_gallery,
)
from index_builder.gallery_errors import (
    GalleryBusyError,
    GalleryMismatchError,
    GalleryVersionGoneError,
    GalleryWriteError,
)
from index_builder.photo_folders import PhotoFolders
from index_builder.store import tidy
from index_builder.store import writer as writer_module
from index_builder.store.layout import dataset_path, ledger_path
from index_builder.store.locks import writer_lock
from index_builder.store.opening_writer import open_writer
from index_builder.store.token_reader import TokenReader
from tests.index_builder.pictures import write_photo


def test_the_second_writer_is_told_or_waits(tmp_path, photos, network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    started, release = threading.Event(), threading.Event()

    def hold():
        with writer_lock(tmp_path / "g"):
            started.set()
            release.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    started.wait(30)
    try:
        with pytest.raises(GalleryBusyError, match="--wait"):
            build_gallery(photos, tmp_path / "g", network, options=options)
        with pytest.raises(GalleryBusyError):
            remove_photos(tmp_path / "g", ["a"], wait_s=0.1)
        threading.Timer(0.3, release.set).start()
        before = time.monotonic()
        assert build_gallery(photos, tmp_path / "g", network, options=replace(options, wait_s=30)).unchanged == 10
        assert time.monotonic() - before > 0.2
    finally:
        release.set()
        holder.join()


def test_a_reader_beside_a_writer_always_sees_whole_versions(tmp_path, network, options):
    """Commits put two photos and take them out again: a reader must only ever see an even number, each searchable."""
    root = tmp_path / "p"
    write_photo(root / "a" / "0.jpg", 0)
    write_photo(root / "a" / "1.jpg", 1)
    build_gallery(root, tmp_path / "g", network, options=options)
    stop, wrong, looks = threading.Event(), list[str](), list[int]()

    def read():
        while not stop.is_set():
            snapshot = GallerySnapshot.load(tmp_path / "g", network.identity)
            rows = range(len(snapshot))
            encoding = snapshot.encodings(rows)
            found, _ = snapshot.recall(encoding.descriptor.numpy(), 1)
            same = [snapshot.descriptors([row]).tobytes() for row in rows]
            ok = all(same[hit] == same[row] for row, hit in enumerate(found[:, 0].tolist()))
            if len(snapshot) % 2 or not ok:
                wrong.append(f"{snapshot.version}: {len(snapshot)} photos")
            looks.append(len(snapshot))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    pair = replace(options, batch_size=2, commit_photos=2)
    for turn in range(6):
        for seed in (10, 11):
            if turn % 2:
                (root / "a" / f"{seed}.jpg").unlink()
            else:
                write_photo(root / "a" / f"{seed}.jpg", seed + turn)
        sync_gallery(tmp_path / "g", network, options=pair)
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert len(looks) > 2


def test_tidying_merges_files_and_forgets_old_versions(tmp_path, photos, network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    old = GallerySnapshot.load(tmp_path / "g", network.identity)
    expected = {old.photo(row).photo_id: old.descriptors([row]).tolist() for row in range(10)}
    place = Path(str(Gallery.open(tmp_path / "g").dataset_path))
    (place / "data" / "leftover.lance").write_bytes(b"of a killed writer")
    assert any("leftover" in note for note in verify_gallery(tmp_path / "g").notes)
    versions = len(list((place / "_versions").glob("*.manifest")))
    assert versions > 2
    with open_writer(tmp_path / "g") as writer:
        writer.tidy(keep_versions_s=0)
    assert len(list((place / "_versions").glob("*.manifest"))) == 1
    assert len(list((place / "data").iterdir())) == 1
    report = verify_gallery(tmp_path / "g")
    assert report.whole
    assert not report.notes
    new = GallerySnapshot.load(tmp_path / "g", network.identity)
    assert {new.photo(row).photo_id: new.descriptors([row]).tolist() for row in range(10)} == expected
    with pytest.raises(GalleryVersionGoneError):
        Gallery.open(tmp_path / "g").dataset(1)


def test_reading_a_version_whose_files_were_cleaned_up_says_so(tmp_path, photos, network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    opened = Gallery.open(tmp_path / "g")
    dataset = opened.dataset()
    reader = TokenReader(
        dataset, np.arange(10), opened.metadata(dataset).shape, lambda _: np.ones((2, 16), dtype=np.float32)
    )
    write_photo(photos / "dog" / "new.jpg", 40)
    sync_gallery(tmp_path / "g", network, options=options)
    with open_writer(tmp_path / "g") as writer:
        writer.tidy(keep_versions_s=0)
    with pytest.raises(GalleryVersionGoneError, match="latest"):
        reader.encodings(np.array([0, 1]))


def test_a_build_of_many_commits_tidies_on_the_way(tmp_path, photos, network, options, monkeypatch):
    monkeypatch.setattr(writer_module, "TIDY_EVERY", 2)
    build_gallery(photos, tmp_path / "g", network, options=replace(options, batch_size=1, commit_photos=1))
    opened = Gallery.open(tmp_path / "g")
    assert len(opened.dataset().get_fragments()) < 5
    assert verify_gallery(tmp_path / "g").whole


def test_small_changes_are_tidied_together_and_their_versions_stay_few(tmp_path, photos, network, options, monkeypatch):
    build_gallery(photos, tmp_path / "g", network, options=options)
    monkeypatch.setattr(writer_module, "TIDY_EVERY", 8)
    opened = Gallery.open(tmp_path / "g")
    tidied, real = [], writer_module.GalleryWriter.tidy

    def counted(writer, *given):
        tidied.append(1)
        real(writer, *given)

    monkeypatch.setattr(writer_module.GalleryWriter, "tidy", counted)

    def change(times):
        first = opened.dataset().version
        for number in range(times):
            write_photo(photos / "dog" / "often.jpg", 100 + number)
            sync_gallery(tmp_path / "g", network, options=options)
        return opened.dataset().version - first

    assert change(4) <= 6, "a change is one version; a second one is made where files were merged alone"
    assert len(tidied) <= 1
    change(12)
    assert 1 <= len(tidied) <= 4
    assert len(opened.dataset().get_fragments()) <= 10
    assert len(opened.dataset().versions()) > 10, "all of them stay readable for a while"
    monkeypatch.setattr(tidy, "MOST_VERSIONS", 5)
    monkeypatch.setattr(tidy, "CROWDED_KEEP_S", 0.0)
    change(8)
    assert len(opened.dataset().versions()) <= 9
    assert verify_gallery(tmp_path / "g").whole


def test_versions_that_were_replaced_long_ago_go_with_the_next_change(tmp_path, photos, network, options, monkeypatch):
    build_gallery(photos, tmp_path / "g", network, options=options)
    opened = Gallery.open(tmp_path / "g")
    assert len(opened.dataset().versions()) > 2
    monkeypatch.setattr(writer_module, "KEEP_VERSIONS_S", 0.0)
    monkeypatch.setattr(writer_module.GalleryWriter.tidy, "__defaults__", (0.0,))
    write_photo(photos / "dog" / "new.jpg", 40)
    sync_gallery(tmp_path / "g", network, options=options)
    assert len(opened.dataset().versions()) <= 2


def age(gallery, seconds):
    """Let time pass for every version of a gallery; Lance's own clock does not notice."""
    for path in (Path(str(Gallery.open(gallery).dataset_path)) / "_versions").glob("*.manifest"):
        status = path.stat()
        os.utime(path, (status.st_atime, status.st_mtime - seconds))


def test_a_gallery_that_changes_every_few_minutes_is_not_tidied_at_every_other_change(
    tmp_path, photos, network, options, monkeypatch
):
    """From the second day on some version comes of age at every change."""
    build_gallery(photos, tmp_path / "g", network, options=options)
    tidied, real = [], writer_module.GalleryWriter.tidy

    def counted(writer, *given):
        tidied.append(writer.version)
        real(writer, *given)

    monkeypatch.setattr(writer_module.GalleryWriter, "tidy", counted)
    for number in range(36):  # three days
        age(tmp_path / "g", 2 * 3600)
        write_photo(photos / "dog" / "often.jpg", 100 + number)
        sync_gallery(tmp_path / "g", network, options=options)
        versions = len(Gallery.open(tmp_path / "g").dataset().versions())
        assert min(number, 12) <= versions <= 30, "readable for a day, gone after two"
    assert 1 <= len(tidied) <= 3
    assert verify_gallery(tmp_path / "g").whole


def test_the_version_in_use_outlives_the_change_that_replaces_it(tmp_path, photos, network, options):
    """Written last week is not replaced last week: it was the latest until a moment ago."""
    build_gallery(photos, tmp_path / "g", network, options=options)
    opened = Gallery.open(tmp_path / "g")
    served = opened.dataset().version
    age(tmp_path / "g", 7 * 24 * 3600)
    time.sleep(1.1)  # longer than is kept below, by the time that Lance notes inside of the manifest
    with open_writer(tmp_path / "g") as writer:
        writer.remember(PhotoFolders.of(photos))
        age(tmp_path / "g", -60)  # whatever this machine does meanwhile, it was replaced a moment ago
        writer.tidy(keep_versions_s=1.0)
        assert opened.dataset().versions()[0]["version"] == served, "all that were replaced last week are gone"
        assert opened.dataset(served).count_rows() == 10
        age(tmp_path / "g", 120)
        writer.tidy(keep_versions_s=1.0)
    with pytest.raises(GalleryVersionGoneError):
        opened.dataset(served)


def test_rebuild_switches_when_it_is_whole(tmp_path, photos, network, other_network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    (photos / "dog" / "0.jpg").unlink()
    write_photo(photos / "dog" / "new.jpg", 40)  # a rebuild encodes what the gallery has, no more
    old = GallerySnapshot.load(tmp_path / "g", network.identity)

    def stop(progress):
        if progress.done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild_gallery(tmp_path / "g", other_network, options=options, progress=stop)
    assert gallery_info(tmp_path / "g").unfinished_rebuild
    assert GallerySnapshot.load(tmp_path / "g", network.identity).version == old.version
    report = rebuild_gallery(tmp_path / "g", other_network, options=options)
    assert 0 < report.added < 9
    assert report.photos == 9
    assert [path for path, _ in report.skipped.named()] == ["dog/0.jpg"]
    assert latest_version(tmp_path / "g") == report.version != old.version
    with pytest.raises(GalleryMismatchError):
        GallerySnapshot.load(tmp_path / "g", network.identity)
    new = GallerySnapshot.load(tmp_path / "g", other_network.identity)
    assert len(new) == 9
    assert {new.photo(row).photo_id for row in range(9)} < set(old.photo_ids)
    assert old.encodings(np.arange(10)).tokens.shape[0] == 10  # readers of the old generation go on
    assert verify_gallery(tmp_path / "g").whole
    with open_writer(tmp_path / "g") as writer:
        writer.tidy(keep_versions_s=0)
    assert not dataset_path(tmp_path / "g", 1).exists()
    assert not ledger_path(tmp_path / "g", 1).exists()
    assert len(GallerySnapshot.load(tmp_path / "g", other_network.identity)) == 9


def test_a_rebuild_for_a_third_checkpoint_starts_anew(tmp_path, photos, network, other_network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild_gallery(tmp_path / "g", other_network, options=options, progress=stop)
    report = rebuild_gallery(tmp_path / "g", network, options=options)
    assert (report.added, report.unchanged) == (10, 0)
    assert len(GallerySnapshot.load(tmp_path / "g", network.identity)) == 10


def test_a_writer_killed_before_its_checksums_is_made_good(tmp_path, photos, network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    ledger = Path(str(ledger_path(tmp_path / "g", 1)))
    before = ledger.read_bytes()
    write_photo(photos / "dog" / "new.jpg", 40)
    sync_gallery(tmp_path / "g", network, options=options)
    ledger.write_bytes(before)  # as a kill between the commit and the ledger leaves it
    report = verify_gallery(tmp_path / "g")
    assert report.whole
    assert any("killed" in note for note in report.notes)
    assert len(GallerySnapshot.load(tmp_path / "g", network.identity)) == 11
    sync_gallery(tmp_path / "g", network, options=options)
    report = verify_gallery(tmp_path / "g")
    assert report.whole
    assert not report.notes


def test_a_damaged_hint_of_the_latest_version_does_not_mislead_a_writer(tmp_path, photos, network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    hint = Path(str(Gallery.open(tmp_path / "g").dataset_path)) / "_versions" / "latest_version_hint.json"
    write_photo(photos / "dog" / "new.jpg", 40)
    for text in ('{"version":1}', '{"version":999}', "", "\0\0"):
        hint.write_text(text)
        assert not verify_gallery(tmp_path / "g").whole
        sync_gallery(tmp_path / "g", network, options=options)
        assert len(GallerySnapshot.load(tmp_path / "g", network.identity)) == 11


def test_a_gallery_that_cannot_be_written_says_so(tmp_path, photos, network):
    (tmp_path / "file").write_text("")
    with pytest.raises(GalleryWriteError, match="--gallery"):
        build_gallery(photos, tmp_path / "file" / "g", network)
