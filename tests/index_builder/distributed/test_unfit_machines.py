"""Machines of a cluster that cannot do the work: the build ends and names them, and passes over no sound photo."""

from __future__ import annotations

import ast
import socket
from pathlib import Path

import pytest

from index_builder import BuildOptions, build_gallery
from index_builder.comparing.files_to_read import FileToRead
from index_builder.distributed import arrival, fitness, ray_engine
from index_builder.distributed.cluster import ClusterError, cluster_errors
from index_builder.gallery_errors import FolderAwayError
from index_builder.ingest import decode
from index_builder.photo_folders import MARKER, PhotoFolders
from tests.index_builder.distributed.here import EngineHere, ray_here  # noqa: F401 - a fixture
from tests.index_builder.pictures import write_photo

pytestmark = pytest.mark.usefixtures("ray_here")
HERE = socket.gethostname()


@pytest.fixture
def photos(tmp_path):
    for seed in range(8):
        write_photo(tmp_path / "photos" / f"{seed}.jpg", seed)
    return tmp_path / "photos"


@pytest.fixture
def build(photos, tmp_path, network):
    def start(there):
        options = BuildOptions(batch_size=4, workers=1, engine=EngineHere(there=there))
        return build_gallery(photos, tmp_path / "gallery", network, options=options)

    return start


@pytest.mark.parametrize("what", ["away", "empty", "without its marker"])
def test_a_machine_that_does_not_see_the_folder_ends_the_build(photos, build, what):
    (photos / MARKER).write_text("ours")
    aside = photos.with_name("aside")

    def there(number):
        if number is None and aside.exists():
            if photos.exists():
                photos.rmdir()
            aside.rename(photos)
        elif number is not None and what == "without its marker":
            (photos / MARKER).unlink()
        elif number is not None:
            photos.rename(aside)
            if what == "empty":
                photos.mkdir()

    with pytest.raises(ClusterError, match=f"{HERE}: the photos' folder {photos} ") as refused:
        build(there)
    assert {"away": "is not there", "empty": MARKER, "without its marker": MARKER}[what] in str(refused.value)


def test_a_folder_without_a_marker_that_is_empty_there_is_not_mounted(tmp_path):
    place = tmp_path / "photos"
    write_photo(place / "0.jpg", 0)
    (seen,) = fitness.seen_here(PhotoFolders.of(place))
    fitness.check_folder(seen)
    fitness.check_folder.cache_clear()
    (place / "0.jpg").unlink()
    with pytest.raises(FolderAwayError, match="not be mounted"):
        fitness.check_folder(seen)


def test_workers_need_no_folder_that_is_away_here(tmp_path):
    assert fitness.seen_here(PhotoFolders.of(tmp_path / "nowhere")) == ()


@pytest.fixture
def unreadable_there(monkeypatch):
    """Files of the first chunk cannot be read by workers, nor anywhere if they end in .bad."""
    real, working = decode._read, list[int]()

    def read(source, below, most):
        if working == [0] or below.endswith(b".bad.jpg"):
            raise FileNotFoundError(2, "No such file or directory")
        return real(source, below, most)

    monkeypatch.setattr(decode, "_read", read)
    return lambda number: working.__setitem__(slice(None), [] if number is None else [number])


def test_what_a_worker_cannot_read_is_read_here_before_it_is_believed(photos, build, unreadable_there):
    write_photo(photos / "9.bad.jpg", 9)
    report = build(unreadable_there)
    assert (report.added, len(report.skipped)) == (8, 1)
    assert "9.bad.jpg" in report.skipped.values()["reasons"][0]["first"]


def test_a_machine_that_cannot_read_many_files_ends_the_build(build, unreadable_there, monkeypatch):
    monkeypatch.setattr(ray_engine, "_MOST_READ_HERE", 2)
    with pytest.raises(ClusterError, match=rf"{HERE} .* cannot read \d\.jpg \(unreadable file: No such file"):
        build(unreadable_there)


def test_an_error_of_a_worker_ends_the_build_with_its_text(build, monkeypatch):
    def broken(*_):
        raise RuntimeError("this machine lacks something\nand more")

    monkeypatch.setattr("index_builder.distributed.stages.read_photo", broken)
    with pytest.raises(ClusterError, match=rf"{HERE}: .*RuntimeError: this machine lacks something\)"):
        build(lambda _: None)


def test_storage_that_cannot_be_opened_is_no_exception_of_a_photo(tmp_path, network, monkeypatch):
    def refuses(*_):
        raise FolderAwayError("needs an extra")

    monkeypatch.setattr(decode, "source_of", refuses)
    found = decode.read_photo(PhotoFolders.of(tmp_path), FileToRead(b"0.jpg"), network.preprocess)
    assert isinstance(found, decode.Failed)
    assert (found.unknown, found.skipped.reason) == (True, "needs an extra")


def reading(fingerprint):
    return arrival.ReadingThere(fingerprint, b"", None)({"chunk": 7, "data": b""})


def test_another_release_is_refused_by_both_stages(monkeypatch):
    encoding = arrival.EncodingThere(fingerprint="other", options=b"", network=None)
    row = {"chunk": 7, "data": b"", "failed": "", "node": ""}
    for answer in (reading("other"), encoding(row)):
        assert (answer["chunk"], answer["node"]) == (7, HERE)
        assert "another release" in answer["failed"]
    monkeypatch.delattr(fitness, "fingerprint")
    assert "another release" in reading("any")["failed"]


def test_the_first_stage_tells_what_the_second_must_not_try():
    encoding = arrival.EncodingThere(fingerprint="other", options=b"", network=None)
    row = {"chunk": 7, "data": b"", "failed": "told before", "node": "first"}
    assert encoding(row) == row


def test_the_fingerprint_follows_the_sources(monkeypatch, tmp_path):
    before = fitness.fingerprint()
    for name in ("model", "index_builder"):
        (tmp_path / name).mkdir()
    (tmp_path / "model" / "one.py").write_text("1")
    monkeypatch.setattr(fitness, "__file__", str(tmp_path / "index_builder" / "distributed" / "fitness.py"))
    fresh = fitness.fingerprint.__wrapped__
    first = fresh()
    (tmp_path / "model" / "one.py").write_text("2")
    assert len({before, first, fresh()}) == 3


def test_what_workers_unpack_first_needs_nothing_of_ours():
    tree = ast.parse(Path(arrival.__file__).read_text())
    assert {one.module for one in tree.body if isinstance(one, ast.ImportFrom)} == {
        *("__future__", "collections.abc", "typing")
    }
    assert [name.name for one in tree.body if isinstance(one, ast.Import) for name in one.names] == ["socket"]


class SilentError(Exception):
    """As Ray's own error of a run without results, which derives from nothing else."""


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("made no progress for 600s\nOperators", r"SilentError: made no progress for 600s\)"),
        (
            "The actor died because of an error raised in its creation task, \x1b[36mray::Map()\x1b[39m (pid=1)\n"
            "  File\nDeviceError: no cuda device\n",
            r"SilentError: DeviceError: no cuda device\)",
        ),
        ("refused s3://b?X-Amz-Signature=abc&a=1", r"refused s3://b\?X-Amz-Signature=\.\.\.&a=1\)"),
    ],
)
def test_whatever_ray_raises_is_an_error_of_the_cluster(said, shown):
    with pytest.raises(ClusterError, match=shown), cluster_errors():
        raise SilentError(said)
