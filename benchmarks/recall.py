"""How long the recall stage takes, against FAISS's own flat index in the same run; and opening a gallery.

    python benchmarks/recall.py                       # 100 000 and 1 000 000 descriptors
    python benchmarks/recall.py --open 100000         # also opens a gallery of so many photos (takes 1.4 GB of disk)

Descriptors are synthetic: unit vectors, 500 around every centre, varying in 32 directions and a little in all, as those
of real photos lie around their categories. Times are of single queries, one after the other, with one OpenMP thread;
on a machine that does other things as well, the best one and the CPU time say most. "found" is the share of the exact
float32 search's candidates.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import numpy.typing as npt

from index_builder import GallerySnapshot, RecallSettings
from index_builder.decode import DecodedPhoto
from index_builder.gallery import GalleryMetadata
from index_builder.quantise import StoredTokens, TokenShape, record_of
from index_builder.recall import RecallIndex, build_index, lists_for, load_faiss
from index_builder.writer import open_writer
from model.network import CheckpointIdentity

faiss = load_faiss()
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Times = tuple[float, float, float, float]
CANDIDATES = 100
COMMIT = 4096


def descriptors(count: int, size: int, seed: int, photos: int | None = None) -> Floats:
    """[count, size] float32 unit vectors, about 500 around each centre; the same centres for every seed."""
    fixed = np.random.default_rng(0)
    directions = fixed.normal(size=(32, size)).astype(np.float32) / np.sqrt(32)
    centres = fixed.normal(size=(max(1, (photos or count) // 500), size)).astype(np.float32)
    rng = np.random.default_rng(seed)
    values = np.empty((count, size), dtype=np.float32)
    for start in range(0, count, 65536):
        number = min(65536, count - start)
        piece = centres[rng.integers(0, len(centres), number)]
        piece += rng.standard_normal((number, 32), dtype=np.float32) @ directions
        piece += 0.2 * rng.standard_normal((number, size), dtype=np.float32)
        values[start : start + number] = piece / np.linalg.norm(piece, axis=1, keepdims=True)
    return values


def milliseconds(search: Callable[[Floats], Rows], queries: Floats) -> tuple[Times, Rows]:
    """Best, median and 90th percentile of one query, its median CPU time, and all rows found."""
    times, used, found = [], [], []
    search(queries[:1])
    for query in queries:
        started, before = time.perf_counter(), time.thread_time()
        rows = search(query[None])
        times.append(1e3 * (time.perf_counter() - started))
        used.append(1e3 * (time.thread_time() - before))
        found.append(rows[0])
    return (min(times), float(np.median(times)), float(np.percentile(times, 90)), float(np.median(used))), np.stack(
        found
    )


def same(found: Rows, exact: Rows) -> float:
    """Share of the exact candidates that were found."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), exact.tolist(), strict=True)]))


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    photos: int
    name: str
    times: Times
    found: float
    bytes_per_photo: int
    built_s: float = 0.0

    def print(self) -> None:
        """Write it."""
        memory = f"{self.photos * self.bytes_per_photo / 2**20:9.0f}" if self.bytes_per_photo else " " * 9
        built = f"{self.built_s:9.1f}" if self.built_s else " " * 9
        times = "".join(f"{ms:8.2f} " for ms in self.times) + f"{self.found:7.4f}"
        print(f"{self.photos:>9} {self.name:<36} {times} {memory} {built}", flush=True)


def search(recall: RecallIndex, allowed: npt.NDArray[np.bool_] | None, query: Floats) -> Rows:
    return recall.search(query, CANDIDATES, allowed)[0]


def measure(count: int, size: int, number: int, *, ivf: bool) -> None:
    data, queries = descriptors(count, size, seed=1), descriptors(number, size, seed=2, photos=count)
    allowed = np.random.default_rng(3).random(count) < 0.1
    faiss.omp_set_num_threads(1)
    plain = faiss.IndexFlatIP(size)
    plain.add(data)
    selected = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little")))

    def search_plain(query: Floats, parameters: object = None) -> Rows:
        rows: Rows = plain.search(query, CANDIDATES, params=parameters)[1]
        return rows

    times, exact = milliseconds(search_plain, queries)
    Line(count, "FAISS IndexFlatIP, float32", times, 1.0, 4 * size).print()
    times, exact_filtered = milliseconds(lambda query: search_plain(query, selected), queries)
    Line(count, "   filtered to a tenth", times, 1.0, 0).print()
    for kind in ("flat", "ivf") if ivf else ("flat",):
        started = time.perf_counter()
        index = build_index(data, kind)
        built = time.perf_counter() - started
        for probes in (0.01, 0.02, 0.05) if kind == "ivf" else (1.0,):
            recall = RecallIndex(index, RecallSettings(probes=probes))
            name = "flat, half precision" if kind == "flat" else f"IVF, {lists_for(count)} lists, {probes:.0%} probed"
            times, found = milliseconds(partial(search, recall, None), queries)
            Line(count, name, times, same(found, exact), 2 * size, built).print()
            times, found = milliseconds(partial(search, recall, allowed), queries)
            Line(count, "   filtered to a tenth", times, same(found, exact_filtered), 0).print()


def measure_opening(count: int, shape: TokenShape) -> None:
    """Write a gallery of random photos, open it twice, and read the tokens of 100 candidates."""
    identity = CheckpointIdentity("synthetic", "0" * 64)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        metadata = GalleryMetadata("synthetic", identity.sha256, "synthetic", shape, 14, folder)
        rng = np.random.default_rng(0)
        started = time.perf_counter()
        with open_writer(path / "g", metadata) as writer:
            for start in range(0, count, COMMIT):
                rows = range(start, min(start + COMMIT, count))
                photos = [
                    DecodedPhoto(f"category{i % 200}/{i}.jpg".encode(), rng.bytes(32), 1, 1, 1, 640, 480, None)
                    for i in rows
                ]
                tokens = rng.integers(-127, 128, (len(rows), shape.tokens, shape.width), dtype=np.int8)
                scales = np.ones((len(rows), shape.tokens), dtype=np.float32)
                positions = np.zeros((len(rows), shape.tokens - 1), dtype=np.uint16)
                found = descriptors(len(rows), shape.descriptor, seed=start, photos=count)
                stored = StoredTokens(found, record_of(tokens, scales, positions))
                writer.put(photos, stored, replaces=False)
        print(f"\n{count} photos written in {time.perf_counter() - started:.1f} s (with checksums, forced to disk)")
        for _ in range(2):
            started = time.perf_counter()
            snapshot = GallerySnapshot.load(path / "g", identity, cache_bytes=2**30)
            query = descriptors(1, shape.descriptor, seed=7, photos=count)
            snapshot.recall(query, CANDIDATES)
            total, times = time.perf_counter() - started, snapshot.load_times
            print(
                f"opened and searched in {total:.2f} s: photo table {times.table_s:.2f} s, recall index "
                f"{'from the cache' if times.recall_cached else 'built and cached'} {times.recall_s:.2f} s"
            )
        started = time.perf_counter()
        tags = len(snapshot.tags)
        print(f"{tags} tags counted in {time.perf_counter() - started:.2f} s")
        measure_tokens(snapshot, path / "g", count)


def measure_tokens(snapshot: GallerySnapshot, gallery: Path, count: int) -> None:
    rng = np.random.default_rng(1)
    batches = [rng.choice(count, CANDIDATES, replace=False) for _ in range(20)]
    for name in ("disk, nothing cached", "page cache", "token cache"):
        times = []
        if name == "page cache":
            snapshot = GallerySnapshot.load(gallery, CheckpointIdentity("synthetic", "0" * 64), cache_bytes=0)
            for batch in batches:
                snapshot.encodings(batch)
        if name == "token cache":
            snapshot = GallerySnapshot.load(gallery, CheckpointIdentity("synthetic", "0" * 64), cache_bytes=2**30)
            for batch in batches:
                snapshot.encodings(batch)
        for batch in batches:
            if name.startswith("disk"):
                forget(gallery)
            started = time.perf_counter()
            snapshot.encodings(batch)
            times.append(1e3 * (time.perf_counter() - started))
        print(
            f"tokens of {CANDIDATES} candidates, {name:<20}: "
            f"median {np.median(times):6.2f} ms, max {max(times):6.2f} ms"
        )


def forget(gallery: Path) -> None:
    """Ask the system to drop the gallery's files from its page cache."""
    for path in gallery.rglob("*.lance"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--descriptor-size", type=int, default=256)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--ivf", action="store_true", help="also measure IVF")
    parser.add_argument("--open", type=int, default=0, metavar="PHOTOS", help="also open a gallery of so many photos")
    arguments = parser.parse_args()
    print(
        f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, FAISS {faiss.__version__}",
        file=sys.stderr,
    )
    if arguments.sizes:
        titles = f"{'best ms':>8} {'median':>8} {'p90':>8} {'CPU ms':>8} {'found':>7} {'MiB':>9} {'build s':>9}"
        print(f"{'photos':>9} {f'top {CANDIDATES} of one query':<36} {titles}")
    for count in arguments.sizes:
        measure(count, arguments.descriptor_size, arguments.queries, ivf=arguments.ivf)
    if arguments.open:
        measure_opening(arguments.open, TokenShape(50, 256, arguments.descriptor_size))


if __name__ == "__main__":
    main()
