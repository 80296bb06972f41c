"""What needs no cluster: shares of machines, chunks that workers were lost with, and addresses that are wrong."""

from __future__ import annotations

import builtins
import socket
import sys
import time

import pytest

from index_builder.comparing.files_to_read import FileToRead
from index_builder.distributed.cluster import ClusterError, connected
from index_builder.distributed.machines import Machines
from index_builder.distributed.ray_engine import _settled
from index_builder.distributed.stages import ChunkDone
from index_builder.ingest.encoding_engine import EncodedElsewhere

FILES = [FileToRead(b"%d.jpg" % number) for number in range(6)]


def node(alive=True, **resources):
    return {"Alive": alive, "Resources": resources}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node(CPU=1.0)], Machines(encoders=1, gpus=0, threads=1, count=1)),
        ([node(CPU=2.0), node(CPU=2.0), node(alive=False, CPU=64.0)], Machines(2, 0, 2, 2)),
        ([node(CPU=16.0), node(CPU=16.0)], Machines(8, 0, 4, 2)),
        ([node(CPU=16.0, GPU=2.0), node(CPU=8.0)], Machines(2, 1, 1, 2)),
        ([node(CPU=0.5), node(CPU=1.0)], Machines(1, 0, 1, 1)),
    ],
)
def test_machines_share_what_is_alive(nodes, expected):
    assert Machines.of(nodes) == expected


def test_no_machine_to_work_with():
    with pytest.raises(ClusterError, match="ray start"):
        Machines.of([node(CPU=0.0), node(alive=False, CPU=8.0)])


class LosingRun:
    """Workers that do not survive some files, or none."""

    def __init__(self, deadly=(), lost_first=0, twice=False, short_of_memory=False):
        self.short_of_memory = short_of_memory
        self.deadly, self.lost, self.twice, self.sizes = set(deadly), lost_first, twice, []

    def results(self, chunks, at_once="all"):
        if self.short_of_memory and at_once != "one":
            return
        self.sizes.append([len(files) for files in chunks.values()])
        for number, files in list(chunks.items()):
            if self.lost > 0:
                self.lost -= 1
            elif not self.deadly & {file.raw_path for file in files}:
                for _ in range(1 + self.twice):
                    yield number, ChunkDone(EncodedElsewhere(photos=list(files)), [], "")


def settled(run, size=3):
    chunks = (FILES[start : start + size] for start in range(0, len(FILES), size))
    found = list(_settled(run, dict(enumerate(chunks))))
    done = [photo.raw_path for one in found for photo in one.photos]
    return done, [one for found_one in found for one in found_one.passed_over]


def test_a_lost_chunk_goes_again_and_one_done_twice_counts_once():
    run = LosingRun(lost_first=1, twice=True)
    done, failed = settled(run)
    assert sorted(done) == [file.raw_path for file in FILES]
    assert not failed
    assert run.sizes == [[3, 3], [3]]


def test_a_file_that_kills_every_worker_is_passed_over_and_stays_unknown():
    run = LosingRun(deadly=[b"4.jpg"])
    done, (failed,) = settled(run)
    assert len(done) == 5
    assert (failed.raw_path, failed.unknown) == (b"4.jpg", True)
    assert "lost" in failed.skipped.reason
    assert run.sizes == [[3, 3], [3], [1, 1, 1], [1]]


def test_a_file_that_only_others_beside_it_kill_is_not_to_blame():
    done, failed = settled(LosingRun(short_of_memory=True))
    assert (sorted(done), failed) == ([file.raw_path for file in FILES], [])


def test_where_several_chunks_are_lost_twice_no_file_is_tried_alone():
    run = LosingRun(deadly=[file.raw_path for file in FILES])
    with pytest.raises(ClusterError, match="every worker"):
        settled(run, size=1)
    assert len(run.sizes) == 2


def test_where_no_worker_works_no_file_is_to_blame():
    with pytest.raises(ClusterError, match="every worker"):
        settled(LosingRun(deadly=[file.raw_path for file in FILES]))


@pytest.mark.parametrize("address", ["nowhere", "host:port", "ray://10.0.0.1:10001", ":6379"])
def test_an_address_that_is_none(address):
    with pytest.raises(ClusterError, match="HOST:PORT"), connected(address):
        pass


def test_an_address_where_nobody_answers_is_refused_soon():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        began = time.monotonic()
        with (
            pytest.raises(ClusterError, match="no Ray cluster answers"),
            connected(f"127.0.0.1:{taken.getsockname()[1]}"),
        ):
            pass
    assert time.monotonic() - began < 10


def test_without_ray_a_sentence_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without_ray(name, *arguments):
        if name.split(".")[0] == "ray":
            raise ImportError(name)
        return real(name, *arguments)

    for name in [name for name in sys.modules if name.split(".")[0] == "ray"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(ClusterError, match=r"pip install 'sketchseek\[ray\]'"), connected(None):
        pass
