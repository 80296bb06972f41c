"""A gallery of several folders, each under a name."""

from __future__ import annotations

import os
from dataclasses import replace

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
from index_builder.gallery_errors import GalleryMismatchError, GalleryNotFoundError
from index_builder.ingest import changes, named_folders
from index_builder.ingest.named_folders import chosen_folders
from index_builder.photo_folders import PhotoFolders
from index_builder.store.checksums import write_json
from index_builder.store.gallery import Gallery
from index_builder.store.metadata import FORMAT
from tests.index_builder.conftest import tiny_network
from tests.index_builder.pictures import write_photo


@pytest.fixture
def two(tmp_path):
    for index in range(4):
        write_photo(tmp_path / "pets" / "cat" / f"{index}.jpg", seed=index)
        write_photo(tmp_path / "work" / "chair" / f"{index}.jpg", seed=10 + index)
    return [f"home={tmp_path}/pets", f"{tmp_path}/work"]


def test_the_names_are_the_first_tags(tmp_path, two, network, options):
    report = build_gallery(two, tmp_path / "g", network, options=options)
    assert report.added == 8
    snapshot = GallerySnapshot.load(tmp_path / "g", network.identity)
    assert snapshot.tags == {"cat": 4, "chair": 4, "home": 4, "work": 4}
    for row in range(len(snapshot)):
        name, _, rest = snapshot.photo(row).path.partition("/")
        assert snapshot.file_of(row) == tmp_path / {"home": "pets", "work": "work"}[name] / rest
    assert verify_gallery(tmp_path / "g").decoded == 8


def test_sync_and_add_take_what_the_gallery_remembers(tmp_path, two, network, options):
    build_gallery(two, tmp_path / "g", network, options=options)
    write_photo(tmp_path / "pets" / "dog.jpg", seed=30)
    (tmp_path / "work" / "chair" / "0.jpg").unlink()
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert (report.added, report.removed, report.unchanged) == (1, 1, 7)
    new = tmp_path / "work" / "table.jpg"
    write_photo(new, seed=31)
    report = add_photos(tmp_path / "g", two, [new], network, options=options)
    assert report.added == 1
    assert os.fsencode("work/table.jpg") in [
        GallerySnapshot.load(tmp_path / "g", network.identity).photo(row).raw_path for row in range(9)
    ]


def test_a_folder_may_come_but_not_go_unasked(tmp_path, two, network, options):
    build_gallery(two, tmp_path / "g", network, options=options)
    write_photo(tmp_path / "third" / "0.jpg", seed=40)
    assert build_gallery([*two, tmp_path / "third"], tmp_path / "g", network, options=options).added == 1
    with pytest.raises(GalleryMismatchError, match="--moved"):
        build_gallery(two, tmp_path / "g", network, options=options)


def names(gallery):
    return [folder.name for folder in Gallery.folders_of(gallery).folders]


def test_a_folder_without_a_name_keeps_the_one_that_the_gallery_remembers(tmp_path, two, network, options):
    build_gallery([two[0], f"job={two[1]}"], tmp_path / "g", network, options=options)
    write_photo(new := tmp_path / "pets" / "new.jpg", seed=30)
    unnamed = [tmp_path / "pets", tmp_path / "work"]
    assert add_photos(tmp_path / "g", unnamed, [new], network, options=options).added == 1
    report = sync_gallery(tmp_path / "g", network, photos=unnamed, options=options)
    assert (report.unchanged, report.moved, names(tmp_path / "g")) == (9, 0, ["home", "job"])
    assert verify_gallery(tmp_path / "g", photos=unnamed).whole


def test_another_name_has_to_be_meant(tmp_path, two, network, options):
    build_gallery(two, tmp_path / "g", network, options=options)
    other = [f"flat={tmp_path}/pets", two[1]]
    for change in (
        lambda: sync_gallery(tmp_path / "g", network, photos=other, options=options),
        lambda: add_photos(tmp_path / "g", other, [tmp_path / "pets"], network, options=options),
        lambda: rebuild_gallery(tmp_path / "g", network, photos=other, options=options),
    ):
        with pytest.raises(GalleryMismatchError, match=r"as 'home', not as 'flat'.*--moved"):
            change()
    assert all(
        "no folder of photos has the name" in one.what for one in verify_gallery(tmp_path / "g", photos=other).problems
    )
    report = sync_gallery(tmp_path / "g", network, photos=other, options=replace(options, moved=True))
    assert (report.moved, names(tmp_path / "g")) == (4, ["flat", "work"])


def test_a_folder_at_a_new_place_keeps_its_name(tmp_path, two, network, options):
    build_gallery(two, tmp_path / "g", network, options=options)
    (tmp_path / "pets").rename(tmp_path / "animals")
    both = [tmp_path / "animals", tmp_path / "work"]
    report = sync_gallery(tmp_path / "g", network, photos=both, options=replace(options, moved=True))
    assert (report.unchanged, report.moved, names(tmp_path / "g")) == (8, 0, ["home", "work"])


def test_a_folder_that_stood_alone_gets_a_name_beside_another(tmp_path, two, network, options):
    build_gallery(tmp_path / "pets", tmp_path / "g", network, options=options)
    report = build_gallery([tmp_path / "pets", two[1]], tmp_path / "g", network, options=options)
    assert (report.moved, report.added, names(tmp_path / "g")) == (4, 4, ["pets", "work"])


def test_a_gallery_whose_folder_was_stored_with_dots_is_of_the_same_folder(tmp_path):
    stored = PhotoFolders.from_stored(f"{tmp_path}/here/../photos")
    assert stored == PhotoFolders((PhotoFolders.of(tmp_path / "photos").folders[0],), (), ())


@pytest.fixture
def meanwhile(monkeypatch):
    """Does something between a command's look at what the gallery remembers and its turn to write."""

    def arrange(act):
        real, first = named_folders.named_folders, [True]

        def overtaken(gallery, folders):
            found = real(gallery, folders)
            if first:
                first.clear()
                act()
            return found

        monkeypatch.setattr(changes, "named_folders", overtaken)

    return arrange


@pytest.mark.parametrize("how", ["sync", "add"])
def test_a_command_that_waited_takes_what_the_one_before_it_left(photos, network, options, meanwhile, how):
    gallery = photos.parent / "g"
    build_gallery(photos, gallery, network, options=options)
    said, other = chosen_folders(gallery, None), chosen_folders(gallery, None, exclude=("cat/",))
    meanwhile(lambda: sync_gallery(gallery, network, photos=other, options=options))
    if how == "sync":
        report = sync_gallery(gallery, network, photos=said, options=options)
    else:
        report = add_photos(gallery, said, iter([photos / "cat", photos / "dog"]), network, options=options)
    assert (report.unchanged, report.photos, len(report.excluded)) == (5, 5, 1)
    assert Gallery.folders_of(gallery).exclude == ("cat/",)


def test_a_gallery_that_goes_while_a_command_waits_is_not_begun_anew(photos, network, options, meanwhile):
    gallery = photos.parent / "g"
    build_gallery(photos, gallery, network, options=options)
    meanwhile(lambda: gallery.rename(photos.parent / "away"))
    with pytest.raises(GalleryNotFoundError):
        sync_gallery(gallery, network, photos=photos, options=options)
    assert not gallery.exists()


def test_a_gallery_of_an_earlier_release_opens_and_is_closed_to_that_release_once_written(photos, network, options):
    gallery = photos.parent / "g"
    build_gallery(photos, gallery, network, options=options)
    write_json(gallery / "gallery.json", {"format": 1, "generation": 1})
    assert gallery_info(gallery).photos == 10
    with pytest.raises(GalleryMismatchError):
        sync_gallery(gallery, tiny_network(7), options=options)
    assert Gallery.open(gallery).format == 1, "what was refused changes nothing"
    assert sync_gallery(gallery, network, options=options).unchanged == 10
    assert Gallery.open(gallery).format == FORMAT == 2
    write_json(gallery / "gallery.json", {"format": FORMAT + 1, "generation": 1})
    with pytest.raises(GalleryMismatchError, match="later version"):
        sync_gallery(gallery, network, options=options)
