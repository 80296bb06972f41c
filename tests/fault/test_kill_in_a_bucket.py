"""SIGKILL of a command that writes to a gallery in a bucket: nothing is lost, and the same command again goes on.

Only requests that write change a bucket. So the moments are seeded ones of those: the server kills the process when one
has arrived, and then carries it out, or cuts it.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from index_builder import build_gallery, verify_gallery
from index_builder.gallery_errors import GalleryBusyError
from index_builder.object_storage.bucket_path import BucketPath
from index_builder.store.bucket_lock import bucket_lock
from index_builder.store.layout import POINTER
from index_builder.store.places import files_below
from tests.fault import jobs
from tests.fault.conftest import assert_part_of, assert_whole, contents
from tests.index_builder.pictures import write_photo
from tests.object_store import object_server, object_store  # noqa: F401 - fixtures

# ruff: noqa: F811 - fixtures by their names

pytestmark = pytest.mark.timeout(600)  # seconds where nothing else runs, minutes on a busy machine
KILLS = {"build": 2, "sync": 1, "rebuild": 1}
PHOTOS = 6


class KillAtRequest:
    """Kills the process that sends so many requests.

    Args:
        number: of the request, from 1.
        carried_out: whether the server still does what that request asks.
    """

    def __init__(self, number: int, *, carried_out: bool) -> None:
        self._number, self._status = number, None if carried_out else 0
        self._kill: Future[Callable[[], None]] = Future()
        self._requests = itertools.count(1)
        self.take = self._kill.set_result

    def __call__(self, _method: str, _path: str) -> int | None:
        if next(self._requests) != self._number:
            return None
        self._kill.result(60)()
        return self._status


# A rebuild on disk is killed in `test_kill.py`, too.
@pytest.fixture(params=["build", "sync", pytest.param("rebuild", marks=pytest.mark.slow)])
def setting(tmp_path, request):
    """The job, the folder it works on, and the gallery on disk that it starts from."""
    job = request.param
    root, start = tmp_path / "photos", tmp_path / "start"
    start.mkdir()
    for seed in range(PHOTOS):
        write_photo(root / f"{seed}.jpg", seed)
    if job != "build":
        build_gallery(root, start, jobs.NETWORK, options=jobs.OPTIONS)
    if job == "sync":  # a third each is new, changed, gone
        for seed in range(2):
            write_photo(root / f"{seed}.jpg", seed + 100)
            write_photo(root / f"{seed}-new.jpg", seed + 200)
            (root / f"{seed + 2}.jpg").unlink()
    return job, root, start


def test_kill(setting, tmp_path, runner, object_store):
    job, root, start = setting
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    identities = [jobs.NETWORK.identity, (jobs.OTHER if job == "rebuild" else jobs.NETWORK).identity]
    shutil.copytree(start, tmp_path / "on disk")
    assert runner.run(job, root, tmp_path / "on disk").word == "done"
    before = contents(start, identities[0]) if job != "build" else {}
    after = contents(tmp_path / "on disk", identities[1])

    gallery = copied(start, object_store)
    object_store.requests.clear()
    assert runner.run(job, root, str(gallery), environment=environment).word == "done"
    writes = [number for number, sent in enumerate(object_store.requests, 1) if not sent.startswith(("GET ", "HEAD "))]
    assert_finished(gallery, identities[1], after)

    rng = random.Random(f"kill in a bucket: {job}")
    for _ in range(KILLS[job]):
        gallery = copied(start, object_store)
        began = (gallery / POINTER).read_bytes() if job != "build" else None
        kill = KillAtRequest(rng.choice(writes), carried_out=rng.random() < 0.5)
        with object_store.failing(kill):
            outcome = runner.run(job, root, str(gallery), hand_kill_to=kill.take, environment=environment)
        assert outcome.word is None, "it was done before it was killed"
        if (gallery / POINTER).is_file():
            assert_whole(str(gallery))
            switched = job == "rebuild" and (gallery / POINTER).read_bytes() != began
            now = contents(str(gallery), identities[switched])
            assert job != "rebuild" or now.keys() == before.keys()
            assert_part_of(now, after if switched else before, *([] if job == "rebuild" else [after]))
        else:
            assert job == "build"
        end_hold(gallery)
        assert runner.run(job, root, str(gallery), environment=environment).word == "done"
        assert_finished(gallery, identities[1], after)


def copied(start, object_store) -> BucketPath:
    """The gallery in a new bucket."""
    gallery = BucketPath.parse(f"s3://{object_store.bucket()}/some/gallery")
    for found in files_below(start):
        (gallery / found.name).write((start / found.name).read_bytes())
    return gallery


def end_hold(gallery: BucketPath) -> None:
    """Let the minute pass for which the killed process holds the lock, if it does."""
    lock = gallery / "writer.lock"
    note = json.loads(lock.read_bytes()) if lock.is_file() else {"until": 0}
    if note["until"]:
        with pytest.raises(GalleryBusyError), bucket_lock(lock, 0.0):
            pass
        lock.write(json.dumps(note | {"until": 1.0}).encode())


def assert_finished(gallery: BucketPath, identity, expected) -> None:
    now = contents(str(gallery), identity)
    assert now.keys() == expected.keys()
    assert_part_of(now, expected)
    report = verify_gallery(str(gallery), sample=1000)
    assert report.whole, report.problems
    assert json.loads((gallery / "writer.lock").read_bytes())["until"] == 0
