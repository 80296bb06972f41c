"""A share that is not mounted looks like an empty folder: its photos are held until somebody says they are gone."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pkgutil import resolve_name

import pytest

from index_builder import (
    GallerySnapshot,
    add_photos,
    build_gallery,
    gallery_info,
    rebuild_gallery,
    sync_gallery,
    verify_gallery,
)
from index_builder.comparing import places
from index_builder.comparing.doubts import Loss, doubt_about
from index_builder.gallery_errors import FolderAwayError, GalleryError, PhotosUnreadableError
from index_builder.ingest.partial_update import update_gallery
from index_builder.ingest.pipeline import read_all
from index_builder.photo_folders import MARKER, PhotoFolders
from index_builder.scanning.announced import Announced
from index_builder.scanning.folder_times import FolderTimes
from index_builder.scanning.scan import scan_folders
from index_builder.scanning.scope import Scope
from index_builder.store.folder_looks import NAME, FolderLooks, Look
from tests.index_builder.conftest import tiny_network
from tests.index_builder.pictures import write_photo


class Changes:
    """The changes of a gallery, with a tiny network and small commits."""

    def __init__(self, network, options):
        self.network, self.options = network, options

    def build(self, photos, gallery):
        return build_gallery(photos, gallery, self.network, options=self.options)

    def sync(self, gallery, **chosen):
        return sync_gallery(gallery, self.network, options=replace(self.options, **chosen))

    def add(self, gallery, photos, *files):
        return add_photos(gallery, photos, files, self.network, options=self.options)

    def rebuild(self, gallery, network, **chosen):
        return rebuild_gallery(gallery, network, options=replace(self.options, **chosen))


@pytest.fixture
def change(network, options):
    return Changes(network, options)


@pytest.fixture
def gallery(tmp_path, photos, change):
    change.build(photos, tmp_path / "g")
    return tmp_path / "g"


@pytest.fixture
def mounted(monkeypatch):
    """Folders that count as mount points; tests add and remove them, as mounting needs root."""
    points = set[str]()
    monkeypatch.setattr(places, "is_mount", lambda place: str(place) in points)
    monkeypatch.setattr(places, "mount_points", lambda: frozenset(points))
    return points


@pytest.fixture
def devices(monkeypatch):
    """Devices of folders, where they are not the usual one."""
    numbers = dict[str, int]()
    monkeypatch.setattr(places, "device_of", lambda place: numbers.get(str(place), 7))
    return numbers


def unmount(folder):
    """What is left of a share: its empty mount point."""
    folder.rename(folder.with_name(f".{folder.name} elsewhere"))
    folder.mkdir()


def mount(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name(f".{folder.name} elsewhere").rename(folder)


@pytest.fixture
def nothing_encoded(network, monkeypatch):
    """From here on, nothing may be encoded again."""

    def forbid():
        monkeypatch.setattr(network, "encode_photo", None)

    return forbid


def ids(gallery, network):
    snapshot = GallerySnapshot.load(gallery, network.identity)
    return {snapshot.photo(row).path: snapshot.photo(row).photo_id for row in range(len(snapshot))}


def codes(report):
    return [(held.code, held.photos) for held in report.held]


@pytest.mark.parametrize("left", ["nothing", "an empty folder", "other files"])
def test_an_emptied_folder_does_not_empty_the_gallery(left, gallery, photos, nothing_encoded, change):
    unmount(photos)
    if left == "nothing":
        photos.rmdir()
    elif left == "other files":
        (photos / "notes.txt").write_text("not a photo")
    for _ in range(2):
        report = change.sync(gallery)
        assert codes(report) == [("missing" if left == "nothing" else "emptied", 10)]
        assert (report.photos, report.removed) == (10, 0)
        assert FolderLooks.read(gallery).held == report.held
    mount(photos)
    nothing_encoded()
    report = change.sync(gallery)
    assert (report.photos, report.unchanged, report.held) == (10, 10, ())
    assert FolderLooks.read(gallery).held == ()


def test_a_folder_that_cannot_be_read_is_away(gallery, photos, monkeypatch, change):
    real = places.look_at

    def refuse(place):
        if place == photos:
            raise PermissionError(13, "Permission denied")
        return real(place)

    monkeypatch.setattr("index_builder.comparing.doubts.look_at", refuse)
    report = change.sync(gallery)
    assert codes(report) == [("unreadable", 10)]
    assert "Permission denied" in report.held[0].reason
    assert report.photos == 10


@pytest.mark.parametrize("case", [(5, 50, False), (6, 50, True), (6, 60, False), (2, 10, True)])
def test_more_than_a_share_of_the_photos_is_not_believed(case, gallery, photos, change):
    gone, most, held = case
    for file in sorted(photos.rglob("*.jpg"))[:gone]:
        file.unlink()
    report = change.sync(gallery, most_lost=most)
    assert codes(report) == ([("most_lost", gone)] if held else [])
    assert report.photos == (10 if held else 10 - gone)


def test_all_may_go_where_everything_is_believed_but_an_empty_folder(gallery, photos, change):
    for file in photos.rglob("*.jpg"):
        file.unlink()
    assert codes(change.sync(gallery, most_lost=100)) == [("emptied", 10)]
    write_photo(photos / "NOT MOUNTED.jpg", seed=50)  # as some people mark an empty mount point
    report = change.sync(gallery, most_lost=100)
    assert (codes(report), report.added, report.removed, report.photos) == ([("emptied", 10)], 1, 0, 11)


def test_accepted_as_of_now(gallery, photos, change):
    for file in sorted(photos.rglob("*.jpg"))[:8]:
        file.unlink()
    assert change.sync(gallery).photos == 10
    report = change.sync(gallery, accept_loss=True)
    assert (report.held, report.removed, report.photos) == ((), 8, 2)
    assert change.sync(gallery).held == ()
    unmount(photos)
    photos.rmdir()
    report = change.sync(gallery, accept_loss=True)
    assert (codes(report), report.photos) == ([("missing", 2)], 2), "nobody was shown this before"
    report = change.sync(gallery, accept_loss=True)
    assert (report.removed, report.photos) == (2, 0)


def test_only_what_was_shown_is_accepted(tmp_path, photos, change):
    for number in range(4):
        write_photo(tmp_path / "work" / f"{number}.jpg", seed=40 + number)
    change.build([f"home={photos}", str(tmp_path / "work")], tmp_path / "g")
    for file in sorted(photos.rglob("*.jpg"))[:8]:
        file.unlink()
    shown = change.sync(tmp_path / "g").held
    assert [(one.folder, one.photos) for one in shown] == [("home", 8)]
    unmount(tmp_path / "work")
    report = change.sync(tmp_path / "g", accept_loss=True)
    assert (report.removed, codes(report)) == (8, [("emptied", 4)])
    assert change.sync(tmp_path / "g", accept_loss=shown).removed == 0, "another folder than the one that was shown"
    next(iter(photos.rglob("*.jpg"))).unlink()
    assert change.sync(tmp_path / "g").removed == 1


def test_more_than_was_shown_is_not_accepted(gallery, photos, change):
    files = sorted(photos.rglob("*.jpg"))
    for file in files[:8]:
        file.unlink()
    change.sync(gallery)
    files[8].unlink()
    report = change.sync(gallery, accept_loss=True)
    assert (codes(report), report.removed) == ([("most_lost", 9)], 0)
    assert change.sync(gallery, accept_loss=True).removed == 9


def test_what_cannot_be_read_is_never_accepted(gallery, monkeypatch, change):
    def refuse(_place):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("index_builder.comparing.doubts.look_at", refuse)
    for _ in range(3):
        assert codes(change.sync(gallery, accept_loss=True)) == [("unreadable", 10)]


def test_what_was_a_mount_point_and_is_none_has_lost_nothing(mounted, tmp_path, photos, change):
    mounted.add(str(photos))
    change.build(photos, tmp_path / "g")
    mounted.clear()
    (photos / "cat" / "1.jpg").unlink()
    report = change.sync(tmp_path / "g")
    assert codes(report) == [("not_mounted", 1)]
    write_photo(photos / "cat" / "1.jpg", seed=1)
    assert change.sync(tmp_path / "g").held == ()  # all are there: moved off the share
    (photos / "cat" / "1.jpg").unlink()
    assert change.sync(tmp_path / "g").removed == 1


def test_another_device_has_lost_nothing(devices, tmp_path, photos, change):
    change.build(photos, tmp_path / "g")
    devices[str(photos)] = 8
    assert change.sync(tmp_path / "g").held == ()  # a restart may give another number
    devices[str(photos)] = 9
    for number in range(0, 10, 2):
        (photos / "dog" / f"{number}.jpg").unlink()
    assert codes(change.sync(tmp_path / "g")) == [("other_device", 5)]
    devices[str(photos)] = 8
    assert change.sync(tmp_path / "g").removed == 5


def test_a_new_device_with_most_of_the_photos_is_the_same_folder(devices, tmp_path, photos, change):
    """A disk in another slot, or a share that got another number: one deletion meanwhile must not hold it for ever."""
    change.build(photos, tmp_path / "g")
    for number in (1, 3, 5):
        devices[str(photos)] = 10 + number
        (photos / "cat" / f"{number}.jpg").unlink()
        report = change.sync(tmp_path / "g")
        assert (report.removed, report.held) == (1, ())


def test_another_disk_with_the_same_names_replaces_nothing(devices, tmp_path, photos, change):
    """Camera cards number their photos alike. A copy of a photo elsewhere must not take its id either."""
    for number in range(4):
        write_photo(tmp_path / "work" / f"{number}.jpg", seed=40 + number)
    both = [f"card={photos}", str(tmp_path / "work")]
    change.build(both, tmp_path / "g")
    before = ids(tmp_path / "g", change.network)
    kept = {path: path.read_bytes() for path in photos.rglob("*.jpg")}
    shutil.copy(photos / "cat" / "1.jpg", tmp_path / "work" / "copy.jpg")
    devices[str(photos)] = 8
    write_photo(photos / "cat" / "1.jpg", seed=90)  # one that differs tells
    report = change.sync(tmp_path / "g")
    assert (codes(report), report.changed, report.added, report.moved) == ([("other_device", 1)], 0, 1, 0)
    for path, data in kept.items():
        path.write_bytes(data)
    devices.clear()
    assert change.sync(tmp_path / "g").held == ()
    after = ids(tmp_path / "g", change.network)
    assert {path: after[path] for path in before} == before


def test_a_number_that_changes_with_every_mount_says_nothing(tmp_path, monkeypatch):
    class Share:
        f_fsid = 0

    monkeypatch.setattr(os, "statvfs", lambda _place: Share)
    real = os.stat

    def stat(place, **named):
        status = list(real(place, **named))
        status[2] = os.makedev(0, 57)
        return os.stat_result(status)

    monkeypatch.setattr(os, "stat", stat)
    assert places.device_of(tmp_path) == 0
    look = Look(mount=False, device=0)
    assert doubt_about(Look(mount=False, device=9), look, look, Loss(10, 5, 0), 50) is None


def pointer(file):
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")


def zeros(file):
    file.write_bytes(b"\0" * file.stat().st_size)


def other(file):
    write_photo(file, seed=700 + int(file.stem))


@pytest.mark.parametrize("become", [pointer, zeros, other])
@pytest.mark.parametrize("by", ["sync", "build", "events"])
def test_files_that_hold_something_else_all_at_once_are_not_believed(become, by, gallery, photos, change):
    network = change.network
    before = ids(gallery, network)
    kept = {path: path.read_bytes() for path in photos.rglob("*.jpg")}
    for file in kept:
        become(file)
    if by == "events":
        assert update_gallery(gallery, network, Scope(folders={b"cat", b"dog"}), options=change.options) is None
        assert update_gallery(gallery, network, Scope(files={b"cat/1.jpg"}), options=change.options) is not None
    else:
        report = change.sync(gallery) if by == "sync" else change.build(photos, gallery)
        assert (codes(report), report.removed, report.changed) == ([("most_lost", 10)], 0, 0)
        assert ids(gallery, network) == before
        assert change.sync(gallery).photos == 10
        if become is other:
            assert change.sync(gallery, accept_loss=True).changed == 10
            return
    for path, data in kept.items():
        path.write_bytes(data)
    assert change.sync(gallery).held == ()


def test_a_rebuild_does_not_drop_what_holds_something_else(gallery, photos, change):
    for file in sorted(photos.rglob("*.jpg"))[:6]:
        pointer(file)
    with pytest.raises(FolderAwayError, match="6 photos cannot be encoded again"):
        change.rebuild(gallery, tiny_network(1))
    assert FolderLooks.read(gallery).held[0].photos == 6, "it was shown, and may be accepted"
    assert change.rebuild(gallery, tiny_network(1), accept_loss=True).photos == 4


@pytest.mark.parametrize("now", [None, "another"])
def test_without_its_marker_nothing_of_a_folder_is_read(now, gallery, photos, change):
    marker = photos / MARKER
    marker.write_text("pets on the NAS")
    assert change.sync(gallery).held == ()
    marker.unlink() if now is None else marker.write_text(now)
    write_photo(photos / "stranger.jpg", seed=60)
    write_photo(photos / "cat" / "1.jpg", seed=61)
    (photos / "cat" / "3.jpg").unlink()
    report = change.sync(gallery)
    assert codes(report) == [("marker", 10)]
    assert (report.added, report.changed, report.removed, report.photos) == (0, 0, 0, 10)
    with pytest.raises(FolderAwayError, match="sketchseek-folder"):
        change.add(gallery, photos, photos / "stranger.jpg")
    report = change.sync(gallery, accept_loss=True)
    assert (report.held, report.added, report.changed, report.removed) == ((), 1, 1, 1)
    assert change.sync(gallery).held == ()


def test_a_share_below_the_folder_is_judged_by_itself(mounted, tmp_path, photos, nothing_encoded, change):
    nas = photos / "nas"
    for index in range(3):
        write_photo(nas / f"{index}.jpg", seed=20 + index)
    mounted.add(str(nas))
    change.build(photos, tmp_path / "g")
    unmount(nas)
    mounted.clear()
    write_photo(photos / "new.jpg", seed=30)
    (photos / "cat" / "1.jpg").unlink()
    report = change.sync(tmp_path / "g")
    assert codes(report) == [("not_mounted", 3)]
    assert report.held[0].folder == "photos/nas"
    assert (report.added, report.removed, report.photos) == (1, 1, 13)
    nas.rmdir()
    assert codes(change.sync(tmp_path / "g")) == [("missing", 3)]
    nas.mkdir()
    mount(nas)
    mounted.add(str(nas))
    nothing_encoded()
    report = change.sync(tmp_path / "g")
    assert (report.held, report.photos) == ((), 13)


def test_the_other_folders_go_on(tmp_path, photos, change):
    for index in range(4):
        write_photo(tmp_path / "work" / f"{index}.jpg", seed=40 + index)
    both = [f"home={photos}", str(tmp_path / "work")]
    change.build(both, tmp_path / "g")
    unmount(photos)
    photos.rmdir()
    write_photo(tmp_path / "work" / "new.jpg", seed=50)
    (tmp_path / "work" / "0.jpg").unlink()
    for kind in ("sync", "build"):
        if kind == "sync":
            report = change.sync(tmp_path / "g")
            assert (report.added, report.removed, report.photos) == (1, 1, 14)
        else:
            report = change.build(both, tmp_path / "g")
        assert codes(report) == [("missing", 10)]
        assert report.held[0].folder == "home"
    (tmp_path / "work" / "1.jpg").write_bytes((tmp_path / "work" / "2.jpg").read_bytes())
    report = change.add(tmp_path / "g", both, tmp_path / "work" / "1.jpg")
    assert report.changed == 1
    with pytest.raises(FolderAwayError, match="is not there"):
        change.add(tmp_path / "g", both, photos / "cat" / "1.jpg")


def test_a_folder_that_was_never_there_is_an_error(tmp_path, photos, change):
    with pytest.raises(GalleryError, match="check the path"):
        change.build(tmp_path / "typo", tmp_path / "g")
    assert not (tmp_path / "g").exists()
    change.build(photos, tmp_path / "g")
    with pytest.raises(GalleryError, match="check the path"):
        change.build([f"home={photos}", f"{tmp_path}/typo"], tmp_path / "g")


def test_a_gallery_of_an_earlier_release_learns_its_folders(gallery, photos, change):
    (gallery / NAME).unlink()
    unmount(photos)
    assert codes(change.sync(gallery)) == [("emptied", 10)]
    assert FolderLooks.read(gallery).looks == {}
    mount(photos)
    change.sync(gallery)
    assert list(FolderLooks.read(gallery).looks) == [str(photos)]


def test_a_damaged_note_is_found_and_mended(gallery, change):
    before = (gallery / NAME).read_bytes()
    (gallery / NAME).write_bytes(before[:-9])
    assert [problem.where for problem in verify_gallery(gallery).problems] == [NAME]
    change.sync(gallery)
    assert (gallery / NAME).read_bytes() == before
    assert verify_gallery(gallery).whole


def test_a_share_lost_during_the_scan(mounted, tmp_path, photos, monkeypatch, change):
    mounted.add(str(photos))
    change.build(photos, tmp_path / "g")

    def lose_midway(*arguments, **options):
        files = list(scan_folders(*arguments, **options))
        unmount(photos)
        mounted.clear()
        yield from files[:8]

    monkeypatch.setattr("index_builder.ingest.changes.scan_folders", lose_midway)
    report = change.sync(tmp_path / "g")
    assert codes(report) == [("not_mounted", 2)]
    assert report.photos == 10


def test_a_share_lost_while_photos_are_read(gallery, photos, change):
    for file in photos.rglob("*.jpg"):
        os.utime(file, ns=(2 * 10**18, 2 * 10**18))  # each has to be read again

    def lose(*arguments, **options):
        unmount(photos)
        read_all(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("index_builder.ingest.changes.read_all", lose)
        report = change.sync(gallery)
    assert (report.photos, report.removed) == (10, 0)
    assert change.sync(gallery).photos == 10


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_rebuild_does_not_drop_what_is_away(when, gallery, photos, monkeypatch, change):
    other = tiny_network(1)
    if when == "before":
        unmount(photos)
    else:

        def lose(*arguments, **options):
            unmount(photos)
            read_all(*arguments, **options)

        monkeypatch.setattr("index_builder.ingest.rebuild.read_all", lose)
    with pytest.raises(FolderAwayError, match="10 photos cannot be encoded again"):
        change.rebuild(gallery, other)
    monkeypatch.undo()
    assert gallery_info(gallery).checkpoint_sha256 == change.network.identity.sha256
    assert change.sync(gallery).photos == 10
    mount(photos)
    report = change.rebuild(gallery, other)
    assert (report.photos, report.removed) == (10, 0)
    assert list(FolderLooks.read(gallery).looks) == [str(photos)]
    for file in sorted(photos.rglob("*.jpg"))[:9]:
        file.unlink()
    with pytest.raises(FolderAwayError, match="--accept-loss"):
        change.rebuild(gallery, change.network)
    assert change.rebuild(gallery, change.network, accept_loss=True).photos == 1


class KilledError(BaseException):
    """Stands for a process that ends here."""


MOMENTS = {
    "a folder is listed": ("os.scandir", lambda place: os.fsencode(place).endswith(b"/office")),
    "a file is looked at": ("os.stat", lambda place, **_: os.fsencode(place).endswith(b"/office/1.jpg")),
    "a photo is read": ("os.open", lambda place, *_: os.fsencode(place).endswith(b"/office/new.jpg")),
    "photos are committed": ("index_builder.store.writer.GalleryWriter.put", None),
    "checksums are written": ("index_builder.store.checksums.Ledger.record", None),
    "photos are removed": ("index_builder.store.writer.GalleryWriter.remove", None),
    "rows are deleted": ("index_builder.store.checked_commit.delete", None),
    "what is held is written": ("index_builder.store.folder_looks.FolderLooks.write", None),
    "its file gets its name": ("os.replace", lambda _old, new: os.fsencode(new).endswith(NAME.encode())),
    "the change ends": ("index_builder.store.writer.GalleryWriter.finish", None),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_at_any_moment_loses_nothing(moment, when, photos, monkeypatch, change):
    """Cuts a sync off at a moment, with a share that is away and a photo that is gone from another one."""
    for index in range(3):
        write_photo(photos.parent / "office" / f"{index}.jpg", seed=70 + index)
    gallery = photos.parent / "g2"
    change.build([f"home={photos}", str(photos.parent / "office")], gallery)
    before = ids(gallery, change.network)
    unmount(photos)
    write_photo(photos.parent / "office" / "new.jpg", seed=80)
    (photos.parent / "office" / "0.jpg").unlink()
    name, wanted = MOMENTS[moment]
    real, killed = resolve_name(name), []

    def cut(*some, **named):
        if wanted is not None and not wanted(*some, **named):
            return real(*some, **named)
        killed.append(moment)
        if when == "after" and (opened := real(*some, **named)) and moment == "a folder is listed":
            opened.close()
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(name, cut)
        with pytest.raises(KilledError):
            change.sync(gallery)
    assert killed == [moment]
    assert before.items() - ids(gallery, change.network).items() <= {("office/0.jpg", before["office/0.jpg"])}
    report = change.sync(gallery)
    assert codes(report) == [("emptied", 10)]
    assert FolderLooks.read(gallery).held == report.held
    after = ids(gallery, change.network)
    assert after.keys() == before.keys() - {"office/0.jpg"} | {"office/new.jpg"}
    assert verify_gallery(gallery, sample=0).whole


@pytest.mark.parametrize("call", ["stat", "open"])
def test_a_rebuild_does_not_drop_what_cannot_be_read_at_the_moment(call, gallery, photos, monkeypatch, change):
    (photos / "cat" / "1.jpg").rename(photos / "cat" / "one.jpg")
    change.sync(gallery)
    other, before = tiny_network(1), gallery_info(gallery).version
    real = getattr(os, call)

    def refuse(what, *rest, **named):
        if isinstance(what, bytes) and what.endswith(b"cat/one.jpg"):
            raise OSError(5, "Input/output error")
        return real(what, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(PhotosUnreadableError, match=r"1 in all .*Input/output error.*--accept-loss"):
            change.rebuild(gallery, other)
    assert gallery_info(gallery).version == before
    assert change.rebuild(gallery, other).photos == 10
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        assert change.rebuild(gallery, change.network, accept_loss=True).photos == 9


def test_without_its_marker_nothing_is_read_by_events_either(gallery, photos, change):
    (photos / MARKER).write_text("pets on the NAS")
    change.sync(gallery)
    before = ids(gallery, change.network)
    (photos / MARKER).unlink()
    write_photo(photos / "stranger.jpg", seed=60)
    write_photo(photos / "cat" / "1.jpg", seed=61)
    for scope in (Scope(files={b"stranger.jpg", b"cat/1.jpg"}), Scope(folders={b"", b"cat"})):
        assert update_gallery(gallery, change.network, scope, options=change.options) is None
        assert ids(gallery, change.network) == before


def test_an_event_of_the_marker_means_everything(gallery, photos):
    folders = PhotoFolders.of(photos)
    announced = Announced(folders, FolderTimes(folders), gallery)
    assert announced.matters(str(photos / MARKER))
    assert announced.scope([str(photos / MARKER)]).everything
