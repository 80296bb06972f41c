"""Several machines give the order that one gives: a bucket, a Ray cluster that loses a node, two replicas, Milvus.

    python -m tests.scale.whole [--photos 500] [--kills 20] [--seed 1]

1. Pictures are built into a bucket on a Ray cluster of two nodes. One node is killed in the middle.
2. The build is begun in further places of the bucket and killed with SIGKILL while it writes, at moments that the seed
   decides. The same command again ends with the same photos.
3. Two replicas serve the first gallery, with recall on a Milvus server.
4. Ten photos are removed. Both replicas are asked for that version. They give the ranking of a service that searches a
   gallery on disk, which one machine built from the same pictures.

It prints each step with its seconds. The exit code is 1 where anything differed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image, ImageDraw

from index_builder import GallerySnapshot, verify_gallery
from index_builder.object_storage.bucket_path import BucketPath
from model.checkpoints.files import load_checkpoint, save_checkpoint
from model.networks.registry import build_network
from model.presets import ZSE_TINY
from tests.index_builder.pictures import write_photo
from tests.paths import ROOT
from tests.scale.servers import BUCKET, object_store, replica

REMOVED, SKETCHES, TOP = 10, 8, 50
SKETCHSEEK = [sys.executable, "-c", "from app.cli import main; main()"]


class Setting:
    """Where everything lies.

    Args:
        folder: for all files.
        photos: how many pictures.
    """

    def __init__(self, folder: Path, photos: int) -> None:
        self.folder, self.photos = folder, folder / "photos"
        for seed in range(photos):
            write_photo(self.photos / f"{seed % 7}" / f"{seed}.jpg", seed, size=(96, 64))
        self.checkpoint = folder / "tiny.safetensors"
        save_checkpoint(build_network(ZSE_TINY, seed=0), self.checkpoint)
        self.identity = load_checkpoint(str(self.checkpoint), "cpu", "float32").identity
        self.environment: dict[str, str] = {
            "PYTHONPATH": str(ROOT),
            "SKETCHSEEK_CHECKPOINT": str(self.checkpoint),
            "SKETCHSEEK_DEVICE": "cpu",
            "SKETCHSEEK_DTYPE": "float32",
            "SKETCHSEEK_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A command of `sketchseek` that runs; its output goes to a file."""
        with (self.folder / "commands.log").open("ab") as log:
            return subprocess.Popen([*SKETCHSEEK, *arguments], stdout=log, stderr=log, env=self._variables())

    def run(self, *arguments: str) -> dict[str, Any]:
        """What a command printed as JSON. Ends this program where it failed."""
        done = subprocess.run(
            [*SKETCHSEEK, *arguments, "--json"], capture_output=True, check=False, env=self._variables()
        )
        if done.returncode:
            raise SystemExit(f"sketchseek {' '.join(arguments)} failed:\n{done.stderr.decode()[-3000:]}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def contents(self, gallery: str) -> dict[str, bytes]:
        """Photo id -> path."""
        snapshot = GallerySnapshot.load(gallery, self.identity)
        return {record.photo_id: record.raw_path for record in map(snapshot.photo, range(len(snapshot)))}

    def rankings(self, address: str, version: str) -> list[list[str]]:
        """The first photos that a service finds for each sketch, in a version or a later one."""
        found = []
        for number in range(SKETCHES):
            data = {"top_k": TOP, "candidates": 100, "min_version": version}
            for _ in range(100):
                files = {"sketch": ("s.png", drawing(self.folder / f"sketch-{number}.png", number))}
                answer = httpx2.post(f"{address}/search", files=files, data=data, timeout=60)
                if answer.status_code != 409:
                    break
                time.sleep(0.2)
            answer.raise_for_status()
            found.append([one["photo_id"] for one in answer.json()["results"]])
        return found

    def _variables(self) -> dict[str, str]:
        return {**os.environ, **self.environment}


def drawing(path: Path, number: int) -> bytes:
    """A drawing of lines, another one for every number."""
    if not path.exists():
        points = random.Random(number).choices(range(5, 75), k=12)
        image = Image.new("L", (80, 80), 255)
        ImageDraw.Draw(image).line(list(zip(points[::2], points[1::2], strict=True)), fill=0, width=3)
        image.save(path)
    return path.read_bytes()


@contextlib.contextmanager
def ray_cluster() -> Iterator[Any]:
    """Two nodes; the second is in `cluster.worker_nodes`."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster

        logging.getLogger("ray").setLevel(logging.CRITICAL)
        memory = 100 * 2**20
        head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": memory}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(num_cpus=1, object_store_memory=memory)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def build_and_lose_a_node(setting: Setting, gallery: str, cluster: Any) -> str:
    """Build on the cluster, and kill its second node once the first photos are in."""
    building = setting.begin(
        "gallery",
        "build",
        str(setting.photos),
        "--gallery",
        gallery,
        "--engine",
        "ray",
        "--ray-address",
        cluster.address,
    )
    killed = -1
    while building.poll() is None:
        if killed < 0 and (there := _photos(gallery)) > 0:
            killed = there
            (node,) = cluster.worker_nodes
            cluster.remove_node(node, allow_graceful=False)
        time.sleep(0.1)
    photos = len(setting.contents(gallery))
    if building.returncode or killed < 0:
        raise SystemExit(f"the build ended with {building.returncode}, a node was killed at {killed} photos")
    return f"{photos} photos, a node was killed at {killed}"


def kill_builds(setting: Setting, places: Callable[[int], str], kills: int, seed: int, expected: set[str]) -> str:
    """Kill builds at random moments while they write. Each gallery that gets finished must be whole.

    An undisturbed build says how long they write: from when one holds the lock until it ends.
    """
    moments, done, finished = random.Random(seed), 0, 0
    building, began = _begin_to_write(setting, places(0))
    building.wait()
    writes = time.monotonic() - began
    _check_finished(building, places(0), expected, setting)
    while done < kills:
        gallery = places(finished + 1)
        building, _ = _begin_to_write(setting, gallery)
        with contextlib.suppress(subprocess.TimeoutExpired):
            building.wait(moments.uniform(0.0, writes))
        if building.poll() is None:
            building.send_signal(signal.SIGKILL)
            building.wait()
            done += 1
            _let_the_lock_run_out(gallery)
        else:
            _check_finished(building, gallery, expected, setting)
            finished += 1
    building, _ = _begin_to_write(setting, places(finished + 1))
    building.wait()
    _check_finished(building, places(finished + 1), expected, setting)
    galleries = f"{finished + 1} galleries were finished"
    return f"{done} kills within the {writes:.1f} s that a build writes, {galleries}, nothing lost"


def _begin_to_write(setting: Setting, gallery: str) -> tuple[subprocess.Popen[bytes], float]:
    """A build that holds the gallery's lock by now, and the time when that was seen."""
    lock = BucketPath.parse(gallery) / "writer.lock"
    before = lock.read_bytes() if lock.is_file() else b""
    building = setting.begin("gallery", "build", str(setting.photos), "--gallery", gallery, "--wait", "90")
    while building.poll() is None and (lock.read_bytes() if lock.is_file() else b"") == before:
        time.sleep(0.02)
    return building, time.monotonic()


def _check_finished(building: subprocess.Popen[bytes], gallery: str, expected: set[str], setting: Setting) -> None:
    if building.returncode:
        raise SystemExit(f"a build ended with {building.returncode}, see commands.log")
    if set(setting.contents(gallery)) != expected or not verify_gallery(gallery).whole:
        raise SystemExit(f"{gallery} is not what an undisturbed build leaves")


def _let_the_lock_run_out(gallery: str) -> None:
    """Nobody waits a minute for each kill: the killed holder's time is over."""
    lock = BucketPath.parse(gallery) / "writer.lock"
    if lock.is_file():
        lock.write(json.dumps({**json.loads(lock.read_bytes()), "until": 1.0}).encode())


def _photos(gallery: str) -> int:
    try:
        from index_builder import Gallery

        return int(Gallery.open(gallery).dataset().count_rows())
    except Exception:  # it is being made
        return 0


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    started = time.monotonic()

    def say(what: str) -> None:
        sys.stdout.write(f"{time.monotonic() - started:6.1f} s  {what}\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        from tests.index_builder.index.milvus_process import MilvusProcess

        milvus = MilvusProcess(folder / "milvus")
        milvus.begin()
        stack.callback(milvus.stop)
        storage = stack.enter_context(object_store(folder))
        os.environ.update(storage)
        setting = Setting(folder, chosen.photos)
        setting.environment |= storage
        local, far = str(folder / "local"), f"s3://{BUCKET}/far"
        setting.run("gallery", "build", str(setting.photos), "--gallery", local)
        expected = setting.contents(local)
        say(f"one machine built {len(expected)} photos on its disk")
        with ray_cluster() as cluster:
            say("a cluster of two nodes runs")
            say(build_and_lose_a_node(setting, far, cluster))
        say(kill_builds(setting, lambda n: f"s3://{BUCKET}/killed-{n}", chosen.kills, chosen.seed, set(expected)))
        milvus.wait()
        recall = {
            "SKETCHSEEK_WRITES": "off",
            "SKETCHSEEK_RECALL": "milvus",
            "SKETCHSEEK_RECALL_URL": milvus.url,
            "SKETCHSEEK_RECALL_TOKEN": "root:Milvus",
        }
        there = {**setting.environment, **recall}
        replicas = [stack.enter_context(replica(["--gallery", far], folder, there)) for _ in range(2)]
        alone = stack.enter_context(replica(["--gallery", local], folder, setting.environment))
        say("two replicas and a service on disk answer")
        kinds = {httpx2.get(f"{one}/gallery", timeout=30).json()["recall"] for one in replicas}
        gone = sorted(expected)[:: max(1, len(expected) // REMOVED)][:REMOVED]
        versions = {
            place: setting.run("gallery", "remove", *gone, "--gallery", place)["version"] for place in (far, local)
        }
        rankings = [setting.rankings(one, versions[far]) for one in replicas]
        wanted = setting.rankings(alone, versions[local])
        same = rankings[0] == rankings[1] == wanted
        by_milvus = all(kind.startswith("milvus") for kind in kinds)
        clean = not set(gone) & {photo for ranking in rankings[0] for photo in ranking}
        outcome = "equal" if same else "NOT equal"
        say(f"recall by {kinds}: {SKETCHES} rankings of {TOP} after {len(gone)} deletions are {outcome}")
        return 0 if same and clean and by_milvus and set(setting.contents(far)) == set(setting.contents(local)) else 1


if __name__ == "__main__":
    sys.exit(main())
