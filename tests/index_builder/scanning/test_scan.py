"""Folders as they are: odd names, links in circles, pipes, unreadable places."""

from __future__ import annotations

import itertools
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index_builder import GallerySnapshot, build_gallery
from index_builder.gallery_errors import GalleryError
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import photo_id, shown_path, tags_of
from index_builder.scanning.default_exclusions import HIDDEN
from index_builder.scanning.passed_over import Skipped
from index_builder.scanning.scan import LEAVES_ROOT, LINKED_TWICE, THE_GALLERY, scan_folders
from tests.index_builder.pictures import write_photo


def scanned(root, **options):
    skipped: list[Skipped] = []
    found = [file.raw_path for file in scan_folders(PhotoFolders.of(root), skipped.append, **options)]
    assert len(set(found)) == len(found)
    return sorted(found), {s.path: s.reason for s in skipped}


def test_names_that_are_no_utf8_or_have_newlines(tmp_path, network, options):
    names = [
        b"new\nline.jpg",
        b"\xff\xfe.jpg",
        "ünïcödé 漢字.JPEG".encode(),
        b"quote's\"; DROP.jpg",
        b" .jpg",
        b"\\x.jpg",
    ]
    for seed, name in enumerate(names):
        write_photo(tmp_path / "root" / os.fsdecode(b"fol\xf0der") / os.fsdecode(name), seed)
    found, skipped = scanned(tmp_path / "root")
    assert found == sorted(b"fol\xf0der/" + name for name in names)
    assert not skipped
    report = build_gallery(tmp_path / "root", tmp_path / "gallery", network, options=options)
    assert report.added == len(names)
    snapshot = GallerySnapshot.load(tmp_path / "gallery", network.identity)
    assert snapshot.tags == {"fol\\xf0der": len(names)}
    for row in range(len(snapshot)):
        record = snapshot.photo(row)
        record.path.encode()  # text that JSON can carry
        assert snapshot.file_of(row).read_bytes() == (tmp_path / "root" / os.fsdecode(record.raw_path)).read_bytes()


def test_links_in_circles_and_twice(tmp_path):
    root = tmp_path / "root"
    write_photo(root / "b" / "1.jpg", 1)
    write_photo(tmp_path / "elsewhere" / "2.jpg", 2)
    (root / "a").symlink_to(root / "b")  # sorts before the real folder, which must win all the same
    (root / "b" / "up").symlink_to(root)
    (root / "itself").symlink_to(root / "itself")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    (root / "d.jpg").symlink_to(tmp_path / "elsewhere" / "2.jpg")
    (root / "file.jpg").symlink_to(root / "b" / "1.jpg")
    (root / "nowhere.jpg").symlink_to(root / "gone.jpg")
    found, skipped = scanned(root)
    assert found == [b"b/1.jpg", b"file.jpg"]
    assert skipped.pop("nowhere.jpg") == "a link that leads nowhere"
    assert "symbolic links" in skipped.pop("itself")
    assert skipped == {"a": LINKED_TWICE, "b/up": LINKED_TWICE, "c": LEAVES_ROOT, "d.jpg": LEAVES_ROOT}


def test_many_links_between_folders_are_walked_once(tmp_path):
    root = tmp_path / "root"
    folders = [root / f"level{i:02}" for i in range(20)]
    root.mkdir()
    for folder, below in itertools.pairwise(folders):
        folder.mkdir()
        (folder / "x").symlink_to(below)
        (folder / "y").symlink_to(below)
    write_photo(folders[-1] / "1.jpg", 1)
    assert scanned(root)[0] == [b"level19/1.jpg"]


def test_what_is_no_photo_is_named_and_never_opened(tmp_path):
    write_photo(tmp_path / "ok.PNG", 1, "PNG")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / ".hidden.jpg").touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "1.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        old = Path.cwd()
        os.chdir(tmp_path)  # a socket's path may only be short
        try:
            server.bind("socket.jpg")
        finally:
            os.chdir(old)
        found, skipped = scanned(tmp_path)
    assert found == [b"ok.PNG"]
    assert skipped == {
        "notes.txt": "not a photo, by its name's ending",
        "empty.jpg": "empty file",
        ".hidden.jpg": HIDDEN,
        ".git": HIDDEN,
        "pipe.jpg": "not a regular file",
        "socket.jpg": "not a regular file",
    }


def test_unreadable_folders_are_named(tmp_path, monkeypatch):
    write_photo(tmp_path / "open" / "1.jpg", 1)
    write_photo(tmp_path / "closed" / "2.jpg", 2)
    real = os.scandir

    def scandir(path):
        if os.fsencode(path).endswith(b"closed"):  # root may read everything, so permissions cannot show it everywhere
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found, skipped = scanned(tmp_path)
    assert found == [b"open/1.jpg"]
    assert skipped == {"closed": "unreadable folder: Permission denied"}


def test_the_gallery_inside_the_photos_is_left_out(tmp_path, network, options):
    write_photo(tmp_path / "1.jpg", 1)
    build_gallery(tmp_path, tmp_path / "gallery", network, options=options)
    (tmp_path / "gallery" / "2.jpg").write_bytes((tmp_path / "1.jpg").read_bytes())
    assert scanned(tmp_path, leave_out=tmp_path / "gallery") == ([b"1.jpg"], {"gallery": THE_GALLERY})


def test_a_file_or_nothing_instead_of_a_folder(tmp_path):
    write_photo(tmp_path / "1.jpg", 1)
    with pytest.raises(GalleryError, match="no folder"):
        scanned(tmp_path / "1.jpg")
    with pytest.raises(GalleryError, match="check the path"):
        scanned(tmp_path / "gone")
    assert scanned(tmp_path, below=b"1.jpg") == ([b"1.jpg"], {})


@settings(max_examples=50)
@given(st.lists(st.binary(min_size=1, max_size=8).filter(lambda part: b"/" not in part), min_size=1, max_size=4))
def test_ids_are_safe_and_follow_path_and_content(parts):
    path = b"/".join(parts)
    name = photo_id(path, b"c" * 32)
    assert len(name) == 26
    assert name.isascii()
    assert name.isalnum()
    assert name == photo_id(path, b"c" * 32)
    assert name != photo_id(path, b"d" * 32)
    assert name != photo_id(path + b"x", b"c" * 32)
    shown_path(path).encode()
    assert len(set(tags_of(path))) == len(tags_of(path)) <= len(parts) - 1
