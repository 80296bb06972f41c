"""A scan and a rescan by the times of folders walk the same way: round odd links, and by one path to each folder."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from index_builder import GallerySnapshot, add_photos, build_gallery, sync_gallery, verify_gallery
from index_builder.ingest.partial_update import update_gallery
from index_builder.photo_folders import PhotoFolders
from index_builder.scanning import announced
from index_builder.scanning.folder_times import FolderTimes
from index_builder.scanning.scan import scan_folders
from index_builder.scanning.scope import Scope
from tests.index_builder.pictures import write_photo


def of(*photos, links_to=(), exclude=None):
    return PhotoFolders(PhotoFolders.of(photos).folders, links_to=links_to, exclude=exclude)


def paths(gallery, network):
    snapshot = GallerySnapshot.load(gallery, network.identity)
    return {snapshot.photo(row).path for row in range(len(snapshot))}


def settled(*folders):
    """Folders that were last changed long ago, so that their times tell every change from now on."""
    for folder in folders:
        os.utime(folder, (10**9, 10**9))


@pytest.mark.parametrize("link", ["to itself", "in a circle", "to nothing", "to a file", "to the folder around"])
def test_a_link_that_leads_nowhere_hides_no_change_beside_it(photos, link):
    targets = {"to itself": "odd", "to nothing": "gone", "to a file": "cat/1.jpg", "to the folder around": "."}
    (photos / "odd").symlink_to(targets.get(link, "other"))
    if link == "in a circle":
        (photos / "other").symlink_to("odd")
    times = FolderTimes(of(photos))
    assert times.look().folders == {b"", b"cat", b"dog"}
    settled(photos, photos / "cat", photos / "dog")
    times.look()
    write_photo(photos / "cat" / "new.jpg", seed=90)
    assert times.look().folders == {b"cat"}


def test_two_links_to_one_folder_give_its_photos_one_path(tmp_path, photos, network, options):
    nas = tmp_path / "nas"
    for index in range(6):
        write_photo(nas / f"{index}.jpg", seed=100 + index)
    (photos / "dog" / "second").symlink_to(nas)
    (photos / "cat" / "first").symlink_to(nas)
    folders = of(photos, links_to=(nas,))
    build_gallery(folders, tmp_path / "g", network, options=options)
    times = FolderTimes(folders, tmp_path / "g")
    times.look()
    write_photo(nas / "new.jpg", seed=200)
    report = update_gallery(tmp_path / "g", network, times.look(), photos=folders, options=options)
    assert report is not None
    assert (report.added, report.photos) == (1, 17)
    assert {path for path in paths(tmp_path / "g", network) if "second" in path} == set()
    assert sync_gallery(tmp_path / "g", network, options=options).unchanged == 17


@pytest.mark.parametrize("seed", range(8))
def test_the_two_walks_agree_on_every_folder(tmp_path, seed):
    """Folders and links made at random, inside and outside of the photos' folder, also to each other."""
    chosen = random.Random(seed)
    made = [tmp_path / "photos", tmp_path / "nas"]
    for place in made:
        place.mkdir()
    for number in range(12):
        place = chosen.choice(made) / f"{chosen.choice('abc-z')}{number}"
        if number % 2:
            place.symlink_to(chosen.choice(made))
        else:
            place.mkdir()
            (place / "x.jpg").write_bytes(b"x")
            made.append(place)
    (tmp_path / "photos" / "link").symlink_to(tmp_path / "nas")
    folders = of(tmp_path / "photos", links_to=(tmp_path / "nas",))
    times = FolderTimes(folders)
    listed = times.look().folders
    found = {file.raw_path.rpartition(b"/")[0] for file in scan_folders(folders, lambda _: None)}
    assert found <= listed
    real = {os.path.realpath(folders.absolute(folder)) for folder in listed}
    assert len(real) == len(listed)


def test_a_folder_that_gets_a_path_before_its_link_moves_there(tmp_path, photos, network, options):
    nas = tmp_path / "nas"
    write_photo(nas / "0.jpg", seed=100)
    (photos / "dog" / "link").symlink_to(nas)
    folders = of(photos, links_to=(nas,))
    build_gallery(folders, tmp_path / "g", network, options=options)
    times = FolderTimes(folders)
    times.look()
    (photos / "cat" / "link").symlink_to(nas)
    assert times.look().everything
    assert times.look(b"dog").everything is False


def test_part_of_a_look_goes_round_in_no_circle(photos):
    (photos / "cat" / "back").symlink_to("../dog")
    times = FolderTimes(of(photos))
    times.look()
    (photos / "cat" / "new").mkdir()
    scope = times.look(b"cat")
    assert not scope.everything
    assert scope.folders == {b"cat", b"cat/new"}


@pytest.mark.parametrize("kind", ["link inside", "link elsewhere", "its own path"])
def test_what_is_added_by_way_of_a_link_gets_the_path_that_a_scan_finds(tmp_path, photos, network, options, kind):
    nas = tmp_path / "nas"
    write_photo(nas / "0.jpg", seed=100)
    (photos / "alias").symlink_to("cat")
    (photos / "cat" / "one").symlink_to(nas)
    (photos / "dog" / "two").symlink_to(nas)
    folders = of(photos, links_to=(nas,))
    build_gallery(folders, tmp_path / "g", network, options=options)
    asked = {"link inside": "alias", "link elsewhere": "dog/two/0.jpg", "its own path": "cat/1.jpg"}[kind]
    report = add_photos(tmp_path / "g", folders, [photos / asked], network, options=options)
    assert (report.added, report.photos) == (0, 11)
    assert report.unchanged > 0


def test_a_name_that_a_share_lists_twice_is_one_photo(tmp_path, photos, network, options, monkeypatch):
    real = os.scandir

    class Twice:
        def __init__(self, place):
            with real(place) as entries:
                self.entries = [*entries, *real(place)]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __iter__(self):
            return iter(self.entries)

        def close(self):
            pass

    monkeypatch.setattr(
        os, "scandir", lambda place: Twice(place) if os.fsencode(place).endswith(b"/cat") else real(place)
    )
    report = build_gallery(photos, tmp_path / "g", network, options=options)
    assert (report.added, report.seen) == (10, 10)
    assert verify_gallery(tmp_path / "g").whole


def test_rules_that_change_are_noticed_by_every_look(photos, tmp_path):
    """Also where nothing is announced, and where an editor wrote the file in place."""
    ignored = photos / "cat" / ".sketchseekignore"
    ignored.write_text("deep/\n")
    (photos / "cat" / "deep").mkdir()
    folders = of(photos)
    times = FolderTimes(folders)
    follower = announced.Announced(folders, times, tmp_path / "g")
    new = str(photos / "cat" / "deep" / "new.jpg")
    times.look()
    settled(photos, photos / "cat", photos / "dog")
    times.look()
    assert not follower.matters(new)
    with ignored.open("w") as file:
        file.write("# nothing at all\n")
    settled(photos / "cat")
    assert times.look() == Scope(everything=True)
    assert times.knows(b"cat/deep")
    assert follower.matters(new)
    Path(new).touch()
    assert not times.look().everything
    ignored.write_text("deep/\n")
    assert follower.scope([str(ignored)]).everything
    assert not times.knows(b"cat/deep")
    assert not follower.matters(new)
