"""Photos per second of a build on Ray beside one in this process, in one run.

The first result says what starting costs; the rate counts from there on.

    python benchmarks/ray_build.py --photos PHOTOS --count 500 --ray-address 10.0.0.5:6379
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
import time
from pathlib import Path

from index_builder import BuildOptions, BuildProgress, build_gallery, verify_gallery
from index_builder.distributed.ray_engine import RayEngine
from index_builder.ingest.encoding_engine import EncodingEngine
from model.checkpoints.files import load_checkpoint
from model.networks.network import Network


def measure(folder: Path, place: Path, network: Network, engine: EncodingEngine | None) -> tuple[float, float, float]:
    """Seconds to the first result, photos per second after it, and seconds of the whole build."""
    told: list[tuple[float, BuildProgress]] = []
    began = time.perf_counter()
    options = BuildOptions(engine=engine, batch_size=16)
    report = build_gallery(
        folder, place, network, options=options, progress=lambda one: told.append((time.perf_counter(), one))
    )
    ended = time.perf_counter()
    assert report.added
    assert verify_gallery(place).whole
    first, progress = told[0]
    return first - began, (report.added - progress.done) / max(ended - first, 1e-9), ended - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos that every machine reaches")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--checkpoint", default="zse-lite")
    parser.add_argument("--ray-address")
    chosen = parser.parse_args()
    network = load_checkpoint(chosen.checkpoint, "cpu" if chosen.ray_address else "auto", "float32")
    with tempfile.TemporaryDirectory(dir=chosen.photos.parent) as temporary:
        folder = Path(temporary, "photos")
        folder.mkdir()
        found = (path for path in sorted(chosen.photos.rglob("*")) if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
        for number, path in enumerate(itertools.islice(found, chosen.count)):
            shutil.copyfile(path, folder / f"{number}{path.suffix}")
        rows = {
            "local": measure(folder, Path(temporary, "local"), network, None),
            "ray": measure(folder, Path(temporary, "ray"), network, RayEngine(chosen.ray_address, dtype="float32")),
        }
    print("| engine | first result, s | photos/s after it | whole build, s |\n|---|---:|---:|---:|")
    for name, (first, rate, whole) in rows.items():
        print(f"| {name} | {first:.1f} | {rate:.1f} | {whole:.1f} |")
    print(f"\nray / local: {rows['ray'][1] / rows['local'][1]:.2f} of the rate after the first result")


if __name__ == "__main__":
    main()
