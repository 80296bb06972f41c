"""One folder or several: how they are named, stored, and found in paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from index_builder.gallery_errors import GalleryError
from index_builder.photo_folders import PhotoFolders


@pytest.fixture
def places(tmp_path):
    for name in ("cats", "more/dogs", "with=sign"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_one_folder_adds_nothing_to_paths(places):
    folders = PhotoFolders.of(places / "cats")
    assert folders.relative(places / "cats" / "a" / "1.jpg") == b"a/1.jpg"
    assert folders.relative("a/1.jpg") == b"a/1.jpg"
    assert folders.relative(places / "cats") == b""
    assert folders.absolute(b"a/1.jpg") == os.fsencode(places / "cats" / "a" / "1.jpg")
    assert folders.to_stored() == str(places / "cats")
    assert folders.name_of(b"a/1.jpg") == "cats"


def test_several_folders_are_the_first_part_of_paths(places):
    folders = PhotoFolders.of([f"pets={places}/cats", str(places / "more" / "dogs")])
    assert [folder.name for folder in folders.folders] == ["pets", "dogs"]
    assert folders.relative(places / "cats" / "1.jpg") == b"pets/1.jpg"
    assert folders.relative("dogs/x/2.jpg") == b"dogs/x/2.jpg"
    assert folders.absolute(b"dogs/x/2.jpg") == os.fsencode(places / "more" / "dogs" / "x" / "2.jpg")
    assert folders.relative(places / "cats") == b"pets"
    assert folders.upload_folder.name == "pets"
    assert [folders.name_of(path) for path in (b"pets/1.jpg", b"dogs/x/2.jpg", b"birds/1.jpg")] == ["pets", "dogs", ""]
    for outside in ("1.jpg", "birds/1.jpg", "../1.jpg", places / "1.jpg"):
        with pytest.raises(GalleryError, match="is not below the photos' folder"):
            folders.relative(outside)
    with pytest.raises(FileNotFoundError):
        folders.absolute(b"birds/1.jpg")


def test_a_name_for_the_only_folder_counts(places):
    assert PhotoFolders.of(f"pets={places}/cats").relative(places / "cats" / "1.jpg") == b"pets/1.jpg"


def test_a_folder_with_an_equals_sign_is_a_folder(places, monkeypatch):
    monkeypatch.chdir(places)
    assert PhotoFolders.of("with=sign").folders[0].path == places / "with=sign"


@pytest.mark.parametrize(
    ("photos", "message"),
    [
        ([], "at least one"),
        (["=/tmp"], "no name before"),
        ([".x=/tmp"], "no name before"),
        (["x="], "names no folder"),
        (["/a/photos", "/b/photos"], "'photos' comes twice"),
        (["/", "/b"], "names of their own"),
        (["a=/x", "b=/x/y"], "name the outer one alone"),
        (["a=/x", "b=/x"], "name the outer one alone"),
    ],
)
def test_folders_that_cannot_stand_together(photos, message):
    with pytest.raises(GalleryError, match=message):
        PhotoFolders.of(photos)


def test_links_may_lead_where_they_are_allowed(places):
    inside = os.fsencode(places / "more" / "dogs" / "1.jpg")
    folders = PhotoFolders.of(places / "cats")
    assert not folders.is_inside(inside)
    assert PhotoFolders(folders.folders, links_to=(places / "more",)).is_inside(inside)
    assert not folders.is_inside(os.fsencode(f"{places}/cats2/1.jpg"))


def test_what_was_not_said_is_what_the_gallery_remembers(places):
    before = PhotoFolders(PhotoFolders.of(places / "cats").folders, links_to=(Path("/x"),), exclude=("*.tmp",))
    named = PhotoFolders.of(places / "more")
    assert named.over(before) == PhotoFolders(named.folders, before.links_to, before.exclude)
    emptied = PhotoFolders(named.folders, links_to=(), exclude=())
    assert emptied.over(before) == emptied
    assert named.over(None) == PhotoFolders(named.folders, (), ())


@pytest.mark.parametrize("photos", ["/a", "x=/a", ["/a/b", "y=/c"]])
def test_stored_and_read_again(photos):
    folders = PhotoFolders(PhotoFolders.of(photos).folders, links_to=(), exclude=("*.tmp",))
    assert PhotoFolders.from_stored(folders.to_stored()) == folders
    plain = PhotoFolders.of(photos)
    assert PhotoFolders.from_stored(plain.to_stored()).folders == plain.folders


def test_a_setting_lists_folders_with_colons(places):
    assert PhotoFolders.from_setting("") is None
    several = PhotoFolders.from_setting(f"pets={places}/cats:{places}/more/dogs")
    assert several is not None
    assert str(several) == f"pets={places}/cats:dogs={places}/more/dogs"
    (places / "a:b").mkdir()
    one = PhotoFolders.from_setting(f"{places}/a:b")
    assert one is not None
    assert one.folders[0].path == places / "a:b"
