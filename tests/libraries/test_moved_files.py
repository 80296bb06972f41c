"""A file that moves or is renamed keeps its photo's id and encoding: links, likes and thumbnails stay right."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from index_builder import (
    GallerySnapshot,
    add_photos,
    build_gallery,
    rebuild_gallery,
    remove_photos,
    sync_gallery,
    verify_gallery,
)
from index_builder.ingest.partial_update import update_gallery
from index_builder.ingest.reviewing import Review
from index_builder.scanning.scan import _Walk
from index_builder.scanning.scope import Scope
from tests.index_builder.pictures import photo_bytes, write_photo


class Encodings:
    """Stands for a network and counts what it encodes."""

    def __init__(self, network):
        self._network, self.count = network, 0

    def __getattr__(self, name):
        return getattr(self._network, name)

    def encode_photo(self, images):
        self.count += len(images)
        return self._network.encode_photo(images)


@pytest.fixture
def counted(network):
    return Encodings(network)


@pytest.fixture
def gallery(tmp_path, photos, network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    return tmp_path / "g"


def opened(gallery, network):
    return GallerySnapshot.load(gallery, network.identity)


def by_path(gallery, network):
    snapshot = opened(gallery, network)
    return {snapshot.photo(row).path: snapshot.photo(row) for row in range(len(snapshot))}


def ids(gallery, network):
    return {path: photo.photo_id for path, photo in by_path(gallery, network).items()}


def encoding_of(gallery, network, photo_id):
    snapshot = opened(gallery, network)
    row = snapshot.row_of(photo_id)
    return snapshot.descriptors([row]), snapshot.encodings([row]).tokens.numpy()


def numbers(report):
    return report.added, report.changed, report.moved, report.removed, report.unchanged


def assert_sound(gallery, network, files):
    """Whole, one photo for each file, and every photo has the content of its file's first bytes on."""
    assert verify_gallery(gallery, sample=100).whole
    assert set(by_path(gallery, network)) == files
    assert numbers(sync_gallery(gallery, network)) == (0, 0, 0, 0, len(files))


def test_a_renamed_folder_is_moved_photos(gallery, photos, counted, network, options):
    before = by_path(gallery, network)
    encoded = {photo.photo_id: encoding_of(gallery, network, photo.photo_id) for photo in before.values()}
    (photos / "cat").rename(photos / "lions")
    report = sync_gallery(gallery, counted, options=options)
    assert numbers(report) == (0, 0, 5, 0, 5)
    assert counted.count == 0
    after = by_path(gallery, network)
    for path, photo in before.items():
        now = after[path.replace("cat/", "lions/")]
        assert now._replace(raw_path=b"", tags=()) == photo._replace(raw_path=b"", tags=())
        assert now.tags == (("lions",) if photo.tags == ("cat",) else photo.tags)
        for actual, expected in zip(encoding_of(gallery, network, now.photo_id), encoded[now.photo_id], strict=True):
            np.testing.assert_array_equal(actual, expected)
    assert_sound(gallery, network, set(after))


def test_build_and_add_see_moves_as_well(gallery, photos, counted, network, options):
    before = ids(gallery, network)
    (photos / "cat" / "1.jpg").rename(photos / "1.jpg")
    assert numbers(add_photos(gallery, photos, [photos / "1.jpg"], counted, options=options)) == (0, 0, 1, 0, 0)
    (photos / "cat" / "3.jpg").rename(photos / "3.jpg")
    assert numbers(build_gallery(photos, gallery, counted, options=options)) == (0, 0, 1, 0, 9)
    after = ids(gallery, network)
    assert (after["1.jpg"], after["3.jpg"]) == (before["cat/1.jpg"], before["cat/3.jpg"])
    assert counted.count == 0


def test_a_copy_is_a_photo_of_its_own_but_not_encoded(gallery, photos, counted, network, options):
    before = ids(gallery, network)
    shutil.copy(photos / "cat" / "1.jpg", photos / "copy.jpg")
    assert numbers(add_photos(gallery, photos, [photos / "copy.jpg"], counted, options=options)) == (1, 0, 0, 0, 0)
    after = ids(gallery, network)
    assert len(set(after.values())) == 11
    assert {path: after[path] for path in before} == before
    assert counted.count == 0
    for first, second in zip(
        *(encoding_of(gallery, network, after[path]) for path in ("cat/1.jpg", "copy.jpg")), strict=True
    ):
        np.testing.assert_array_equal(first, second)
    copy = by_path(gallery, network)["copy.jpg"]
    assert (copy.width, copy.height, copy.tags) == (24, 16, ())
    assert_sound(gallery, network, set(after))


def test_photos_that_changed_places(gallery, photos, counted, network, options):
    before = ids(gallery, network)
    one, two = photos / "cat" / "1.jpg", photos / "cat" / "3.jpg"
    one.rename(photos / "aside")
    two.rename(one)
    (photos / "aside").rename(two)
    report = sync_gallery(gallery, counted, options=options)
    assert numbers(report) == (0, 0, 2, 0, 8)
    after = ids(gallery, network)
    assert (after["cat/1.jpg"], after["cat/3.jpg"]) == (before["cat/3.jpg"], before["cat/1.jpg"])
    assert counted.count == 0
    assert_sound(gallery, network, set(before))


@pytest.mark.parametrize("first_is_new", [False, True])
def test_a_renumbered_folder(gallery, photos, counted, network, first_is_new):
    """a -> b, b -> c, and so on: every new name but the last was the name of another photo."""
    before = ids(gallery, network)
    for number in (9, 7, 5, 3, 1):
        (photos / "cat" / f"{number}.jpg").rename(photos / "cat" / f"{number + 2}.jpg")
    if first_is_new:
        write_photo(photos / "cat" / "1.jpg", seed=77)
    report = sync_gallery(gallery, counted)
    assert numbers(report) == (int(first_is_new), 0, 5, 0, 5)
    after = ids(gallery, network)
    for number in (1, 3, 5, 7, 9):
        assert after[f"cat/{number + 2}.jpg"] == before[f"cat/{number}.jpg"]
    assert counted.count == int(first_is_new)
    assert_sound(gallery, network, set(before) - {"cat/1.jpg"} | {"cat/11.jpg"} | ({"cat/1.jpg"} & set(after)))


def test_a_photo_that_took_the_place_of_another(gallery, photos, counted, network, options):
    before = ids(gallery, network)
    (photos / "cat" / "3.jpg").rename(photos / "cat" / "1.jpg")
    assert numbers(sync_gallery(gallery, counted, options=options)) == (0, 0, 1, 1, 8)
    after = ids(gallery, network)
    assert after["cat/1.jpg"] == before["cat/3.jpg"]
    assert before["cat/1.jpg"] not in after.values()
    shutil.copy(photos / "cat" / "5.jpg", photos / "cat" / "7.jpg")
    assert numbers(sync_gallery(gallery, counted, options=options)) == (0, 1, 0, 0, 8)
    after = ids(gallery, network)
    assert after["cat/5.jpg"] == before["cat/5.jpg"]
    assert after["cat/7.jpg"] not in before.values()
    assert counted.count == 0
    assert_sound(gallery, network, set(before) - {"cat/3.jpg"})


def test_an_edited_photo_whose_original_was_put_aside(gallery, photos, counted, network, options):
    before = ids(gallery, network)
    (photos / "cat" / "1.jpg").rename(photos / "cat" / "1_original.jpg")
    write_photo(photos / "cat" / "1.jpg", seed=99)
    assert numbers(sync_gallery(gallery, counted, options=options)) == (1, 0, 1, 0, 9)
    after = ids(gallery, network)
    assert after["cat/1_original.jpg"] == before["cat/1.jpg"]
    assert after["cat/1.jpg"] not in before.values()
    assert_sound(gallery, network, set(before) | {"cat/1_original.jpg"})


def test_a_copy_put_back_at_the_old_path_gets_another_id(gallery, photos, network, other_network, options):
    before = ids(gallery, network)
    (photos / "cat" / "1.jpg").rename(photos / "1.jpg")
    sync_gallery(gallery, network, options=options)
    shutil.copy(photos / "1.jpg", photos / "cat" / "1.jpg")
    assert numbers(sync_gallery(gallery, network, options=options)) == (1, 0, 0, 0, 10)
    after = ids(gallery, network)
    assert after["1.jpg"] == before["cat/1.jpg"]
    assert len(set(after.values())) == 11
    assert_sound(gallery, network, set(before) | {"1.jpg"})
    rebuild_gallery(gallery, other_network, options=options)
    assert ids(gallery, other_network) == after


def test_ids_of_equal_photos_depend_on_paths_alone(tmp_path, photos, network, options):
    """Which of several equal photos moved where can only be a rule: the first by path to the first found."""
    for name in ("a", "b", "c"):
        shutil.copy(photos / "cat" / "1.jpg", photos / f"{name}.jpg")
    build_gallery(photos, tmp_path / "g", network, options=options)
    before = ids(tmp_path / "g", network)
    (photos / "new").mkdir()
    for name in ("a", "b", "c"):
        (photos / f"{name}.jpg").rename(photos / "new" / f"{name}.jpg")
    assert numbers(sync_gallery(tmp_path / "g", network, options=options)) == (0, 0, 3, 0, 10)
    after = ids(tmp_path / "g", network)
    assert {after[f"new/{name}.jpg"] for name in "abc"} == {before[f"{name}.jpg"] for name in "abc"}
    assert after["cat/1.jpg"] == before["cat/1.jpg"]
    # One of them leaves, and one more copy appears elsewhere: one moved, one is new.
    (photos / "new" / "a.jpg").rename(photos / "x.jpg")
    shutil.copy(photos / "x.jpg", photos / "y.jpg")
    assert numbers(sync_gallery(tmp_path / "g", network, options=options)) == (1, 0, 1, 0, 12)


def test_a_touched_photo_is_not_encoded(gallery, photos, counted, network, options):
    before = by_path(gallery, network)
    os.utime(photos / "cat" / "1.jpg", ns=(10**18, 10**18 + 77_000_000_000))
    assert numbers(sync_gallery(gallery, counted, options=options)) == (0, 0, 0, 0, 10)
    after = by_path(gallery, network)
    assert after["cat/1.jpg"].modified.timestamp() == pytest.approx(10**9 + 77)
    assert {path: photo.photo_id for path, photo in after.items()} == ids(gallery, network)
    assert after["cat/1.jpg"].added == before["cat/1.jpg"].added
    assert counted.count == 0
    version = sync_gallery(gallery, counted, options=options).version
    assert version == sync_gallery(gallery, counted, options=options).version


def test_a_photo_that_cannot_be_looked_for_has_not_moved(gallery, photos, network, options, monkeypatch):
    before = ids(gallery, network)
    shutil.copy(photos / "cat" / "1.jpg", photos / "copy.jpg")
    look = os.scandir

    def refuse(place):
        if os.fsencode(place).endswith(b"/cat"):
            raise PermissionError(13, "Permission denied")
        return look(place)

    monkeypatch.setattr(os, "scandir", refuse)
    assert numbers(sync_gallery(gallery, network, options=options)) == (1, 0, 0, 0, 5)
    after = ids(gallery, network)
    assert {path: after[path] for path in before} == before


@pytest.mark.parametrize("how", ["sync", "add"])
def test_a_photo_of_a_folder_that_is_away_has_not_moved(tmp_path, network, options, how):
    """An unmounted share: whatever appears elsewhere meanwhile is a copy, and the photos return under their ids."""
    write_photo(tmp_path / "one" / "0.jpg", seed=0)
    for number in range(4):
        write_photo(tmp_path / "two" / f"{number}.jpg", seed=10 + number)
    build_gallery([tmp_path / "one", tmp_path / "two"], tmp_path / "g", network, options=options)
    before = ids(tmp_path / "g", network)
    (tmp_path / "two").rename(tmp_path / "aside")
    copy = tmp_path / "one" / "copy.jpg"
    shutil.copy(tmp_path / "aside" / "1.jpg", copy)
    if how == "add":
        report = add_photos(tmp_path / "g", [tmp_path / "one", tmp_path / "two"], [copy], network, options=options)
    else:
        report = sync_gallery(tmp_path / "g", network, options=options)
    assert (report.added, report.moved, report.removed) == (1, 0, 0)
    after = ids(tmp_path / "g", network)
    assert {path: after[path] for path in before} == before
    (tmp_path / "aside").rename(tmp_path / "two")
    assert numbers(sync_gallery(tmp_path / "g", network, options=options)) == (0, 0, 0, 0, 6)


def test_moves_between_named_folders(tmp_path, counted, network, options):
    for number in range(4):
        write_photo(tmp_path / "one" / f"{number}.jpg", seed=number)
        write_photo(tmp_path / "two" / f"{number}.jpg", seed=10 + number)
    folders = [tmp_path / "one", f"second={tmp_path}/two"]
    build_gallery(folders, tmp_path / "g", network, options=options)
    before = ids(tmp_path / "g", network)
    (tmp_path / "one" / "1.jpg").rename(tmp_path / "two" / "one.jpg")
    assert numbers(sync_gallery(tmp_path / "g", counted, options=options)) == (0, 0, 1, 0, 7)
    assert ids(tmp_path / "g", network)["second/one.jpg"] == before["one/1.jpg"]
    assert by_path(tmp_path / "g", network)["second/one.jpg"].tags == ("second",)
    assert counted.count == 0


def test_a_removed_photo_comes_back_as_a_new_one(gallery, photos, network, options):
    before = ids(gallery, network)
    remove_photos(gallery, [before["cat/1.jpg"]])
    (photos / "cat" / "1.jpg").rename(photos / "1.jpg")
    assert numbers(sync_gallery(gallery, network, options=options)) == (1, 0, 0, 0, 9)


def test_a_rebuild_keeps_ids_of_moved_photos(gallery, photos, network, other_network, options):
    (photos / "cat").rename(photos / "lions")
    sync_gallery(gallery, network, options=options)
    before = ids(gallery, network)
    rebuild_gallery(gallery, other_network, options=options)
    assert ids(gallery, other_network) == before
    assert_sound(gallery, other_network, set(before))


def test_files_of_equal_size_are_told_apart(tmp_path, network, options):
    for seed in range(4):
        path = tmp_path / "p" / f"{seed}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo_bytes(seed).ljust(2000, b"\0"))
    build_gallery(tmp_path / "p", tmp_path / "g", network, options=options)
    before = ids(tmp_path / "g", network)
    (tmp_path / "p" / "0.jpg").rename(tmp_path / "p" / "moved.jpg")
    (tmp_path / "p" / "new.jpg").write_bytes(photo_bytes(50).ljust(2000, b"\0"))
    assert numbers(sync_gallery(tmp_path / "g", network, options=options)) == (1, 0, 1, 0, 3)
    assert ids(tmp_path / "g", network)["moved.jpg"] == before["0.jpg"]


@pytest.mark.parametrize("which", ["to a folder already read", "out of a folder already read"])
def test_a_photo_that_moves_while_the_folders_are_read_keeps_its_id(which, tmp_path, network, options, monkeypatch):
    photos = tmp_path / "p"
    for folder in "abcz":
        for number in range(4):
            write_photo(photos / folder / f"{number}.jpg", seed=ord(folder) * 10 + number)
    build_gallery(photos, tmp_path / "g", network, options=options)
    before = ids(tmp_path / "g", network)
    old, new = ("z/1.jpg", "a/moved.jpg") if which.startswith("to") else ("a/1.jpg", "z/moved.jpg")
    real = _Walk._enter

    def enter(self, folder, folders):
        if folder.raw_path == b"b" and (photos / old).exists():
            (photos / new).parent.mkdir(exist_ok=True)
            (photos / old).rename(photos / new)
        yield from real(self, folder, folders)

    monkeypatch.setattr(_Walk, "_enter", enter)
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert numbers(report) == (0, 0, 1, 0, 15)
    after = ids(tmp_path / "g", network)
    assert after == {new if path == old else path: photo for path, photo in before.items()}


def test_a_folder_that_moves_while_the_folders_are_read_keeps_its_ids(tmp_path, network, options, monkeypatch):
    photos = tmp_path / "p"
    for folder in ("a", "b", "z/deep"):
        for number in range(4):
            write_photo(photos / folder / f"{number}.jpg", seed=ord(folder[0]) * 10 + number)
    build_gallery(photos, tmp_path / "g", network, options=options)
    before = ids(tmp_path / "g", network)
    real = _Walk._enter

    def enter(self, folder, folders):
        if folder.raw_path == b"b" and (photos / "z").exists():
            (photos / "z").rename(photos / "a" / "z")
        yield from real(self, folder, folders)

    monkeypatch.setattr(_Walk, "_enter", enter)
    assert numbers(sync_gallery(tmp_path / "g", network, options=options)) == (0, 0, 4, 0, 8)
    assert set(ids(tmp_path / "g", network).values()) == set(before.values())


def test_what_moves_when_it_is_too_late_to_read_it_waits_for_the_next_sync(
    gallery, photos, network, options, monkeypatch
):
    before = ids(gallery, network)
    (photos / "cat" / "1.jpg").rename(photos.parent / "aside.jpg")  # a folder that is moved file by file
    real = Review.judge

    def judge(self):
        held = real(self)
        shutil.move(photos.parent / "aside.jpg", photos / "dog" / "late.jpg")
        return held

    with monkeypatch.context() as patch:
        patch.setattr(Review, "judge", judge)
        assert numbers(sync_gallery(gallery, network, options=options)) == (0, 0, 0, 0, 9)
    assert numbers(sync_gallery(gallery, network, options=options)) == (0, 0, 1, 0, 9)
    assert ids(gallery, network)["dog/late.jpg"] == before["cat/1.jpg"]


@pytest.mark.parametrize("how", ["sync", "add", "events"])
@pytest.mark.parametrize("left", ["an empty folder", "other photos", "held before"])
def test_a_share_that_left_something_behind_has_not_moved(left, how, tmp_path, network, options):
    """The mount point of a share stays when the share goes. Its photos return under their ids."""
    write_photo(tmp_path / "one" / "0.jpg", seed=0)
    for number in range(4):
        write_photo(tmp_path / "two" / f"{number}.jpg", seed=10 + number)
    both = [tmp_path / "one", tmp_path / "two"]
    build_gallery(both, tmp_path / "g", network, options=options)
    before = ids(tmp_path / "g", network)
    if left == "held before":
        aside = tmp_path / "aside"
        aside.mkdir()
        for number in range(1, 4):  # one photo is still there, the others come back
            (tmp_path / "two" / f"{number}.jpg").rename(aside / f"{number}.jpg")
        assert sync_gallery(tmp_path / "g", network, options=options).held
    else:
        (tmp_path / "two").rename(tmp_path / "aside")
        (tmp_path / "two").mkdir()
        if left == "other photos":
            write_photo(tmp_path / "two" / "NOT MOUNTED.jpg", seed=90)
    copy = tmp_path / "one" / "copy.jpg"
    shutil.copy(tmp_path / "aside" / "1.jpg", copy)
    if how == "add":
        assert add_photos(tmp_path / "g", both, [copy], network, options=options).moved == 0
    elif how == "events":
        report = update_gallery(tmp_path / "g", network, Scope(files={b"one/copy.jpg"}), options=options)
        assert report is not None
        assert report.moved == 0
    else:
        assert sync_gallery(tmp_path / "g", network, options=options).moved == 0
    for file in (tmp_path / "aside").iterdir():
        file.rename(tmp_path / "two" / file.name)
    sync_gallery(tmp_path / "g", network, options=options)
    after = ids(tmp_path / "g", network)
    assert {path: after[path] for path in before} == before
