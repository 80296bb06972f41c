"""Links to folders elsewhere: followed where a setting names the folder, and nowhere else."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from app.main import create_app
from index_builder import GallerySnapshot, build_gallery, sync_gallery
from index_builder.ingest.named_folders import chosen_folders
from index_builder.photo_folders import PhotoFolders
from index_builder.scanning.scan import LEAVES_ROOT, scan_folders
from tests.app.conftest import open_client, settings_for, wait_until
from tests.index_builder.pictures import write_photo


@pytest.fixture
def outside(tmp_path, photos):
    """A folder elsewhere, with a link to it in the photos' folder and circles in both directions."""
    place = tmp_path / "nas"
    for index in range(3):
        write_photo(place / "trip" / f"{index}.jpg", seed=50 + index)
    (photos / "nas").symlink_to(place)
    (place / "back").symlink_to(photos)
    (place / "round").symlink_to(place)
    return place


def followed(photos, *places):
    return PhotoFolders(PhotoFolders.of(photos).folders, links_to=places)


def paths(gallery, network):
    snapshot = GallerySnapshot.load(gallery, network.identity)
    return {snapshot.photo(row).path for row in range(len(snapshot))}


def test_a_link_is_followed_only_where_its_folder_is_named(tmp_path, photos, outside, network, options):
    report = build_gallery(photos, tmp_path / "g", network, options=options)
    assert (report.photos, report.skipped.counts()) == (10, {LEAVES_ROOT: 1})
    assert "--follow-links-to" in LEAVES_ROOT
    report = sync_gallery(tmp_path / "g", network, photos=followed(photos, outside), options=options)
    assert (report.added, report.photos, len(report.skipped)) == (3, 13, 0)
    assert {path for path in paths(tmp_path / "g", network) if path.startswith("nas/")} == {
        f"nas/trip/{index}.jpg" for index in range(3)
    }
    report = sync_gallery(tmp_path / "g", network, options=options)  # the gallery remembers it
    assert (report.unchanged, report.removed) == (13, 0)
    report = sync_gallery(
        tmp_path / "g", network, photos=chosen_folders(tmp_path / "g", None, links_to=()), options=options
    )
    assert (report.removed, report.photos) == (3, 10)


def test_only_the_part_that_is_named(tmp_path, photos, outside, network, options):
    (photos / "trip").symlink_to(outside / "trip")
    report = build_gallery(followed(photos, outside / "trip"), tmp_path / "g", network, options=options)
    assert report.photos == 10 + 3
    assert report.skipped.counts() == {LEAVES_ROOT: 1}  # the link to the folder around it


def test_a_folder_that_is_reached_twice_is_indexed_once(tmp_path, photos, outside):
    (photos / "again").symlink_to(outside)
    (photos / "deep").symlink_to(outside / "trip")
    found = [file.raw_path for file in scan_folders(followed(photos, outside), lambda _: None)]
    assert len(found) == 13
    write_photo(tmp_path / "work" / "0.jpg", seed=70)
    (photos / "a link to work").symlink_to(tmp_path / "work")
    both = PhotoFolders(PhotoFolders.of([f"home={photos}", f"{tmp_path}/work"]).folders, links_to=(outside,))
    found = [file.raw_path for file in scan_folders(both, lambda _: None)]
    assert len(found) == 14
    assert b"work/0.jpg" in found  # by its own name, not by that of the link


def test_a_share_behind_a_link_is_judged_by_itself(tmp_path, photos, outside, network, options):
    build_gallery(followed(photos, outside), tmp_path / "g", network, options=options)
    shutil.move(outside, tmp_path / "away")
    for left in ("nothing", "an empty folder"):
        if left != "nothing":
            outside.mkdir()
        (photos / "cat" / "1.jpg").unlink(missing_ok=True)
        report = sync_gallery(tmp_path / "g", network, options=options)
        assert [(one.place, one.photos) for one in report.held] == [(str(outside), 3)]
        assert report.photos == 12
    outside.rmdir()
    shutil.move(tmp_path / "away", outside)
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert (report.held, report.unchanged, report.photos) == ((), 12, 12)
    (photos / "nas").unlink()  # the link itself is taken away: that is meant
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert (report.held, report.removed, report.photos) == ((), 3, 9)


def test_a_folder_of_the_gallery_that_links_may_lead_to_is_judged_once(tmp_path, photos, network, options):
    build_gallery(followed(photos, photos), tmp_path / "g", network, options=options)
    photos.rename(tmp_path / "away")
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert [one.photos for one in report.held] == [10]


def test_a_linked_file_whose_share_is_away_is_held(tmp_path, photos, outside, network, options):
    (photos / "nas").unlink()
    (photos / "one.jpg").symlink_to(outside / "trip" / "0.jpg")
    assert build_gallery(followed(photos, outside), tmp_path / "g", network, options=options).photos == 11
    shutil.move(outside, tmp_path / "away")
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert [(one.code, one.photos) for one in report.held] == [("missing", 1)]
    report = sync_gallery(tmp_path / "g", network, options=replace(options, accept_loss=True))
    assert (report.removed, report.photos) == (1, 10)


def test_the_service_shows_and_follows_what_lies_behind_a_link(tmp_path, photos, outside, network):
    settings = settings_for(
        tmp_path / "g",
        photos=str(photos),
        follow_links_to=f"{outside}:{tmp_path}/elsewhere",
        watch=True,
        rescan_s=1,
    )
    with open_client(create_app(settings, network)) as client:
        wait_until(lambda: client.get("/gallery").json()["photos"] == 13)
        found = {photo: client.get(f"/photos/{photo}") for photo in service_ids(tmp_path / "g", network)}
        assert {answer.status_code for answer in found.values()} == {200}
        write_photo(outside / "trip" / "new.jpg", seed=80)
        wait_until(lambda: client.get("/gallery").json()["photos"] == 14)


def service_ids(gallery, network):
    snapshot = GallerySnapshot.load(gallery, network.identity)
    return [snapshot.photo(row).photo_id for row in range(len(snapshot))]


def test_links_to_files_are_counted_where_they_lead(tmp_path, photos, outside, network, options):
    """One of several linked files is deleted on purpose: most of them are there, so it is believed."""
    (photos / "nas").unlink()
    for index in range(3):
        (photos / f"best{index}.jpg").symlink_to(outside / "trip" / f"{index}.jpg")
    build_gallery(followed(photos, outside), tmp_path / "g", network, options=options)
    (outside / "trip" / "0.jpg").unlink()
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert (report.removed, report.held, report.photos) == (1, (), 12)


def test_links_into_another_folder_of_the_gallery_are_held_with_it(tmp_path, photos, network, options):
    for index in range(3):
        write_photo(tmp_path / "two" / f"{index}.jpg", seed=100 + index)
        (photos / f"best{index}.jpg").symlink_to(tmp_path / "two" / f"{index}.jpg")
    build_gallery([photos, tmp_path / "two"], tmp_path / "g", network, options=options)
    (tmp_path / "two").rename(tmp_path / "away")
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert [(one.folder, one.code, one.photos) for one in report.held] == [("two", "missing", 6)]
    (tmp_path / "two").mkdir()
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert [(one.folder, one.code, one.photos) for one in report.held] == [("two", "emptied", 6)]
    assert report.photos == 16


def test_a_folder_that_is_named_for_links_as_well_is_judged_once(tmp_path, photos, network, options):
    build_gallery(followed(photos, photos), tmp_path / "g", network, options=options)
    photos.rename(tmp_path / "away")
    photos.mkdir()
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert [(one.code, one.photos) for one in report.held] == [("emptied", 10)]
