"""Every file is accounted for: indexed, skipped with a reason, or excluded by a rule. Nothing stops a build."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from app.cli.gallery import cli
from index_builder import BuildOptions, BuildReport, Skipped, build_gallery, sync_gallery
from index_builder.gallery_errors import PhotosSkippedError
from index_builder.scanning import scan
from index_builder.scanning.passed_over import NAMED, OTHER_ENDINGS, OTHER_REASONS, Kind, Tally
from model.checkpoints.files import save_checkpoint
from tests.index_builder.pictures import photo_bytes, write_photo
from tests.paths import ROOT

OPTIONS = BuildOptions(batch_size=8, workers=0)
PHOTOS = [photo_bytes(seed) for seed in range(4)]


def entries(folder: Path, entered: set[tuple[int, int]]) -> int:
    """Files below a folder, and folders that are not entered; those in `entered` are (by device and inode)."""
    count = 0
    for entry in os.scandir(folder):
        status = entry.stat(follow_symlinks=False)
        if entry.is_dir(follow_symlinks=False) and (status.st_dev, status.st_ino) in entered:
            count += entries(Path(entry.path), entered)
        else:
            count += 1
    return count


class Folders:
    """Which folders a scan has entered. A look for missing photos opens others too."""

    def __init__(self, monkeypatch):
        self.entered: set[tuple[int, int]] = set()
        real = os.scandir

        def scandir(place):
            listed = real(place)
            if sys._getframe(1).f_code.co_filename == scan.__file__ and sys._getframe(1).f_code.co_name == "_enter":
                status = os.stat(place)  # noqa: PTH116 - bytes
                self.entered.add((status.st_dev, status.st_ino))
            return listed

        monkeypatch.setattr(os, "scandir", scandir)


def put(data: bytes) -> Callable[[Path], None]:
    def write(place: Path) -> None:
        place.write_bytes(data)

    return write


def bind(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(".", os.O_RDONLY)
        os.chdir(place.parent)  # a socket's path may only be short
        try:
            server.bind(place.name)
        finally:
            os.fchdir(here)
            os.close(here)


def of_time(seconds: int) -> Callable[[Path], None]:
    def write(place: Path) -> None:
        place.write_bytes(PHOTOS[2])
        os.utime(place, (seconds, seconds))

    return write


def unreadable(place: Path) -> None:
    place.write_bytes(PHOTOS[3])
    place.chmod(0)


def closed_folder(place: Path) -> None:
    place.mkdir()
    (place / "1.jpg").write_bytes(PHOTOS[0])
    place.chmod(0)


CONTENTS: dict[str, Callable[[Path], None]] = {
    "photo": put(PHOTOS[0]),
    "another photo": put(PHOTOS[1]),
    "half": put(PHOTOS[0][: len(PHOTOS[0]) // 2]),
    "no photo": put(b"<html>"),
    "empty": put(b""),
    "damaged": put(PHOTOS[1][:40] + b"\xff" * 60 + PHOTOS[1][100:]),
    "pipe": os.mkfifo,
    "socket": bind,
    "before 1677": of_time(-11_644_473_600),
    "after 2262": of_time(15_000_000_000),
    "unreadable": unreadable,
    "closed": closed_folder,
    "to the top": lambda place: place.symlink_to(place.parent.parent),
    "to itself": lambda place: place.symlink_to(place.name),
    "nowhere": lambda place: place.symlink_to("gone"),
    "outside": lambda place: place.symlink_to(ROOT / "docs"),
    "outside file": lambda place: place.symlink_to(ROOT / "README.md"),
    "beside": lambda place: place.symlink_to("a.jpg"),
    "patterns": put(b"b*\n!bb.jpg\n/c/\n[z-a]\n"),
    "folder": lambda place: place.mkdir(),
}
FOLDER_NAMES = st.sampled_from(["a", "b", "c", "@eaDir", ".hidden", "x.photoslibrary", "f\nold", "cafe\u0301"])
FILE_NAMES = st.one_of(
    st.sampled_from(["a.jpg", "b.JPG", "bb.jpg", "c.xmp", "d.json", ".e.jpg", "noending", "Thumbs.db"]),
    st.just(".sketchseekignore"),
    st.binary(min_size=1, max_size=5).map(lambda raw: os.fsdecode(re.sub(rb"[/\0]", b"_", raw) + b".jpg")),
)
FILES = st.tuples(st.lists(FOLDER_NAMES, max_size=3), FILE_NAMES, st.sampled_from(sorted(CONTENTS)))


@settings(
    max_examples=40,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink a failure would outlast the test's time
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(files=st.lists(FILES, max_size=14), later=st.lists(FILES, max_size=4))
def test_any_mix_of_odd_files_is_accounted_for(tmp_path, network, monkeypatch, files, later):
    root, gallery = tmp_path / "photos", tmp_path / "gallery"
    for place in (root, gallery):
        remove(place)
    root.mkdir()

    def make(parts, name, content):
        folder = root.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(folder / name):  # or a pipe would wait, and a link lead outside
            CONTENTS[content](folder / name)

    for one in files:
        make(*one)
    with monkeypatch.context() as patched:
        first = checked(build_gallery, root, gallery, network, patched)
        for one in later:
            make(*one)
        second = checked(lambda _root, *rest, **named: sync_gallery(*rest, **named), root, gallery, network, patched)
    assert first.photos == first.added
    assert second.photos >= second.indexed


def test_a_linked_photo_whose_folder_is_left_out_later(tmp_path, photos, network, monkeypatch):
    folder = photos / "c"
    folder.mkdir()
    write_photo(folder / "a.jpg", 90)
    (folder / "b.jpg").symlink_to("a.jpg")
    with monkeypatch.context() as patched:
        checked(build_gallery, photos, tmp_path / "g", network, patched)
        (photos / ".sketchseekignore").write_text("/c/\n")
        report = checked(
            lambda _root, *rest, **named: sync_gallery(*rest, **named), photos, tmp_path / "g", network, patched
        )
    assert report.removed == 2


def checked(build, root, gallery, network, patched):
    """The report of a build whose sums are right, both as reported and as told one by one."""
    folders, told = Folders(patched), list[Skipped]()
    options = BuildOptions(batch_size=8, workers=0, on_passed_over=told.append)
    report: BuildReport = build(root, gallery, network, options=options)
    assert report.indexed + len(report.skipped) + len(report.excluded) == report.seen == entries(root, folders.entered)
    kinds = Counter(one.kind is Kind.RULE for one in told)
    assert (kinds[False], kinds[True]) == (len(report.skipped), len(report.excluded))
    assert len({one.path for one in told}) == len(told), "none is named twice"
    assert all(one.reason for one in told)
    json.dumps(report.values()).encode()
    return report


def remove(place: Path) -> None:
    subprocess.run(["chmod", "-R", "u+rwx", str(place)], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(place, ignore_errors=True)


def test_a_share_that_is_lost_while_it_is_listed(tmp_path, photos, network, monkeypatch):
    build_gallery(photos, tmp_path / "g", network, options=OPTIONS)
    real = os.scandir

    class Lost:
        def __init__(self, place):
            self.listed, self.left = real(place), 2

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.listed.close()

        def __iter__(self):
            return self

        def __next__(self):
            self.left -= 1
            if self.left < 0:
                raise OSError(116, "Stale file handle")
            return next(self.listed)

    monkeypatch.setattr(
        os, "scandir", lambda place: Lost(place) if os.fsencode(place).endswith(b"/cat") else real(place)
    )
    report = sync_gallery(tmp_path / "g", network, options=OPTIONS)
    assert dict(report.skipped.named()) == {"cat": "unreadable folder: Stale file handle"}
    assert (report.removed, report.photos, report.indexed) == (0, 10, 7)


def test_many_sidecars_are_summed_up_in_bounded_memory():
    tally = Tally()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(90_000):
        tally.append(Skipped(f"folder/{number}.xmp", "not a photo, by its name's ending", Kind.NO_PHOTO))
        if number % 3 == 0:
            tally.append(Skipped(f"{number}.jpg", f"the image has {number} x {number} pixels"))
            tally.append(Skipped(f"{number}.odd{number}", "not a photo, by its name's ending", Kind.NO_PHOTO))
            tally.append(Skipped(f"{number}.jpg", f"reason {'x' * (number % 500)}"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000, "kB"
    assert len(tally) == 180_000
    assert sum(one.count for one in tally.reasons()) == 180_000
    assert len(tally.reasons()) <= 70
    sidecars = tally.reasons()[0]
    assert (sidecars.count, sidecars.endings[".xmp"]) == (120_000, 90_000)
    assert sum(sidecars.endings.values()) == 120_000
    assert OTHER_ENDINGS in sidecars.endings
    assert len(sidecars.endings) <= 40
    sizes = next(one for one in tally.reasons() if "pixels" in one.reason)
    assert sizes.count == 30_000, "numbers make no new reason"
    assert sizes.first == [f"{number}.jpg" for number in range(0, 3 * NAMED, 3)]
    assert OTHER_REASONS in tally.counts()
    assert len(json.dumps(tally.values())) < 50_000


def test_strict_minds_faults_and_not_sidecars(tmp_path, photos, network):
    strict = BuildOptions(workers=0, strict=True)
    (photos / "1.xmp").touch()
    (photos / ".hidden.jpg").touch()
    (photos / "@eaDir").mkdir()
    (photos / "up").symlink_to(photos)
    report = build_gallery(photos, tmp_path / "g", network, options=strict)
    assert (report.added, len(report.skipped), len(report.excluded)) == (10, 1, 3)
    for number in range(9):
        (photos / f"bad{number}.jpg").touch()
    with pytest.raises(
        PhotosSkippedError, match=r"9 files were skipped \(bad\d.jpg: empty file(; bad\d.jpg: empty file){4}; "
    ):
        build_gallery(photos, tmp_path / "g", network, options=strict)


@pytest.fixture
def run(tmp_path, network):
    save_checkpoint(network, tmp_path / "tiny.safetensors")

    def run(*arguments, **environment):
        common = ["--gallery", tmp_path / "g", "--checkpoint", tmp_path / "tiny.safetensors", "--device", "cpu"]
        result = CliRunner().invoke(cli, [*map(str, [*arguments, *common])], env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout) if "--json" in arguments else result.stdout

    return run


def test_the_command_line_prints_sums(run, tmp_path, photos):
    for number in range(300):
        (photos / f"{number}.xmp").touch()
    for number in range(7):
        (photos / f"empty{number}.jpg").touch()
    (photos / "cat" / "one\n.json").touch()
    (photos / "page.jpg").write_text("<html>")
    write_photo(photos / "@eaDir" / "1.jpg", 1)
    text = run("build", photos)
    lines = text.splitlines()
    assert "skipped 301, not a photo, by its name's ending: 300 .xmp, 1 .json" in lines
    assert any(line.startswith("skipped 7, empty file: empty") and line.endswith(", ...") for line in lines)
    assert any(line.startswith("skipped page.jpg: ") for line in lines)
    assert "excluded @eaDir: by default, @eaDir" in lines
    assert "309 skipped, 1 excluded" in lines[-1]
    assert len(lines) == 5
    values = run("build", photos, "--json", "--list-skipped", tmp_path / "all.jsonl")
    assert (values["unchanged"], values["skipped"]["count"], values["excluded"]["count"], values["seen"]) == (
        10,
        309,
        1,
        320,
    )
    assert values["skipped"]["reasons"][0] == {
        "reason": "not a photo, by its name's ending",
        "kind": "no photo",
        "count": 301,
        "endings": {".xmp": 300, ".json": 1},
        "first": values["skipped"]["reasons"][0]["first"],
    }
    listed = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert len(listed) == 310
    assert {"path": "@eaDir", "reason": "by default, @eaDir", "kind": "rule"} in listed


def test_patterns_on_the_command_line(run, photos):
    assert run("build", photos, "--exclude", "cat/", "--exclude", "dog/0*", "--json")["photos"] == 4
    assert run("sync", "--json")["photos"] == 4
    assert run("sync", "--exclude", "", "--json")["photos"] == 10
    assert run("sync", "--json", SKETCHSEEK_EXCLUDE="cat/, 8.jpg")["photos"] == 4
    assert run("sync", "--json", SKETCHSEEK_EXCLUDE="")["photos"] == 4, "an empty variable says nothing"
    assert run("add", "cat", "--exclude", "8.jpg", "--json")["photos"] == 9
    assert run("sync", "--json")["photos"] == 9


def test_a_list_that_cannot_be_written_stops_before_anything_is_done(run, tmp_path, photos):
    from model.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="name another file"):
        run("build", photos, "--list-skipped", tmp_path / "gone" / "all.jsonl")
    assert not (tmp_path / "g").exists()
