"""Machines that Sketchseek cannot run on, or not well: one sentence says so and what to do, and no traceback."""

import builtins
import ctypes
import errno
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli import COMMANDS
from app.network_folders import share_kind
from app.setup import doctor, photo_checks
from app.setup.doctor import examine
from index_builder import Gallery
from index_builder.photo_folders import PhotoFolders
from index_builder.store import processor
from index_builder.store.processor import ProcessorError, check_processor
from tests.app.conftest import settings_for

FLAGS = "flags\t\t: fpu sse4_2 avx {}\n"


def findings(settings, *checks):
    """What doctor says of these. A file that is no checkpoint is read sooner than one that is."""
    without = settings.model_copy(update={"checkpoint": __file__})
    return {one.check: one for one in examine(without) if one.check in checks}


# --- systems without Unix's modules


@pytest.mark.parametrize("missing", ["fcntl", "resource"])
@pytest.mark.parametrize("arguments", [[], ["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_without_the_modules_of_unix_every_command_is_one_sentence(missing, arguments):
    code = f"import sys; sys.modules[{missing!r}] = None; from app.cli import main; main({arguments!r})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert "WSL" in ended.stderr
    assert "container" in ended.stderr


def test_the_other_door_says_it_too():
    code = (
        "import sys, runpy; sys.modules['fcntl'] = None; sys.argv = ['index_builder', 'build'];"
        "runpy.run_module('index_builder', run_name='__main__')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "WSL" in ended.stderr


# --- processors without AVX2


@pytest.fixture
def old_processor(tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\n" + FLAGS.format("fma"))
    monkeypatch.setattr(processor, "_CPUINFO", file)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    check_processor.cache_clear()
    yield
    check_processor.cache_clear()


@pytest.fixture
def no_lance(monkeypatch):
    """Importing Lance is an error, as it would be the end of the process."""
    real = builtins.__import__

    def guarded(name, *given, **named):
        assert name.partition(".")[0] != "lance"
        return real(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", guarded)


@pytest.mark.usefixtures("old_processor", "no_lance")
def test_an_old_processor_is_told_before_lance_ends_the_process(shared_gallery, photos, network, tmp_path):
    from index_builder import build_gallery

    with pytest.raises(ProcessorError, match=r"has no AVX2.*virtual machine"):
        Gallery.open(shared_gallery).dataset()
    with pytest.raises(ProcessorError):
        build_gallery(photos, tmp_path / "new", network)
    found = findings(settings_for(shared_gallery, port=0), "processor")["processor"]
    assert found.verdict == "problem"
    assert "AVX2" in found.says


@pytest.mark.parametrize(
    ("text", "machine", "missing"),
    [
        (FLAGS.format("avx2 fma"), "x86_64", []),
        (FLAGS.format(""), "x86_64", ["avx2", "fma"]),
        (FLAGS.format("avx512f"), "x86_64", ["avx2", "fma"]),
        (FLAGS.format(""), "aarch64", []),
        ("Features\t: fp asimd\n", "x86_64", []),
        (None, "x86_64", []),
    ],
)
def test_what_a_processor_lacks(tmp_path, monkeypatch, text, machine, missing):
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(processor, "_CPUINFO", file)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert processor.missing_instructions() == missing


# --- folders of photos


def settings_of(tmp_path, shared_gallery, **changes):
    root = tmp_path / "library"
    for name in ("a", "b/c", "b/d"):
        (root / name).mkdir(parents=True)
    (root / "a" / "one.jpg").write_bytes(b"x")
    return settings_for(shared_gallery, photos=PhotoFolders.of(root), port=0, **changes), root


@pytest.fixture
def closed(monkeypatch):
    """Paths that this user may not read, whoever runs the tests."""
    paths: set[str] = set()
    scandir, access = os.scandir, os.access

    def refusing(place):
        if os.fsdecode(place) in paths:
            raise PermissionError(errno.EACCES, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refusing)
    monkeypatch.setattr(
        os, "access", lambda place, mode, **more: os.fsdecode(place) not in paths and access(place, mode, **more)
    )
    return paths


def test_a_folder_that_can_be_read_is_fine(tmp_path, shared_gallery, closed):
    settings, _ = settings_of(tmp_path, shared_gallery)
    found = findings(settings, "photos", "watching")
    assert closed == set()
    assert found["photos"].verdict == "ok"
    assert found["watching"].says.startswith("5 folders")


@pytest.mark.parametrize(
    ("shut", "verdict"),
    [("", "problem"), ("b/c", "warning"), ("a/one.jpg", "warning")],
    ids=["the folder", "one below", "a photo"],
)
def test_what_this_user_may_not_read_is_named(tmp_path, shared_gallery, closed, shut, verdict):
    settings, root = settings_of(tmp_path, shared_gallery)
    closed.add(str(root / shut))
    found = findings(settings, "photos")["photos"]
    assert found.verdict == verdict
    assert f"user {os.getuid()} may not read '{root / shut}'" in found.says
    assert "PUID" in found.mend


def test_what_the_gallery_leaves_out_may_be_closed_and_is_not_counted(tmp_path, shared_gallery, closed, monkeypatch):
    settings, root = settings_of(tmp_path, shared_gallery)
    before = findings(settings, "watching")["watching"].says
    for name in ("lost+found", "#recycle", ".Trash-1000", "@eaDir", "mine"):
        (root / name).mkdir()
        closed.add(str(root / name))
    (root / ".sketchseekignore").write_text("mine/\n")
    listed: list[object] = []
    scandir = os.scandir

    def counted(place):
        listed.append(place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", counted)
    found = findings(settings, "photos", "watching")
    assert found["photos"].verdict == "ok"
    assert found["watching"].says == before
    assert len(listed) == len(set(listed))


def test_the_first_few_are_named_and_the_rest_counted(tmp_path, shared_gallery, closed):
    settings, root = settings_of(tmp_path, shared_gallery)
    for number in range(7):
        (root / f"shut-{number}").mkdir()
        closed.add(str(root / f"shut-{number}"))
    found = findings(settings, "photos")["photos"]
    assert found.says.count("shut-") == 3
    assert "and 4 more" in found.says


def test_a_folder_that_is_not_there(tmp_path, shared_gallery):
    settings = settings_for(shared_gallery, photos=PhotoFolders.of(tmp_path / "gone"), port=0)
    found = findings(settings, "photos")["photos"]
    assert found.verdict == "problem"
    assert f"{tmp_path / 'gone'} is not there" in found.says


def test_a_folder_that_takes_no_uploads(tmp_path, shared_gallery, monkeypatch):
    settings, root = settings_of(tmp_path, shared_gallery, write_key="k")
    assert findings(settings, "photos")["photos"].verdict == "ok"
    access = os.access
    monkeypatch.setattr(os, "access", lambda place, mode: mode != os.W_OK and access(place, mode))
    found = findings(settings, "photos")["photos"]
    assert found.verdict == "warning"
    assert f"may not write to {root}: uploads are refused" in found.says


# --- the system's limits


def limits(tmp_path, monkeypatch, **values):
    for name, value in values.items():
        (tmp_path / name).write_text(f"{value}\n")
    monkeypatch.setattr(photo_checks, "INOTIFY", tmp_path)


def test_more_folders_than_the_system_watches(tmp_path, shared_gallery, monkeypatch):
    settings, _ = settings_of(tmp_path, shared_gallery)
    limits(tmp_path, monkeypatch, max_user_watches=4)
    found = findings(settings, "watching")["watching"]
    assert found.verdict == "warning"
    assert "5 folders" in found.says
    assert "sysctl fs.inotify.max_user_watches=524288" in found.mend
    limits(tmp_path, monkeypatch, max_user_watches=5)
    assert findings(settings, "watching")["watching"].verdict == "ok"


def test_no_instance_left(tmp_path, shared_gallery, monkeypatch):
    settings, _ = settings_of(tmp_path, shared_gallery)
    limits(tmp_path, monkeypatch, max_user_instances=128)

    class Exhausted:
        def inotify_init1(self, _flags):
            ctypes.set_errno(errno.EMFILE)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_given, **_named: Exhausted())
    found = findings(settings, "watching")["watching"]
    assert found.verdict == "warning"
    assert "inotify instances (128)" in found.says
    assert "sysctl" in found.mend


# --- network file systems

MOUNTED = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:40 / {place} rw shared:2 - {kind} server:/export rw
"""


@pytest.mark.parametrize(
    ("kind", "share"), [("nfs4", "nfs4"), ("cifs", "cifs"), ("fuse.sshfs", "fuse.sshfs"), ("ext4", None)]
)
@pytest.mark.parametrize("name", ["my share", "Müller", "back\\slash"])
def test_the_kind_of_file_system(tmp_path, kind, share, name):
    place = tmp_path / name
    (place / "below").mkdir(parents=True)
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTED.format(place=str(place).replace("\\", "\\134").replace(" ", "\\040"), kind=kind))
    assert share_kind(place / "below" / "not there yet", file) == share
    assert share_kind(tmp_path, file) is None


def test_a_gallery_and_photos_on_a_share(tmp_path, shared_gallery, monkeypatch):
    settings, root = settings_of(tmp_path, shared_gallery)
    kinds = {shared_gallery: "nfs", root: "cifs"}
    for module in (doctor, photo_checks):
        monkeypatch.setattr(module, "share_kind", kinds.get)
    found = findings(settings, "disk", "watching")
    assert {one.verdict for one in found.values()} == {"warning"}
    assert "nfs" in found["disk"].says
    assert "one machine" in found["disk"].mend
    assert "cifs" in found["watching"].says


def test_where_the_system_tells_nothing_nothing_is_claimed(tmp_path):
    assert share_kind(Path("/"), tmp_path / "none") is None


# --- the gallery's folder


@pytest.mark.parametrize(("exists", "verdict"), [(True, "warning"), (False, "problem")])
def test_a_gallery_that_cannot_be_written(tmp_path, shared_gallery, closed, exists, verdict):
    place = shared_gallery if exists else tmp_path / "new" / "gallery"
    closed.add(str(shared_gallery if exists else tmp_path))
    found = findings(settings_for(place, port=0), "disk")["disk"]
    assert found.verdict == verdict
    assert f"chown -R {os.getuid()}:{os.getgid()}" in found.mend
