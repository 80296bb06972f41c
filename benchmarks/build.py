"""How close a build comes to the network's bare forward pass, and how much memory it takes.

    python benchmarks/build.py                        # 640 x 480 JPEGs made for the purpose
    python benchmarks/build.py --photos DIR           # your own
    python benchmarks/build.py --memory 500 5000      # peak memory at 1x and 10x

Both sides run in turns in one process, on the same cores, with the same batch size and checkpoint (random weights of a
preset do as well: `--preset zse-lite`). The forward pass takes batches that lie ready in memory; the build reads files,
decodes, encodes, quantises, commits, forces to disk and takes checksums. On a machine that does other things as well,
trust the ratio of CPU seconds: what all threads of this process used per photo.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from PIL import Image

from index_builder import BuildOptions, build_gallery
from index_builder.decode import Job, read_photo
from model.checkpoint import load_checkpoint
from model.network import Network
from model.registry import build_network, preset


def make_photos(folder: Path, count: int, size: tuple[int, int] = (640, 480)) -> None:
    """JPEGs with coarse and fine structure, about as large on disk as photos of that size."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    distinct = min(count, 200)
    for number in range(count):
        path = folder / f"{number % 50}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        if number >= distinct:  # the same content under another name is another photo
            os.link(folder / f"{number % distinct % 50}" / f"{number % distinct}.jpg", path)
            continue
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
            size, Image.Resampling.BICUBIC
        )
        fine = rng.normal(0, 12, (size[1], size[0], 1))
        Image.fromarray(np.clip(np.asarray(coarse) + fine, 0, 255).astype(np.uint8)).save(path, quality=85)


def load(arguments: argparse.Namespace) -> Network:
    if arguments.checkpoint:
        return load_checkpoint(arguments.checkpoint, arguments.device, arguments.dtype)
    device = "cuda" if arguments.device == "auto" and torch.cuda.is_available() else arguments.device
    network = build_network(preset(arguments.preset), seed=0)
    return network.to("cpu" if device == "auto" else device, getattr(torch, arguments.dtype.replace("auto", "float32")))


def forward(network: Network, images: torch.Tensor, batches: int) -> tuple[float, float]:
    """Wall and CPU seconds per photo of `encode_photo` alone."""
    with torch.inference_mode():
        started, used = time.perf_counter(), time.process_time()
        for _ in range(batches):
            network.encode_photo(images).descriptor.cpu()
        photos = batches * len(images)
        return (time.perf_counter() - started) / photos, (time.process_time() - used) / photos


def build(network: Network, photos: Path, options: BuildOptions) -> tuple[float, float]:
    """Wall and CPU seconds per photo of a whole build, from the scan to the last commit."""
    with tempfile.TemporaryDirectory() as folder:
        used = time.process_time()
        report = build_gallery(photos, Path(folder) / "gallery", network, options=options)
        return report.seconds / report.added, (time.process_time() - used) / report.added


def compare(network: Network, photos: Path, arguments: argparse.Namespace) -> None:
    options = BuildOptions(batch_size=arguments.batch, workers=arguments.workers)
    files = [path.relative_to(photos) for path in sorted(photos.rglob("*.*"))]
    started = time.perf_counter()
    decoded = [read_photo(photos, Job(os.fsencode(path)), network.preprocess) for path in files[: arguments.batch]]
    decode_ms = 1e3 * (time.perf_counter() - started) / len(decoded)
    tensors = [tensor for photo in decoded if (tensor := getattr(photo, "tensor", None)) is not None]
    images = torch.stack(tensors).to(network.device, network.dtype)
    batches = max(1, len(files) // len(images))
    forward(network, images, 1)
    print(f"{len(files)} photos, batch {len(images)}, decoding {decode_ms:.1f} ms a photo")
    shares = []
    for turn in range(arguments.turns):
        bare, built = forward(network, images, batches), build(network, photos, options)
        shares.append((bare[0] / built[0], bare[1] / built[1]))
        print(
            f"turn {turn + 1}: forward {1 / bare[0]:7.1f} photos/s ({1e3 * bare[1]:.1f} CPU ms each), "
            f"build {1 / built[0]:7.1f} photos/s ({1e3 * built[1]:.1f} CPU ms each): "
            f"{shares[-1][0]:.0%} of the forward rate, {shares[-1][1]:.0%} by CPU time",
            flush=True,
        )
    wall, cpu = (statistics.median(values) for values in zip(*shares, strict=True))
    print(f"median: {wall:.0%} of the forward rate, {cpu:.0%} by CPU time")


def peak_memory(arguments: argparse.Namespace) -> None:
    """Peak resident memory of builds of several sizes, each in a process of its own."""
    for count in arguments.memory:
        with tempfile.TemporaryDirectory() as folder:
            photos = Path(folder) / "photos"
            make_photos(photos, count)
            command = [sys.executable, __file__, "--build-only", "--photos", str(photos), "--preset", arguments.preset]
            command += ["--batch", str(arguments.batch)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(f"{count:>8} photos: {output.strip()}", flush=True)


def build_only(network: Network, photos: Path, arguments: argparse.Namespace) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    folder = tempfile.mkdtemp()
    report = build_gallery(photos, Path(folder) / "g", network, options=BuildOptions(batch_size=arguments.batch))
    shutil.rmtree(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak {peak:.0f} MiB ({before:.0f} before the build), {report.added} added in {report.seconds:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of photos; default: made for the purpose")
    parser.add_argument("--count", type=int, default=384, help="photos to make")
    parser.add_argument("--checkpoint", default="", help="name or file; default: the preset with random weights")
    parser.add_argument("--preset", default="zse-lite")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, help="decoding threads; default: one per core")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="*", help="measure memory at these numbers of photos instead")
    parser.add_argument("--build-only", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        peak_memory(arguments)
        return
    network = load(arguments)
    if arguments.build_only:
        build_only(network, arguments.photos, arguments)
        return
    print(
        f"{len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} torch threads, load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as folder:
        photos = arguments.photos
        if photos is None:
            photos = Path(folder) / "photos"
            make_photos(photos, arguments.count)
        compare(network, photos, arguments)


if __name__ == "__main__":
    main()
