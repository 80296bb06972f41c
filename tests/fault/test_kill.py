"""SIGKILL at seeded random moments: the last committed version is whole, and the same command again ends where an
undisturbed one does."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest

from index_builder import GallerySnapshot, build_gallery, verify_gallery
from index_builder.index.settings import RecallSettings
from index_builder.store.layout import POINTER
from tests.fault import jobs
from tests.fault.conftest import assert_part_of, assert_whole, contents
from tests.index_builder.pictures import write_photo

pytestmark = pytest.mark.timeout(600)  # seconds where nothing else runs, minutes on a busy machine
KILLS = {"build": 14, "add": 8, "sync": 10, "move": 12, "rebuild": 10, "cache": 20}
IN_A_ROW = 4
"""Kills one upon another, then the job may finish."""
PHOTOS = 16


def make_photos(root, seeds, shift=0):
    for seed in seeds:
        write_photo(place(root, seed), seed + shift)


def place(root, seed):
    return root / ("cat" if seed % 2 else "dog") / f"{seed}.jpg"


@pytest.fixture
def setting(tmp_path, request):
    """The job, the folder it works on, and the gallery it starts from."""
    job = request.param
    root, start = tmp_path / "photos", tmp_path / "start"
    start.mkdir()
    make_photos(root, range(6 if job == "add" else 80 if job == "cache" else PHOTOS))  # 80 are enough to train IVF
    if job == "move":
        for name in ("x", "y", "z"):
            write_photo(root / f"equal-{name}.jpg", 300)
    if job != "build":
        build_gallery(root, start, jobs.NETWORK, options=jobs.OPTIONS)
    if job == "add":
        make_photos(root, range(6, PHOTOS))
    if job == "sync":  # a third each is new, changed, gone
        make_photos(root, range(PHOTOS, PHOTOS + 5))
        make_photos(root, range(5), shift=100)
        for seed in range(5, 10):
            place(root, seed).unlink()
    if job == "move":
        move_photos(root)
    return job, root, start


def move_photos(root):
    """A folder is renamed, photos swap names or are renumbered, equal photos move, one is copied, one new, one gone."""
    (root / "cat").rename(root / "lion")
    dog = root / "dog"
    (dog / "0.jpg").rename(dog / "aside")
    (dog / "2.jpg").rename(dog / "0.jpg")
    (dog / "aside").rename(dog / "2.jpg")
    for seed in (10, 8, 6, 4):
        (dog / f"{seed}.jpg").rename(dog / f"{seed + 2}.jpg")  # the last one takes the place of number 12
    for name in ("x", "y", "z"):
        (root / f"equal-{name}.jpg").rename(dog / f"equal-{name}.jpg")
    shutil.copy(dog / "0.jpg", root / "copy.jpg")
    write_photo(dog / "4.jpg", 200)
    (root / "lion" / "1.jpg").unlink()


@pytest.mark.parametrize("many", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["few", "many"])
@pytest.mark.parametrize("setting", KILLS, indirect=True)
def test_kill(setting, tmp_path, runner, *, many):
    job, root, start = setting
    kills = KILLS[job] if many else IN_A_ROW
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(start, undisturbed)
    finished = runner.run(job, root, undisturbed)
    assert finished.word == "done"
    identity = (jobs.OTHER if job == "rebuild" else jobs.NETWORK).identity
    expected = contents(undisturbed, identity)
    allowed = [expected]
    if (start / POINTER).exists():
        allowed.append(contents(start, jobs.NETWORK.identity))

    rng = random.Random(f"kill {job}")
    killed = early = 0
    gallery = tmp_path / "gallery"
    while killed < kills:
        if not gallery.exists():
            shutil.copytree(start, gallery)
        outcome = runner.run(job, root, gallery, kill_after_s=rng.uniform(0, finished.seconds))
        if outcome.word is None:
            killed += 1
        else:
            early += 1
            assert outcome.word == "done"
            assert early < 60, "the kills come too late"
        if (gallery / POINTER).exists():
            assert_whole(gallery)
            # Killed after its switch it is rebuilt, and another run may then rebuild it once more.
            rebuilt = job == "rebuild" and (gallery / POINTER).read_bytes() != (start / POINTER).read_bytes()
            now = contents(gallery, (jobs.OTHER if rebuilt else jobs.NETWORK).identity)
            if job == "rebuild":
                reference = expected if rebuilt else contents(start, jobs.NETWORK.identity)
                assert now.keys() == reference.keys()
                assert_part_of(now, reference)
            else:
                assert_part_of(now, *allowed)
        else:
            assert job == "build"
        if outcome.word == "done" or killed % IN_A_ROW == 0:
            if not (job == "rebuild" and outcome.word == "done"):
                assert runner.run(job, root, gallery).word == "done"
            assert_finished(job, gallery, undisturbed, identity)
            shutil.rmtree(gallery)


def assert_finished(job, gallery, undisturbed, identity):
    now = contents(gallery, identity)
    expected = contents(undisturbed, identity)
    assert now.keys() == expected.keys()
    assert_part_of(now, expected)
    report = verify_gallery(gallery, sample=1000)
    assert report.whole, report.problems
    assert not [path for path in gallery.rglob("*") if path.suffix == ".tmp"]
    if job == "cache":
        for kind in jobs.KINDS:
            settings = RecallSettings(kind=kind, probes=1.0)
            snapshots = [GallerySnapshot.load(path, identity, recall=settings) for path in (gallery, undisturbed)]
            query = snapshots[0].descriptors([7, 40])
            rows, scores = zip(*(snapshot.recall(query, 10) for snapshot in snapshots), strict=True)
            assert rows[0].tolist() == rows[1].tolist()
            np.testing.assert_array_equal(*scores)
