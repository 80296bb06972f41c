"""Files appear whole or not at all, readable like any other, and what killed writers leave can be told apart."""

import errno
import os
import stat
import subprocess
import sys

import pytest
from safetensors.numpy import save_file

from model.whole_file import leftovers, remove_leftovers, whole_file, write_whole
from tests.paths import ROOT

KILLED = """
import os, signal, sys
from pathlib import Path
from model.whole_file import whole_file
with whole_file(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "target.json"
    path.write_text("before")
    return path


def names(path):
    return sorted(other.name for other in path.parent.iterdir())


def test_the_target_is_the_old_file_until_it_is_the_new_one(target):
    with whole_file(target) as temporary:
        temporary.write_text("af")
        assert target.read_text() == "before"
        temporary.write_text("after")
    assert target.read_text() == "after"
    assert names(target) == ["target.json"]


@pytest.mark.parametrize("content", [b"\xc3\xa4", "ä"])
def test_bytes_and_text(target, content):
    write_whole(target, content)
    assert target.read_bytes() == b"\xc3\xa4"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(target, error):
    def write_half():
        with whole_file(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert target.read_text() == "before"
    assert names(target) == ["target.json"]


def test_a_disk_that_fills_while_the_file_is_forced_to_it(target, monkeypatch):
    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(target, "after")
    assert target.read_text() == "before"
    assert names(target) == ["target.json"]


def test_file_and_folder_are_forced_to_disk_around_the_rename(target, monkeypatch):
    forced = []

    def record(handle):
        status = os.fstat(handle)
        kind = "folder" if stat.S_ISDIR(status.st_mode) else "file"
        forced.append((kind, target.read_text()))

    monkeypatch.setattr(os, "fsync", record)
    write_whole(target, "after")
    assert forced == [("file", "before"), ("folder", "after")]


def test_others_may_read_the_file_even_if_its_writer_made_it_private(target):
    import numpy as np

    usual = stat.S_IMODE(target.stat().st_mode)
    with whole_file(target) as temporary:
        save_file({"a": np.zeros(1)}, temporary)
        temporary.chmod(0o600)
    assert stat.S_IMODE(target.stat().st_mode) == usual


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "missing" / "file", "")


def test_a_name_as_long_as_file_systems_allow(tmp_path):
    write_whole(tmp_path / ("n" * 255), "")
    assert (tmp_path / ("n" * 255)).is_file()


def test_only_what_a_killed_writer_left_is_removed(target):
    status = subprocess.run([sys.executable, "-c", KILLED, str(target)], cwd=ROOT, check=False).returncode
    assert status < 0
    (target.parent / "mine.tmp").touch()
    (target.parent / ".hidden.tmp").touch()
    assert target.read_text() == "before"
    assert [path.read_text() for path in leftovers(target.parent)] == ["half"]
    remove_leftovers(target.parent)
    assert names(target) == [".hidden.tmp", "mine.tmp", "target.json"]
