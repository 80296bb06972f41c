"""Builds on two nodes of a real Ray cluster, of which one is killed in the middle, or cannot do the work.

`make ray` runs this, for it takes minutes.
"""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="ray is not installed")

from index_builder import BuildOptions, BuildProgress, build_gallery
from index_builder.distributed.cluster import ClusterError
from index_builder.distributed.ray_engine import RayEngine
from tests.index_builder.distributed.test_adopted_rows import assert_same, told
from tests.index_builder.pictures import write_photo

# Ray leaves sockets and pipes of its processes to the garbage collector.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # seconds where nothing else runs, minutes on a busy machine
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"),
]
ROOT = Path(__file__).parents[3]
STORE = 80 * 2**20
# Python runs it at the start of every process that finds it on its path.
UNFIT = """
import os, sys
kind = os.environ.get("SKETCHSEEK_UNFIT_NODE")
if kind == "incomplete":
    class Missing:
        def find_spec(self, name, path, target=None):
            if name.startswith("index_builder."):
                raise ImportError("no " + name)
    sys.meta_path.insert(0, Missing())
if kind == "unmounted":
    real = os.scandir
    def scandir(path="."):
        if os.path.basename(os.fspath(path)) == "photos":
            raise FileNotFoundError(2, "No such file or directory")
        return real(path)
    os.scandir = scandir
if kind == "deadly":
    def die(event, arguments):
        if event == "open" and "deadly.jpg" in repr(arguments[0]):
            os.kill(os.getpid(), 9)
    sys.addaudithook(die)
"""


@pytest.fixture
def cluster(monkeypatch, tmp_path, request):
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(UNFIT)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path / "path"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    )
    if kind := getattr(request, "param", ""):
        monkeypatch.setenv("SKETCHSEEK_UNFIT_NODE", kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster

        logging.getLogger("ray").setLevel(logging.CRITICAL)
        head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": STORE}
        cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()


def test_a_node_is_killed_and_the_gallery_is_that_of_a_build_here(cluster, tmp_path, network):
    photos, gallery = tmp_path / "photos", tmp_path / "gallery"
    for seed in range(60):
        write_photo(photos / ("cat" if seed % 2 else "dog") / f"{seed}.jpg", seed)
    write_photo(photos / "again.jpg", 3)
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xffno picture")
    other = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    killed = list[BuildProgress]()

    def kill_a_node(progress):
        if progress.done >= 12 and not killed:
            killed.append(progress)
            cluster.remove_node(other, allow_graceful=False)

    options = BuildOptions(batch_size=3, commit_photos=8, engine=RayEngine(cluster.address, dtype="float32"))
    report = build_gallery(photos, gallery, network, options=options, progress=kill_a_node)
    assert killed
    assert killed[0].done < 62
    expected = build_gallery(photos, tmp_path / "here", network, options=BuildOptions(batch_size=3, workers=1))
    assert told(report) == told(expected)
    assert_same(tmp_path / "here", gallery, network)


@pytest.mark.parametrize(
    ("kind", "told"),
    [("incomplete", "another release of Sketchseek"), ("unmounted", "photos is not there"), ("", "is not available")],
)
def test_a_machine_that_cannot_do_the_work_ends_the_build(cluster, tmp_path, network, kind, told):
    photos = tmp_path / "photos"
    for seed in range(24):
        write_photo(photos / f"{seed}.jpg", seed)
    if kind:
        cluster.add_node(num_cpus=1, object_store_memory=STORE, env_vars={"SKETCHSEEK_UNFIT_NODE": kind})
    engine = RayEngine(cluster.address, device="auto" if kind else "cuda", dtype="float32")
    with pytest.raises(ClusterError, match=told):
        build_gallery(photos, tmp_path / "gallery", network, options=BuildOptions(batch_size=1, engine=engine))


@pytest.mark.parametrize("cluster", ["deadly"], indirect=True)
def test_a_photo_that_kills_its_worker_costs_itself_alone(cluster, tmp_path, network):
    photos = tmp_path / "photos"
    for seed in range(6):
        write_photo(photos / f"{seed}.jpg", seed)
    write_photo(photos / "deadly.jpg", 7)
    options = BuildOptions(batch_size=2, engine=RayEngine(cluster.address, dtype="float32"))
    report = build_gallery(photos, tmp_path / "gallery", network, options=options)
    assert report.added == 6
    assert "each worker that decoded it was lost" in str(told(report))
