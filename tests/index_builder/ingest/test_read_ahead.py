"""Reading ahead: the same photos from processes as from threads, whatever becomes of a process."""

import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from index_builder import BuildOptions, Gallery, build_gallery, sync_gallery
from index_builder.comparing.files_to_read import FileToRead
from index_builder.ingest import read_ahead
from index_builder.ingest.decode import DecodedPhoto, Failed, read_photo
from index_builder.ingest.guarded_encoding import GuardedEncoder
from index_builder.ingest.read_ahead import DecodingProcesses, read_ahead_in_chunks
from index_builder.photo_folders import PhotoFolders
from index_builder.scanning.passed_over import Skipped
from model.config import PreprocessConfig
from model.helper_processes import HelperLostError, HelperProcesses, HelpersClosedError
from model.images.decoding_memory import DecodingMemory
from model.images.opening import ImageLimits
from tests.index_builder.pictures import write_photo

THREADS = BuildOptions(batch_size=4, commit_photos=4, workers=2, processes=0)
PROCESSES = replace(THREADS, processes=2)
PREPROCESS = PreprocessConfig(image_size=32)


@pytest.fixture
def library(photos):
    """Photos, and what is none."""
    (photos / "empty.jpg").touch()
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"not really" * 9)
    (photos / "text.jpg").write_bytes(b"no picture at all")
    Image.fromarray(np.zeros((900, 900, 3), np.uint8)).save(photos / "large.png")
    Image.new("RGB", (300, 200), "red").save(photos / "wide.png")
    return photos


def stored(gallery):
    """Everything that a gallery has of each path in the order of its rows, but for ids and times of reading."""
    columns = ["path", "content_hash", "size", "width", "height", "descriptor", "tokens"]
    table = Gallery.open(gallery).dataset().to_table(columns=columns)
    return table.to_pylist()


def test_processes_make_the_same_gallery_as_threads(library, tmp_path, network, monkeypatch):
    apart: list[Skipped] = []
    alike: list[Skipped] = []
    expected = build_gallery(
        library, tmp_path / "threads", network, options=replace(THREADS, on_passed_over=alike.append)
    )
    here = []

    def read_here(folders, job, *arguments):
        result = read_photo(folders, job, *arguments)
        if isinstance(result, DecodedPhoto) and result.pixels is not None:
            here.append(job.raw_path)
        return result

    monkeypatch.setattr(read_ahead, "read_photo", read_here)
    memory = DecodingMemory(16_000_000)  # a share of 2 MB for each process
    options = replace(PROCESSES, limits=ImageLimits(together=memory), on_passed_over=apart.append)
    report = build_gallery(library, tmp_path / "processes", network, options=options)
    assert here == [b"large.png"], "what is larger than the share of a process is for a thread"
    assert stored(tmp_path / "processes") == stored(tmp_path / "threads")
    assert set(map(repr, apart)) == set(map(repr, alike))
    assert len(apart) == 3
    assert (report.added, expected.added) == (12, 12)
    with memory.pixels(12_000_000):  # all of it was given back
        pass


def test_a_known_content_is_not_decoded(library, tmp_path, network, monkeypatch):
    build_gallery(library, tmp_path / "g", network, options=THREADS)
    (library / "copy.png").write_bytes((library / "wide.png").read_bytes())
    seen = []
    monkeypatch.setattr(GuardedEncoder, "encode", lambda _self, photos: seen.append(photos))
    report = sync_gallery(tmp_path / "g", network, options=PROCESSES)
    assert report.added == 1
    assert not seen


def test_killed_processes_are_replaced_and_lose_no_photo(library, tmp_path, network, monkeypatch):
    monkeypatch.setattr(read_ahead, "_CHUNK", 2)
    started, popen = [], subprocess.Popen

    def start(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)

    ask, asked = HelperProcesses.ask, []

    def ask_and_kill(self, jobs):
        asked.append(jobs)
        if len(asked) == 4:  # of eight requests
            for helper in self._running.copy():
                if helper.ready:  # at work on a file, or between two; one that is killed before it begins is given up
                    helper.stop()
        return ask(self, jobs)

    monkeypatch.setattr(HelperProcesses, "ask", ask_and_kill)
    report = build_gallery(library, tmp_path / "g", network, options=PROCESSES)
    assert report.added == 12
    assert len(report.skipped) == 3
    assert 2 < len(started) <= 4


def test_a_file_that_ends_or_holds_up_its_process_costs_itself_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(read_ahead, "TASK", "tests.index_builder.ingest.decoding_tasks:mischief")
    monkeypatch.setenv("MARKS", str(tmp_path))
    names = ["1.jpg", "deadly.jpg", "unlucky.jpg", "2.jpg", "slow.jpg"]
    for number, name in enumerate(names):
        write_photo(tmp_path / "photos" / name, seed=number)
    jobs = [FileToRead(name.encode()) for name in names]
    with DecodingProcesses(PhotoFolders.of(tmp_path / "photos"), PREPROCESS, ImageLimits(), 1, 4) as decoding:
        results = list(read_ahead_in_chunks(jobs, decoding.read_many, workers=1, ahead=20))
    assert [result.raw_path.decode() for result in results] == names
    reasons = {one.raw_path.decode(): (one.skipped.reason, one.unknown) for one in results if isinstance(one, Failed)}
    assert reasons == {
        "deadly.jpg": ("decoding it crashed twice", True),
        "slow.jpg": ("reading it took longer than 4 seconds", True),
    }


@pytest.mark.parametrize("python", ["no such python", "false"])
def test_without_processes_threads_do_it(library, tmp_path, network, monkeypatch, caplog, python):  # noqa: PLR0917
    monkeypatch.setattr(sys, "executable", shutil.which(python) or str(tmp_path / python))
    report = build_gallery(library, tmp_path / "g", network, options=PROCESSES)
    assert report.added == 12
    warnings = [record.getMessage() for record in caplog.records if "in threads" in record.getMessage()]
    assert len(warnings) == 1


def lose_all(monkeypatch):
    """Every process dies of every request."""

    def lose(_self, _jobs):
        raise HelperLostError("gone")

    monkeypatch.setattr(HelperProcesses, "ask", lose)


def test_where_every_process_dies_of_its_first_files_threads_do_it(tmp_path, monkeypatch, caplog):
    names = [f"{number}.jpg" for number in range(5)]
    for number, name in enumerate(names):
        write_photo(tmp_path / name, seed=number)
    jobs = [FileToRead(name.encode()) for name in names]
    with DecodingProcesses(PhotoFolders.of(tmp_path), PREPROCESS, ImageLimits(), 1) as decoding:
        lose_all(monkeypatch)
        results = decoding.read_many(jobs)
        assert [type(result) for result in results] == [Failed] * 2 + [DecodedPhoto] * 3
    assert len(caplog.records) == 1
    with DecodingProcesses(PhotoFolders.of(tmp_path), PREPROCESS, ImageLimits(), 1) as decoding:
        with monkeypatch.context() as patch:
            patch.setattr(HelperProcesses, "ask", lambda _self, jobs: [None] * len(jobs))
            decoding.read_many(jobs[:1])
        results = decoding.read_many(jobs)
        assert [type(result) for result in results] == [Failed] * 5, "processes work, so these files are to blame"


def test_an_interrupted_build_waits_for_no_process(tmp_path):
    decoding = DecodingProcesses(PhotoFolders.of(tmp_path), PREPROCESS, ImageLimits(), 1)
    begun, given_up = threading.Event(), threading.Event()

    def read_many(jobs):
        begun.set()
        assert given_up.wait(20)
        return decoding.read_many(jobs)

    def give_up():
        decoding.give_up()
        given_up.set()

    def interrupted():
        yield from [FileToRead(b"1.jpg")] * 8
        begun.wait(20)
        raise KeyboardInterrupt

    with decoding, pytest.raises(KeyboardInterrupt):
        list(read_ahead_in_chunks(interrupted(), read_many, workers=1, ahead=20, give_up=give_up))
    assert given_up.is_set()
    with pytest.raises(HelpersClosedError):
        decoding.read_many([FileToRead(b"1.jpg")] * 2)


def test_processes_are_for_many_photos_on_many_cores():
    assert BuildOptions(workers=4).processes_for(10_000) == 4
    assert BuildOptions(workers=4).processes_for(100) == 0
    assert BuildOptions(workers=2).processes_for(10_000) == 0
    assert BuildOptions(workers=2, processes=3).processes_for(1) == 2
    assert BuildOptions(workers=0, processes=3).processes_for(1) == 0
    assert BuildOptions(workers=8, processes=0).processes_for(10_000) == 0


def test_results_come_in_order_and_never_too_many():
    at_work, most = set(), []
    lock = threading.Lock()

    def read_many(jobs):
        with lock:
            at_work.update(jobs)
            most.append(len(at_work))
        time.sleep(0.002 * (7 - jobs[0] % 7))
        return [job * 2 for job in jobs]

    results = []
    for result in read_ahead_in_chunks(iter(range(100)), read_many, workers=3, ahead=16):
        results.append(result)
        with lock:
            at_work.discard(result // 2)
    assert results == [job * 2 for job in range(100)]
    assert 16 < max(most) <= 16 + 4 * 8


def test_a_file_that_cannot_be_read_at_all_is_no_reason_to_stop(tmp_path):
    with DecodingProcesses(PhotoFolders.of(tmp_path), PREPROCESS, ImageLimits(), 1) as decoding:
        (gone,) = decoding.read_many([FileToRead(b"gone.jpg")])
        assert isinstance(gone, Failed)
        assert gone.unknown
        write_photo(tmp_path / "there.jpg", seed=1)
        (there,) = decoding.read_many([FileToRead(b"there.jpg")], is_known=lambda _: True)
        assert isinstance(there, DecodedPhoto)
        assert there.pixels is None
