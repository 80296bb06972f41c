"""The cache of search indices: what it keeps, what it drops, and several processes at once."""

from __future__ import annotations

import errno
import fcntl
import threading
import time

import pytest

from index_builder.index import recall_cache
from index_builder.index.cache_note import Origin
from index_builder.index.recall_cache import FOLDER, store
from index_builder.index.settings import RecallSettings
from index_builder.store.locks import CACHE_LOCK_NAME
from tests.index_builder.index.caches import HASH, IVF, opened, unit


def test_kinds_of_one_version_do_not_delete_each_other(tmp_path):
    """A service may search by codes what a command searches by lists."""
    descriptors = unit(300)
    opened(tmp_path, "1.1", descriptors)
    opened(tmp_path, "1.1", descriptors, IVF)
    assert opened(tmp_path, "1.1", descriptors)[1]
    assert opened(tmp_path, "1.1", descriptors, IVF)[1]
    opened(tmp_path, "1.1", descriptors, RecallSettings(kind="hash", hash_bits=16))
    assert opened(tmp_path, "1.1", descriptors, IVF)[1]
    assert len(list((tmp_path / FOLDER).iterdir())) == 5, "two notes and three files: other codes replace the first"
    other = unit(300, seed=3)
    opened(tmp_path, "1.2", other, IVF)
    names = {path.name.split("-")[0] for path in (tmp_path / FOLDER).glob("*.faiss")}
    assert names == {"1.2"}, "what is taken over is in the new file"
    opened(tmp_path, "2.1", other, IVF)
    assert {path.name.split("-")[0] for path in (tmp_path / FOLDER).iterdir()} == {"2.1"}


def test_whoever_finds_another_storing_goes_on_without(tmp_path, monkeypatch, caplog):
    """One has written its files and not yet their note when the other comes."""
    monkeypatch.setattr(recall_cache, "STORE_WAIT_S", 0.0)
    folder = tmp_path / FOLDER
    inside = []

    def beside(path):
        path.write_bytes(b"codes")
        index, cached = opened(tmp_path, "1.1", unit(300), IVF)
        inside.append((len(index), cached))

    note = store(folder, Origin("1.1", "s", "c"), "hash", {".first": beside, ".second": beside})
    assert inside == [(300, False), (300, False)]
    assert caplog.text.count("could not be written") == 2
    for suffix in (".first", ".second"):
        assert note.file(suffix).read_bytes() == b"codes"
    assert len(list(folder.iterdir())) == 3


def test_whoever_finds_another_storing_waits(tmp_path):
    """A service that starts beside another one keeps its index as well."""
    folder, begun = tmp_path / FOLDER, threading.Event()

    def slow(path):
        begun.set()
        time.sleep(0.3)
        path.write_bytes(b"codes")

    first = threading.Thread(target=store, args=(folder, Origin("1.1", "s", "c"), "hash", {".codes": slow}))
    first.start()
    assert begun.wait(10)
    opened(tmp_path, "1.1", unit(300), IVF)
    first.join()
    assert {path.stem for path in folder.glob("*.json")} == {"1.1-hash", "1.1-ivf"}
    assert opened(tmp_path, "1.1", unit(300), IVF)[1]


def test_leftovers_of_killed_writers_go_when_nobody_else_is_storing(tmp_path, monkeypatch):
    monkeypatch.setattr(recall_cache, "STORE_WAIT_S", 0.0)
    folder = tmp_path / FOLDER
    folder.mkdir()
    names = ["1.1-ivf-0.faiss", "1.1-ivf-1.faiss.tmp", "1.1-ivf.json.7.tmp"]
    for name in names:
        (folder / name).write_bytes(b"")

    def beside(path):
        path.write_bytes(b"codes")
        opened(tmp_path, "1.2", unit(300), IVF)
        assert all((folder / name).exists() for name in names), "any of them may be of whoever is storing"

    store(folder, Origin("1.2", "s", "c"), "hash", {".codes": beside})
    assert {path.name.split("-")[0] for path in folder.iterdir()} == {"1.2"}


def test_leftovers_go_also_where_nothing_has_to_be_stored(tmp_path):
    """A writer may be killed when its note is there and what it replaced is not gone yet."""
    folder = tmp_path / FOLDER
    opened(tmp_path, "1.1", unit(300), IVF)
    (folder / "1.1-ivf-1.faiss.tmp").write_bytes(b"")
    (folder / "1.2-hash.json").write_text("of another release")
    (folder / "1.2-hash-1.npy").write_bytes(b"")
    (folder / "@eaDir").mkdir()
    assert opened(tmp_path, "1.1", unit(300), IVF)[1]
    names = {path.name for path in folder.iterdir()}
    assert {"1.2-hash.json", "1.2-hash-1.npy", "@eaDir", "1.1-ivf.json"} < names
    assert len(names) == 5
    opened(tmp_path, "1.1", unit(300), HASH)
    assert "1.2-hash.json" not in {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("lacking", ["lock", "file"])
def test_where_nothing_can_be_locked_the_cache_works_and_leftovers_stay(tmp_path, monkeypatch, caplog, lacking):
    def flock(_handle, operation):
        if operation & fcntl.LOCK_EX:
            raise OSError(errno.ENOLCK, "no locks")

    if lacking == "file":
        (tmp_path / CACHE_LOCK_NAME).mkdir()
    else:
        monkeypatch.setattr("fcntl.flock", flock)
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "1.1-ivf-1.faiss.tmp").write_bytes(b"")
    for version in ("1.1", "1.2"):
        assert not opened(tmp_path, version, unit(300))[1]
        assert opened(tmp_path, version, unit(300))[1]
    assert {path.name.split("-")[0] for path in folder.iterdir()} == {"1.2", "1.1"}
    assert not list(folder.glob("1.1-hash*")), "what a note names is told apart without a lock"
    assert not caplog.records


def test_whoever_is_late_with_an_earlier_version_leaves_the_later_one(tmp_path):
    for one in (IVF, HASH):
        opened(tmp_path, "1.10", unit(310), one, source="t")
    for one in (IVF, HASH):
        opened(tmp_path, "1.9", unit(300), one)
    for one in (IVF, HASH):
        assert opened(tmp_path, "1.10", unit(310), one, source="t")[1]
        opened(tmp_path, "1.11", unit(320), one, source="u")
    assert {path.name.split("-")[0] for path in (tmp_path / FOLDER).iterdir()} == {"1.11"}


def test_another_gallery_under_the_same_version_is_not_kept(tmp_path):
    opened(tmp_path, "1.1", unit(300), checkpoint="c")
    opened(tmp_path, "1.1", unit(300), IVF, source="t", checkpoint="d")
    assert not list((tmp_path / FOLDER).glob("*-hash*"))


def test_another_user_may_serve_what_one_has_made(tmp_path):
    opened(tmp_path, "1", unit(300))
    plain = tmp_path / "plain"
    plain.touch()
    assert {path.stat().st_mode for path in (tmp_path / FOLDER).iterdir()} == {plain.stat().st_mode}
