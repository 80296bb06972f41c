"""What a gallery leaves out: the leftovers of other software, patterns of the user, ignore files."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.settings import load_settings
from index_builder import GalleryMetadata, GallerySnapshot, add_photos, build_gallery, rebuild_gallery, sync_gallery
from index_builder.gallery_errors import GalleryError
from index_builder.ingest.partial_update import update_gallery
from index_builder.photo_folders import PhotoFolders
from index_builder.scanning import default_exclusions, ignore_patterns
from index_builder.scanning.announced import Announced
from index_builder.scanning.default_exclusions import HIDDEN
from index_builder.scanning.exclusions import Exclusions
from index_builder.scanning.folder_times import FolderTimes
from index_builder.scanning.passed_over import AN_IGNORE_FILE, Kind, Skipped
from index_builder.scanning.scan import scan_folders
from index_builder.scanning.scope import Scope
from index_builder.store.gallery import Gallery
from model.errors import ConfigurationError
from tests.index_builder.pictures import write_photo
from tests.paths import ROOT

PAGE = ROOT / "docs" / "exclusions.md"


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")


def scanned(root, *exclude, **options):
    """Paths found, and reasons of what was passed over."""
    skipped: list[Skipped] = []
    folders = replace(PhotoFolders.of(root), exclude=exclude)
    found = sorted(os.fsdecode(file.raw_path) for file in scan_folders(folders, skipped.append, **options))
    return found, {one.path: one.reason for one in skipped}


def paths_of(gallery, network):
    snapshot = GallerySnapshot.load(gallery, network.identity)
    return sorted(snapshot.photo(row).path for row in range(len(snapshot)))


@pytest.mark.parametrize(
    "folder",
    [
        "@eaDir", "a/@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "$RECYCLE.BIN", "$Recycle.Bin",
        "System Volume Information", ".Trash-1", ".Trashes", ".thumbnails", ".@__thumb", "lost+found", "node_modules",
        "__MACOSX", "a/My Catalog Previews.lrdata", "Smart Previews.LRDATA", ".picasaoriginals", ".stversions",
        "data/anna/files_trashbin", "appdata_ocq1w2e3", "M4ROOT/THMBNL",
    ],
)  # fmt: skip
def test_leftovers_are_left_out(tmp_path, folder):
    touch(tmp_path, "kept.jpg", f"{folder}/1.jpg", f"{folder}/deep/2.jpg")
    found, reasons = scanned(tmp_path)
    assert found == ["kept.jpg"]
    assert list(reasons) == [folder]
    assert reasons[folder] == HIDDEN if folder.startswith(".") else reasons[folder].startswith("by default, ")
    above, _, name = folder.rpartition("/")
    pattern = name.replace("#", r"\#")
    assert len(scanned(tmp_path, f"!{pattern}/")[0]) == 3, "an exclusion that is not wanted can be undone"
    (tmp_path / above / ".sketchseekignore").write_text(f"!{pattern}/\n")
    assert len(scanned(tmp_path)[0]) == 3


def test_names_that_only_look_like_leftovers_stay(tmp_path):
    kept = [
        "eaDir/1.jpg", "recycle/1.jpg", "Recycle/1.jpg", "thumbnails/1.jpg", "Thumbs/1.jpg", "Previews/1.jpg",
        "originals/Faces/1.jpg", "storage/1.jpg", "backups/1.jpg", "thumbs.db.jpg", "resources/derivatives/1.jpg",
        "lrdata/1.jpg", "@home/1.jpg", "#2019/1.jpg", "Trash/1.jpg", "appdata_office/1.jpg", "data/1.jpg",
    ]  # fmt: skip
    touch(tmp_path, *kept)
    assert scanned(tmp_path) == (sorted(kept), {})


@pytest.mark.parametrize("name", ["Photos Library.photoslibrary", "iPhoto Library.photolibrary", "A.aplibrary", ""])
def test_of_photo_libraries_the_originals_stay(tmp_path, name):
    root = tmp_path / "x.photoslibrary" if not name else tmp_path / "mac"
    kept = [
        "originals/0/0A.jpeg", "Masters/2012/Faces/1.jpg", "Originals/Previews/1.jpg", "Modified/2008/1.jpg",
        "resources/cloudsharing/data/1/2.jpg", "scopes/cloudsharing/data/1/3.jpg", "resources/media/master/4.jpg",
    ]  # fmt: skip
    left = [
        "resources/derivatives/0/0A_1_105_c.jpeg", "resources/renders/0/0A.jpeg", "resources/media/face/1.jpg",
        "resources/proxies/derivatives/1.jpg", "resources/cloudsharing/resources/derivatives/1.jpg",
        "scopes/cloudsharing/resources/derivatives/1.jpg", "Thumbnails/1.jpg", "Previews/2012/1.jpg", "database/1.jpg",
        "private/com.apple.x/1.jpg", "Data.noindex/2008/1.jpg", "iPod Photo Cache/1.jpg", "Faces/1.jpg",
    ]  # fmt: skip
    touch(root / name, *kept, *left)
    assert scanned(root)[0] == sorted(f"{name}/{path}".lstrip("/") for path in kept)


def test_folders_of_photo_servers_are_left_out_by_their_marks(tmp_path):
    touch(tmp_path, "immich/library/anna/1.jpg", "immich/upload/1.jpg", "immich/thumbs/1.webp", "immich/profile/1.png")
    assert len(scanned(tmp_path)[0]) == 4
    for name in ("library", "upload", "thumbs", "profile"):
        touch(tmp_path, f"immich/{name}/.immich")
    touch(tmp_path, "prism/originals/1.jpg", "prism/storage/cache/thumbnails/1.jpg", "prism/storage/.ppstorage")
    found, reasons = scanned(tmp_path)
    assert found == ["immich/library/anna/1.jpg", "immich/upload/1.jpg", "prism/originals/1.jpg"]
    assert reasons["immich/thumbs"] == "by default, thumbs with .immich"
    assert reasons["prism/storage"] == "by default, storage with .ppstorage"


def test_the_page_lists_every_default():
    listed = set(re.findall(r"`([^`]+)`", PAGE.read_text(encoding="utf-8").partition("## What is left out")[2]))
    names = {
        *default_exclusions.FOLDERS,
        *default_exclusions.FILES,
        *default_exclusions.MARKED_FOLDERS,
        *default_exclusions.MARKED_FOLDERS.values(),
        *default_exclusions.PHOTO_LIBRARIES,
        *default_exclusions.INSIDE_PHOTO_LIBRARIES,
    }
    assert names <= listed


def test_an_excluded_folder_is_not_entered(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.jpg", "drafts/1.jpg", "@eaDir/deep/1.jpg")
    entered = []
    real = os.scandir

    def scandir(place):
        entered.append(os.fsencode(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    skipped: list[Skipped] = []
    list(scan_folders(replace(PhotoFolders.of(tmp_path), exclude=("drafts/",)), skipped.append))
    assert {place.rpartition(b"/")[2] for place in entered} == {os.fsencode(tmp_path.name), b"a"}
    assert {(one.path, one.kind) for one in skipped} == {("@eaDir", Kind.RULE), ("drafts", Kind.RULE)}


NAMES = ("a", "b", "keep", "x.jpg", "y.jpg", "ab.jpg", "k p.jpg")
PATTERNS = st.one_of(
    st.sampled_from([
        "*.jpg", "!*.jpg", "a", "a/", "/a", "/a/", "!a/", "a/b", "a/**", "**/b", "a/**/x.jpg", "**/b/*.jpg", "!x.jpg",
        "*", "!*/", "?.jpg", "[ab]", "[!a]", "[a-b]*.jpg", "k\\ p.jpg", "\\!a", "#comment", "", "/", "b/x.jpg", "!b",
        "a*", "*b*",
        "**", "**/", "/*", "/*/", "!/a", "x.jpg ", "keep/", "!keep/", "b/**/a", "//", "a//b", "***.jpg", "a/***",
    ]),
    st.lists(st.sampled_from(["a", "b", "*", "**", "x.jpg", "?", "!", "/"]), min_size=1, max_size=4).map("".join),
)  # fmt: skip


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    files=st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), min_size=1, max_size=12),
    ignore=st.dictionaries(st.sampled_from(["", "a", "b", "a/b"]), st.lists(PATTERNS, max_size=4), max_size=3),
)
def test_ignore_files_mean_what_they_mean_to_git(tmp_path, files, ignore):
    root = tmp_path / "photos"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for parts in files:
        place = root.joinpath(*parts[:-1], parts[-1] if parts[-1].endswith(".jpg") else parts[-1] + ".jpg")
        with contextlib.suppress(FileExistsError, NotADirectoryError, IsADirectoryError):  # one of that name is there
            touch(root, place.relative_to(root))
    for folder, lines in ignore.items():
        if (root / folder).is_dir():
            (root / folder / ".sketchseekignore").write_text("\n".join(lines))
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    listed = subprocess.run(
        ["git", "-C", str(root), "-c", "core.excludesFile=/dev/null", "ls-files", "-z", "--others",
         "--exclude-per-directory=.sketchseekignore"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    expected = sorted(path for path in listed.split("\0") if path and ".sketchseekignore" not in path)
    found, _ = scanned(root)
    assert found == expected


def test_the_users_patterns_come_first_then_inner_files_then_outer_ones(tmp_path):
    touch(tmp_path, "a/1.png", "a/b/1.png", "a/b/2.png", "a/b/3.png", "1.png")
    (tmp_path / ".sketchseekignore").write_text("*.png\n")
    (tmp_path / "a" / "b" / ".sketchseekignore").write_text("!*.png\n3.png")
    assert scanned(tmp_path)[0] == ["a/b/1.png", "a/b/2.png"]
    found, reasons = scanned(tmp_path, "!1.png", "/a/b/2.png")
    assert found == ["1.png", "a/1.png", "a/b/1.png"]
    assert reasons["a/b/2.png"] == "by --exclude, /a/b/2.png"
    assert reasons["a/b/3.png"] == "by .sketchseekignore, 3.png"
    assert reasons[".sketchseekignore"] == AN_IGNORE_FILE


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda place: place.mkdir(), "no regular file"),
        (os.mkfifo, "no regular file"),
        (lambda place: place.symlink_to("/etc/passwd"), "a link"),
        (lambda place: place.write_bytes(b"*.jpg\n" * 20_000), "65536 bytes"),
        (lambda place: place.write_bytes(b"*.jpg\n\0\n"), "no text"),
        (lambda place: place.write_bytes(b"\xff\xfe*"), "no text"),
        (lambda place: place.write_text("*.png\n*a*a*a*a*\n"), "line 2: too many"),
        (lambda place: place.write_text("*.png\n[z-a]\n\\\n"), "line 2: `[z-a]` is no pattern"),
        (lambda place: place.write_text("x" * 2000), "longer than"),
        (lambda place: place.write_text("y\n" * 2000), "more than 1000"),
    ],
)
def test_an_odd_ignore_file_is_named_and_stops_nothing(tmp_path, make, reason):
    touch(tmp_path, "1.jpg", "1.png")
    make(tmp_path / ".sketchseekignore")
    found, reasons = scanned(tmp_path)
    assert "1.jpg" in found
    assert reason in reasons[".sketchseekignore"]
    assert ("1.png" in found) == ("1.png" not in reasons)
    assert len(found) + len(reasons) == 3


@pytest.fixture
def unreadable_ignore_files(monkeypatch):
    """Call it with an error's number: no ignore file can be read any more."""
    real = os.open

    def fail(number):
        def refuse(place, *arguments, **named):
            if os.fsencode(place).endswith(b".sketchseekignore") and Path(os.fsdecode(place)).exists():
                raise OSError(number, os.strerror(number))
            return real(place, *arguments, **named)

        monkeypatch.setattr(os, "open", refuse)

    return fail


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_folder_whose_ignore_file_cannot_be_read_is_not_entered(tmp_path, number, unreadable_ignore_files):
    touch(tmp_path, "1.jpg", "cat/2.jpg", "cat/.sketchseekignore", "cat/dog/3.jpg")
    unreadable_ignore_files(number)
    found, reasons = scanned(tmp_path)
    assert found == ["1.jpg"]
    assert reasons == {"cat": f"unreadable folder: its ignore file: {os.strerror(number)}"}


def test_what_an_unreadable_ignore_file_brought_back_or_hid_stays_as_it_is(
    tmp_path, network, options, unreadable_ignore_files
):
    for number in range(8):
        write_photo(tmp_path / "p" / "@eaDir" / f"{number}.jpg", number)
    write_photo(tmp_path / "p" / "1.jpg", 20)
    write_photo(tmp_path / "p" / "private" / "1.jpg", 21)
    (tmp_path / "p" / ".sketchseekignore").write_text("!@eaDir/\nprivate/\n")
    assert build_gallery(tmp_path / "p", tmp_path / "g", network, options=options).photos == 9
    unreadable_ignore_files(errno.EIO)
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert (report.added, report.removed, report.held, report.photos) == (0, 0, (), 9)
    for scope in (Scope(folders={b"private"}), Scope(files={b"private/1.jpg"}), Scope(folders={b"", b"@eaDir"})):
        update = update_gallery(tmp_path / "g", network, scope, options=options)
        assert update is not None
        assert (update.added, update.removed, update.photos) == (0, 0, 9)
    assert add_photos(tmp_path / "g", tmp_path / "p", ["private"], network, options=options).added == 0


def test_a_share_that_is_away_is_not_excluded_though_its_ignore_file_is_gone_with_it(tmp_path, network, options):
    photos = tmp_path / "p"
    for number in range(8):
        write_photo(photos / ".album" / f"{number}.jpg", number)
    (photos / ".sketchseekignore").write_text("!.album/\n")
    assert build_gallery(photos, tmp_path / "g", network, options=options).photos == 8
    photos.rename(tmp_path / "away")
    photos.mkdir()
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert ([(one.code, one.photos) for one in report.held], report.removed) == ([("emptied", 8)], 0)


def test_a_part_obeys_the_ignore_file_of_the_top(tmp_path, photos, network, options):
    (photos / ".sketchseekignore").write_text("[0-6].jpg\n")
    assert build_gallery(photos, tmp_path / "g", network, options=options).photos == 3
    update = update_gallery(tmp_path / "g", network, Scope(folders={b"dog"}), options=options)
    assert update is not None
    assert update.photos == 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_ignore_files_from_windows_work(tmp_path, encoding):
    touch(tmp_path, "ü.jpg", "1.jpg", "Ü.jpg")
    (tmp_path / ".sketchseekignore").write_bytes("ü.jpg\r\n\r\n1.jpg\r\n".encode(encoding))
    assert scanned(tmp_path)[0] == ["Ü.jpg"], "upper and lower case differ"


def test_patterns_match_names_that_are_odd(tmp_path):
    touch(tmp_path, "new\nline.jpg", os.fsdecode(b"\xff.jpg"), "dir\n/x.jpg", "y.jpg")
    assert scanned(tmp_path, "new?line.jpg", "x.jpg")[0] == sorted([os.fsdecode(b"\xff.jpg"), "y.jpg"])
    (tmp_path / ".sketchseekignore").write_bytes(b"\xff.jpg\n*\\*\n")
    assert sorted(scanned(tmp_path)[0]) == ["dir\n/x.jpg", "new\nline.jpg", "y.jpg"]
    assert scanned(tmp_path, "*.jpg")[0] == []


def test_hostile_patterns_and_names_take_no_time(tmp_path):
    touch(tmp_path, *("a" * 240 + f"{number}.jpg" for number in range(20)), "/".join(["a"] * 200) + "/1.jpg")
    (tmp_path / ".sketchseekignore").write_text("*a*a*b\n**/a/**/*a*b\n" * 2)
    started = time.process_time()
    assert len(scanned(tmp_path)[0]) == 21
    assert time.process_time() - started < 20


def test_photos_that_a_new_rule_excludes_leave_at_the_next_sync(tmp_path, photos, network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    (photos / ".sketchseekignore").write_text("cat/\n[0-6].jpg\n")
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert (report.removed, report.photos, len(report.skipped)) == (9, 1, 0), "unwanted is not lost, however many"
    assert not report.held
    (photos / ".sketchseekignore").unlink()
    assert sync_gallery(tmp_path / "g", network, options=options).added == 9


def test_the_gallery_remembers_patterns_until_others_are_given(tmp_path, photos, network, options):
    def remembered():
        opened = Gallery.open(tmp_path / "g")
        metadata: GalleryMetadata = opened.metadata(opened.dataset())
        return metadata.folders.exclude or ()

    folders = PhotoFolders.of(photos)
    build_gallery(replace(folders, exclude=("cat/",)), tmp_path / "g", network, options=options)
    assert sync_gallery(tmp_path / "g", network, options=options).photos == 5
    assert build_gallery(photos, tmp_path / "g", network, options=options).photos == 5
    assert remembered() == ("cat/",)
    assert rebuild_gallery(tmp_path / "g", network, options=options).photos == 5
    assert remembered() == ("cat/",)
    report = sync_gallery(tmp_path / "g", network, photos=replace(folders, exclude=("dog/1*",)), options=options)
    assert (report.photos, remembered()) == (10, ("dog/1*",))
    sync_gallery(tmp_path / "g", network, photos=replace(folders, exclude=()), options=options)
    assert remembered() == ()


def test_what_is_added_by_name_obeys_the_rules_too(tmp_path, photos, network, options):
    write_photo(photos / "@eaDir" / "cat" / "1.jpg", 50)
    write_photo(photos / "cat" / "draft.jpg", 51)
    (photos / ".sketchseekignore").write_text("draft.jpg")
    named = ["@eaDir/cat/1.jpg", "@eaDir/cat", "cat/draft.jpg", "cat/1.jpg"]
    report = add_photos(tmp_path / "g", photos, named, network, options=options)
    assert (report.added, len(report.excluded), len(report.skipped)) == (1, 2, 0)
    assert paths_of(tmp_path / "g", network) == ["cat/1.jpg"]
    assert dict(report.excluded.named())["cat/draft.jpg"] == "by .sketchseekignore, draft.jpg"


@pytest.mark.parametrize("pattern", ["[z-a]", "\\", "*a*a*a*a", "x" * 1001])
def test_a_pattern_that_is_none_is_refused_and_nothing_remembered(tmp_path, photos, network, options, pattern):
    folders = replace(PhotoFolders.of(photos), exclude=(pattern,))
    with pytest.raises(GalleryError, match="--exclude cannot be used"):
        build_gallery(folders, tmp_path / "g", network, options=options)
    assert not (tmp_path / "g").exists()
    build_gallery(photos, tmp_path / "g", network, options=options)
    with pytest.raises(GalleryError, match="--exclude cannot be used"):
        add_photos(tmp_path / "g", folders, ["cat"], network, options=options)
    assert sync_gallery(tmp_path / "g", network, options=options).photos == 10


def test_patterns_begin_with_the_names_of_several_folders(tmp_path):
    touch(tmp_path / "one", "cache/1.jpg", "2.jpg")
    touch(tmp_path / "two", "cache/1.jpg")
    (tmp_path / "two" / ".sketchseekignore").write_text("/2.jpg\n")
    folders = replace(PhotoFolders.of([tmp_path / "one", tmp_path / "two"]), exclude=("/one/cache",))
    found = [file.raw_path for file in scan_folders(folders, lambda _: None)]
    assert sorted(found) == [b"one/2.jpg", b"two/cache/1.jpg"]


def test_a_rule_is_known_for_any_path_and_read_anew_when_asked(tmp_path):
    touch(tmp_path, "a/b/1.jpg")
    (tmp_path / "a" / ".sketchseekignore").write_text("b/\n")
    rules = Exclusions(PhotoFolders.of(tmp_path))
    assert rules.reason(b"a/b/1.jpg") == "by .sketchseekignore, b/"
    assert rules.reason(b"a/b", is_folder=True) == "by .sketchseekignore, b/"
    assert rules.reason(b"a/b") is None, "a pattern of folders leaves files alone"
    assert rules.reason(b"gone/@eaDir/x/y.jpg") == "by default, @eaDir"
    assert rules.reason(b"a/.1.jpg") == HIDDEN
    assert rules.reason(b"/".join([b"d"] * 3000) + b"/1.jpg") is None
    (tmp_path / "a" / ".sketchseekignore").unlink()
    assert rules.reason(b"a/b/1.jpg") is not None
    rules.forget()
    assert rules.reason(b"a/b/1.jpg") is None


def test_bounds_are_as_documented():
    page = PAGE.read_text(encoding="utf-8")
    bounds = ignore_patterns.MOST_BYTES, ignore_patterns.MOST_PATTERNS, ignore_patterns.MOST_WILDCARDS
    assert bounds == (65_536, 1000, 3)
    assert "64 kB and 1000 patterns" in page
    assert "three `*` in one part of a path, and six in all" in page


def test_the_setting_lists_patterns_and_an_empty_one_says_nothing(monkeypatch):
    for value, patterns in (("drafts/, *.png,/a b", ("drafts/", "*.png", "/a b")), ("x\ny", ("x", "y")), ("", None)):
        monkeypatch.setenv("SKETCHSEEK_EXCLUDE", value)
        assert load_settings().exclude == patterns
    monkeypatch.setenv("SKETCHSEEK_EXCLUDE", "fine,[z-a]")
    with pytest.raises(ConfigurationError, match=r"SKETCHSEEK_EXCLUDE cannot be used: .*is no pattern"):
        load_settings()


def test_a_changed_ignore_file_matters_and_what_is_excluded_does_not(tmp_path):
    touch(tmp_path, "a/1.jpg", "a/@eaDir/1.jpg", "a/drafts/1.jpg", "a/.sketchseekignore", "a/@eaDir/1.xmp", "a/1.xmp")
    folders = PhotoFolders.of(tmp_path)
    announced = Announced(folders, FolderTimes(folders), tmp_path / "gallery")

    def matters(path):
        return announced.matters(str(tmp_path / path))

    assert matters("a/drafts/1.jpg")
    assert not matters("a/1.xmp")
    assert not matters("a/@eaDir/1.jpg")
    (tmp_path / "a" / ".sketchseekignore").write_text("drafts/\n!@eaDir/\n")
    assert matters("a/.sketchseekignore")
    assert announced.scope([str(tmp_path / "a" / ".sketchseekignore")]).everything
    assert not matters("a/drafts/1.jpg")
    assert matters("a/@eaDir/1.jpg")
