"""A look at a part finds what a look at everything would, and no more."""

from __future__ import annotations

import os
import random
import shutil
import time

import pytest

from index_builder import BuildOptions, GallerySnapshot, build_gallery, sync_gallery
from index_builder.ingest.partial_update import update_gallery
from index_builder.photo_folders import PhotoFolders
from index_builder.scanning.announced import Announced
from index_builder.scanning.folder_times import FolderTimes
from index_builder.scanning.scope import Scope
from tests.index_builder.pictures import write_photo


def later(monkeypatch, seconds=60):
    """What is looked at from now on was modified long ago."""
    now = time.time_ns() + seconds * 10**9
    monkeypatch.setattr("index_builder.scanning.folder_times.time.time_ns", lambda: now)


class Folder:
    """A folder of photos that changes at random, and the paths of which the system would say so."""

    def __init__(self, root, seed):
        self.root, self.random, self.seeds = root, random.Random(seed), iter(range(1000, 9999))
        self.paths: set[str] = set()
        self.log: list[str] = []

    def files(self):
        return sorted(path for path in self.root.rglob("*.jpg") if not path.is_symlink())

    def folders(self):
        return sorted(path for path in self.root.rglob("*") if path.is_dir())

    def change(self):
        kind = self.random.choice(("add", "add", "delete", "rename", "replace", "log", "tree", "drop", "move"))
        folder = self.random.choice([self.root, *self.folders()])
        self.log.append(f"{kind} {folder}")
        if kind == "add":
            self.touch(folder / f"{next(self.seeds)}.jpg")
        elif kind == "log":
            self.touch(folder / f"{next(self.seeds)}.log")
        elif kind == "tree":
            self.paths.add(str(folder / "new"))
            self.touch(folder / "new" / "deep" / f"{next(self.seeds)}.jpg")
        elif kind in ("drop", "move") and folder != self.root:
            new = self.root / f"moved-{next(self.seeds)}"
            self.paths |= {str(folder), str(new)}
            shutil.rmtree(folder) if kind == "drop" else folder.rename(new)
        elif files := self.files():
            file = self.random.choice(files)
            self.paths.add(str(file))
            if kind == "delete":
                file.unlink()
            elif kind == "rename":
                new = folder / f"{next(self.seeds)}.jpg"
                self.paths.add(str(new))
                file.rename(new)
            else:
                file.unlink()  # as by software that writes a new file and renames it
                self.touch(file)

    def touch(self, path):
        self.paths.add(str(path))
        if path.suffix == ".jpg":
            write_photo(path, seed=next(self.seeds))
        else:
            path.write_text("a line")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("by", ["rescans", "events"])
def test_after_any_changes_a_part_tells_as_much_as_everything(photos, network, monkeypatch, seed, by):
    gallery, options = photos.parent / "g", BuildOptions(batch_size=4, workers=1, accept_loss=True)
    build_gallery(photos, gallery, network, options=options)
    folders = PhotoFolders.of(photos)
    times = FolderTimes(folders, gallery)
    times.look()
    announced = Announced(folders, times, gallery)
    folder = Folder(photos, seed)
    for turn in range(4):
        for _ in range(folder.random.randint(1, 4)):
            folder.change()
        if by == "rescans":
            later(monkeypatch, 60 * (turn + 1))
            scope = times.look()
        else:
            scope = announced.scope([path for path in sorted(folder.paths) if announced.matters(path)])
        folder.paths.clear()
        if update_gallery(gallery, network, scope, options=options) is None:
            sync_gallery(gallery, network, options=options)  # most photos went at once
            sync_gallery(gallery, network, options=options)  # which this one accepts
        left = sync_gallery(gallery, network, options=options)
        assert (left.added, left.changed, left.moved, left.removed) == (0, 0, 0, 0), (turn, folder.log)
        assert left.photos == len(folder.files())


def test_nothing_outside_a_part_is_read_or_dropped(tmp_path, photos, network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    (photos / "cat" / "1.jpg").unlink()
    write_photo(photos / "dog" / "new.jpg", seed=50)
    report = update_gallery(tmp_path / "g", network, Scope(files={b"dog/new.jpg"}), options=options)
    assert report is not None
    assert (report.added, report.removed, report.photos) == (1, 0, 11)
    report = update_gallery(tmp_path / "g", network, Scope(folders={b"cat"}), options=options)
    assert report is not None
    assert (report.removed, report.photos) == (1, 10)


def test_folders_that_did_not_change_are_not_listed_again(photos, monkeypatch):
    times = FolderTimes(PhotoFolders.of(photos))
    later(monkeypatch)
    assert times.look().folders == {b"", b"cat", b"dog"}
    listed, real = list[bytes](), os.scandir

    def scandir(place):
        listed.append(place)
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    assert not times.look()
    assert not listed
    os.utime(photos / "cat")
    assert times.look().folders == {b"cat"}


def test_a_part_that_loses_most_photos_is_not_believed(tmp_path, photos, network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    shutil.rmtree(photos / "cat")
    shutil.rmtree(photos / "dog")
    assert update_gallery(tmp_path / "g", network, Scope(trees={b"cat", b"dog"}), options=options) is None
    assert sync_gallery(tmp_path / "g", network, options=options).photos == 10


@pytest.mark.parametrize(
    "name", ["x.xmp", "app.log", ".hidden.jpg", "Thumbs.db", "@eaDir/x.jpg", "gone-without-ending.d"]
)
def test_what_is_no_photo_does_not_matter(photos, tmp_path, name):
    (photos / name).parent.mkdir(exist_ok=True)
    if "gone" not in name:
        (photos / name).write_text("x")
    folders = PhotoFolders.of(photos)
    assert not Announced(folders, FolderTimes(folders), tmp_path / "g").matters(str(photos / name))


def test_a_folder_reached_by_a_link_has_its_own_path(photos, tmp_path):
    (photos / "link").symlink_to(photos / "cat")
    folders = PhotoFolders.of(photos)
    times = FolderTimes(folders)
    times.look()
    announced = Announced(folders, times, tmp_path / "g")
    assert announced.scope([str(photos / "link" / "1.jpg")]).files == {b"cat/1.jpg"}
    assert announced.scope([str(photos / "link")]).everything


def test_too_many_paths_become_everything():
    scope = Scope()
    scope.add(Scope(files={str(number).encode() for number in range(3000)}))
    assert scope.everything


def test_a_photo_that_moved_out_of_what_is_looked_at_keeps_its_id(tmp_path, photos, network, options):
    """The events of one renaming may come in two batches: the new path first, the old one later."""
    build_gallery(photos, tmp_path / "g", network, options=options)
    before = ids(tmp_path / "g", network)
    (photos / "cat" / "1.jpg").rename(photos / "dog" / "moved.jpg")
    shutil.copy(photos / "cat" / "3.jpg", photos / "dog" / "copy.jpg")
    report = update_gallery(tmp_path / "g", network, Scope(folders={b"dog"}), options=options)
    assert report is not None
    assert (report.added, report.moved, report.removed) == (1, 1, 0)
    after = ids(tmp_path / "g", network)
    assert after["dog/moved.jpg"] == before["cat/1.jpg"]
    assert after["cat/3.jpg"] == before["cat/3.jpg"]
    report = update_gallery(tmp_path / "g", network, Scope(folders={b"cat"}), options=options)
    assert report is not None
    assert (report.added, report.moved, report.removed) == (0, 0, 0)
    assert ids(tmp_path / "g", network) == after


def ids(gallery, network):
    snapshot = GallerySnapshot.load(gallery, network.identity)
    return {snapshot.photo(row).path: snapshot.photo(row).photo_id for row in range(len(snapshot))}
