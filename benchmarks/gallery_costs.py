"""Measures what a photo costs to encode and to keep, in time, memory and on disk; and what HTTP adds to a search."""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from measure import CLOCKS, take_turns

# isort: split
import numpy as np
import torch
from build import make_photos
from galleries import descriptors, random_records, shape_of, write_gallery
from load import Client, Work
from material import draw_sketches
from scale import size_on_disk
from serve import sketches_in
from services import serving

from index_builder import GallerySnapshot, build_gallery
from index_builder.comparing.files_to_read import FileToRead
from index_builder.ingest.decode import read_photo
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import PhotoFile, photo_id
from index_builder.store.metadata import GalleryMetadata
from index_builder.store.opening_writer import open_writer
from index_builder.store.quantise import StoredTokens, TokenShape
from model.networks.network import CheckpointIdentity, Network

_SYNTHETIC = CheckpointIdentity("synthetic", "0" * 64)
_PEAK = Path("/proc/self/clear_refs")
_COMMIT = 256  # photos, as a build commits them
_BATCH = 32  # photos, as a build encodes them


def build_times(network: Network, arguments: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of one photo: each step of a build, and a whole build with all its threads."""
    clock = CLOCKS[arguments.clock]
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        make_photos(photos, arguments.built)
        files = [FileToRead(os.fsencode(path.relative_to(photos))) for path in sorted(photos.rglob("*.jpg"))]
        folders, some = PhotoFolders.of(photos), files[: min(8, len(files))]
        image = torch.zeros(_BATCH, 3, network.preprocess.image_size, network.preprocess.image_size)
        images = image.to(network.device, network.dtype)
        sides: dict[str, Callable[[], object]] = {
            "decode": lambda: [read_photo(folders, file, network.preprocess) for file in some],
            "encode": lambda: bool(network.encode_photo(images).descriptor.cpu().isnan().any()),
        }
        turns = take_turns(sides, arguments.rounds, clock=clock)
        started = clock()
        report = build_gallery(photos, Path(folder) / "gallery", network)
        whole = 1e3 * (clock() - started) / report.added
        commit = _commit_ms(Path(folder) / "committed", shape_of(network), arguments)
    # Milliseconds of one core: the clock of the CPU sums its threads already.
    cores = 1 if arguments.clock == "cpu" else torch.get_num_threads()
    return {
        "decode_photo_ms": turns.ms("decode", len(some)),
        "encode_photo_ms": cores * turns.ms("encode", _BATCH),
        "commit_ms": commit,
        "build_ms": whole,
    }


def _commit_ms(folder: Path, shape: TokenShape, arguments: argparse.Namespace) -> float:
    rng, clock = np.random.default_rng(0), CLOCKS[arguments.clock]
    metadata = GalleryMetadata("synthetic", _SYNTHETIC.sha256, "synthetic", shape, 14, PhotoFolders.of(folder))
    took = []
    with open_writer(folder, metadata) as writer:
        for number in range(arguments.rounds + 1):
            photos = [PhotoFile(b"%d/%d.jpg" % (number, one), rng.bytes(32), 1, 1, 1, 4, 3) for one in range(_COMMIT)]
            ids = [photo_id(photo.raw_path, photo.content_hash) for photo in photos]
            stored = StoredTokens(
                descriptors(_COMMIT, shape.descriptor, seed=number), random_records(_COMMIT, shape, rng)
            )
            started = clock()
            writer.put(photos, ids, stored, replaces=False)
            took.append(1e3 * (clock() - started) / _COMMIT)
    return median(took[1:])


def disk_bytes(network: Network, arguments: argparse.Namespace) -> dict[str, float]:
    """Bytes of one photo's row on disk, by the bits of a token's values."""
    taken = {}
    for bits in (4, 8):
        with tempfile.TemporaryDirectory() as folder:
            write_gallery(Path(folder) / "g", arguments.stored, replace(shape_of(network), bits=bits), _SYNTHETIC)
            taken[str(bits)] = 1e6 * size_on_disk(Path(folder) / "g") / arguments.stored
    return taken


def table_bytes(size: int, arguments: argparse.Namespace) -> tuple[float, float]:
    """Bytes of one photo in an opened gallery, beside its flat index; and at most while it is opened, in all."""
    if not _PEAK.exists():
        raise SystemExit("memory is measured on Linux only; take the costs of another machine with --measured")
    with tempfile.TemporaryDirectory() as folder:
        shape = TokenShape(2, 4, size)  # tokens stay on disk, so their size does not matter
        write_gallery(Path(folder) / "few", 64, shape, _SYNTHETIC)
        write_gallery(Path(folder) / "many", arguments.opened, shape, _SYNTHETIC)
        GallerySnapshot.load(Path(folder) / "few", _SYNTHETIC, cache_bytes=0)  # what the first one takes once
        gc.collect()
        before = resident()
        _PEAK.write_text("5")  # the peak begins anew
        snapshot = GallerySnapshot.load(Path(folder) / "many", _SYNTHETIC, cache_bytes=0)
        peak = resident("VmHWM")
        snapshot.recall(descriptors(1, size, seed=7, photos=arguments.opened), 10)
        gc.collect()
        after = resident()
        del snapshot
    return max(0.0, (after - before) / arguments.opened - 2 * size), max(0.0, (peak - before) / arguments.opened)


def resident(what: str = "VmRSS") -> int:
    """Bytes of this process in memory: now, or "VmHWM", at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"this system does not tell {what}; see /proc/self/status")


def http_ms(gallery: Path, arguments: argparse.Namespace) -> tuple[float, float]:
    """Milliseconds that a search over HTTP takes beside its stages, and bytes of memory of the service.

    Args:
        gallery: to serve.
        arguments: of the script.
    """
    # without a token cache, as the stages were measured
    settings = {"SKETCHSEEK_TORCH_THREADS": str(arguments.threads), "SKETCHSEEK_TOKEN_CACHE_BYTES": "0"}
    with tempfile.TemporaryDirectory() as folder:
        draw_sketches(Path(folder) / "sketches")
        work = Work.of(sketches_in(Path(folder) / "sketches"), {"candidates": str(arguments.candidates)})
        with serving(gallery, checkpoint=arguments.checkpoint, device="cpu", settings=settings) as served:
            client = Client(served.port)
            for body in work.bodies[:3]:
                client.search(body)
            seen = [client.search(work.bodies[number % len(work.bodies)]) for number in range(arguments.searches)]
            client.close()
            memory = 1e6 * served.memory_mb
    if {one.status for one in seen} != {200}:
        raise SystemExit(f"the service answered {sorted({one.status for one in seen})}")
    beside = sorted(one.ms - sum(ms for name, ms in one.stages.items() if name != "total") for one in seen)
    # Of a busy machine, the lower quartile: the rest also waited for the others.
    return max(0.0, beside[len(beside) // 4] if arguments.clock == "cpu" else median(beside)), memory
