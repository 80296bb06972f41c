"""How close a build comes to the network's bare forward pass, and how much memory it takes.

    python benchmarks/build.py                        # 640 x 480 JPEGs made for the purpose
    python benchmarks/build.py --photos DIR           # your own
    python benchmarks/build.py --memory 500 5000      # peak memory at 1x and 10x

Both sides run in turns in one process, on the same cores, with the same batch size and checkpoint (random weights of a
preset do as well: `--preset zse-lite`). The forward pass takes batches that lie ready in memory; the build reads files,
decodes, encodes, quantises, commits, forces to disk and takes checksums. On a busy machine, trust the ratio of CPU
seconds: what this process and those that decode for it used per photo.
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

from measure import Table, header, parser
from shared_options import add_network

# isort: split
import numpy as np
import torch
from PIL import Image

from index_builder import BuildOptions, build_gallery
from index_builder.comparing.files_to_read import FileToRead
from index_builder.ingest.decode import DecodedPhoto, read_photo
from index_builder.photo_folders import PhotoFolders
from model.checkpoints.files import load_checkpoint, resolve_device, resolve_dtype
from model.images.preprocess import normalised
from model.networks.network import Network
from model.networks.registry import build_network, preset

COLUMNS = {
    "turn": "turn",
    "forward_per_s": "forward pass, photos per s",
    "build_per_s": "build, photos per s",
    "share": "of the forward rate",
    "forward_cpu_ms": "forward, CPU ms per photo",
    "build_cpu_ms": "build, CPU ms per photo",
    "cpu_share": "by CPU time",
}


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
    if not arguments.preset:
        return load_checkpoint(arguments.checkpoint, arguments.device, arguments.dtype)
    device = resolve_device(arguments.device)
    # as a checkpoint is loaded, so that the bare side is as fast as it can be
    return build_network(preset(arguments.preset), seed=0).fold().cast(device, resolve_dtype(arguments.dtype, device))


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
        used = cpu_seconds()
        report = build_gallery(photos, Path(folder) / "gallery", network, options=options)
        return report.seconds / report.added, (cpu_seconds() - used) / report.added


def cpu_seconds() -> float:
    """Of this process and of those that it has ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def compare(network: Network, photos: Path, arguments: argparse.Namespace) -> None:
    options = BuildOptions(batch_size=arguments.batch, workers=arguments.workers, processes=arguments.processes)
    files = [path.relative_to(photos) for path in sorted(photos.rglob("*.*"))]
    folders = PhotoFolders.of(photos)
    started = time.perf_counter()
    decoded = [
        read_photo(folders, FileToRead(os.fsencode(path)), network.preprocess) for path in files[: arguments.batch]
    ]
    decode_ms = 1e3 * (time.perf_counter() - started) / len(decoded)
    pixels = [photo.pixels for photo in decoded if isinstance(photo, DecodedPhoto) and photo.pixels is not None]
    images = normalised(torch.from_numpy(np.stack(pixels)), network.preprocess).to(network.device, network.dtype)
    batches = max(1, len(files) // len(images))
    forward(network, images, 1)
    table = Table("build", f"Building a gallery of {len(files)} photos, batch {len(images)}", COLUMNS)
    table.keep(arguments, str(network.device))
    table.notes.append(f"Decoding a photo takes {decode_ms:.1f} ms of one thread.")
    for turn in range(arguments.turns):
        bare, built = forward(network, images, batches), build(network, photos, options)
        table.add(
            turn=turn + 1,
            forward_per_s=1 / bare[0],
            build_per_s=1 / built[0],
            share=bare[0] / built[0],
            forward_cpu_ms=1e3 * bare[1],
            build_cpu_ms=1e3 * built[1],
            cpu_share=bare[1] / built[1],
        )
    medians = {key: statistics.median(row[key] for row in table.rows) for key in COLUMNS if key != "turn"}
    table.add(turn="median", **medians)
    table.finish(arguments, str(network.device))


def peak_memory(arguments: argparse.Namespace) -> None:
    """Peak resident memory of builds of several sizes, each in a process of its own."""
    for count in arguments.memory:
        with tempfile.TemporaryDirectory() as folder:
            photos = Path(folder) / "photos"
            make_photos(photos, count)
            command = [sys.executable, __file__, "--build-only", "--photos", str(photos), "--preset", arguments.preset]
            command += ["--batch", str(arguments.batch)] if arguments.batch else []
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
    options = parser(__doc__)
    options.add_argument("--photos", type=Path, help="folder of photos; default: made for the purpose")
    options.add_argument("--count", type=int, default=384, help="photos to make")
    options.add_argument("--pixels", type=int, nargs=2, default=(640, 480), help="width and height of those")
    add_network(options, device="auto", random_weights=True)
    options.add_argument("--dtype", default="auto")
    options.add_argument("--batch", type=int, help="photos encoded at once; default: as a build chooses")
    options.add_argument("--workers", type=int, help="decoding threads; default: one per core")
    options.add_argument("--processes", type=int, help="processes that decode; default: as a build chooses; 0: none")
    options.add_argument("--turns", type=int, default=3)
    options.add_argument("--memory", type=int, nargs="*", help="measure memory at these numbers of photos instead")
    options.add_argument("--build-only", action="store_true", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.memory:
        peak_memory(arguments)
        return
    network = load(arguments)
    arguments.batch = BuildOptions(batch_size=arguments.batch).batch_for(network.device)
    if arguments.build_only:
        build_only(network, arguments.photos, arguments)
        return
    header(arguments, str(network.device))
    with tempfile.TemporaryDirectory() as folder:
        photos = arguments.photos
        if photos is None:
            photos = Path(folder) / "photos"
            make_photos(photos, arguments.count, tuple(arguments.pixels))
        compare(network, photos, arguments)


if __name__ == "__main__":
    main()
