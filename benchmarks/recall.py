"""How long the recall stage takes, beside FAISS's own flat index and the floor; and how long opening a gallery takes.

    python benchmarks/recall.py                       # 100 000 and 1 000 000 descriptors
    python benchmarks/recall.py --open 100000         # also opens a gallery of so many photos (takes 0.8 GB of disk)
    python benchmarks/recall.py --device cuda --ivf   # on the CPU, and on all GPUs

Descriptors are synthetic unit vectors, 500 around every centre. They vary in 32 directions and a little in all, as
those of real photos vary around their categories. Queries run one after the other on one OpenMP thread. On a busy
machine, the best time and the CPU time say most. "found" is the share of the candidates of exact float32 search. The
floor is the index's bytes at the rate of one thread that reads memory from end to end, or at which a GPU
copies within its memory. FAISS filters on the CPU alone.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from measure import Table, header, memory_rate, parser, read_rate
from shared_options import add_synthetic

# isort: split
import numpy as np
import numpy.typing as npt
from galleries import Floats, Rows, descriptors, write_gallery

from index_builder import GallerySnapshot, RecallSettings
from index_builder.index.candidate_index import Selection
from index_builder.index.faiss_search import load_faiss
from index_builder.index.flat_and_ivf import RecallIndex, build_index, lists_for
from index_builder.store.quantise import TokenShape
from model.networks.network import CheckpointIdentity

__all__ = ["descriptors", "milliseconds", "same"]

faiss = load_faiss()
Times = tuple[float, float, float, float]
Place = Literal["cpu", "gpu"]
CANDIDATES = 100
SYNTHETIC = CheckpointIdentity("synthetic", "0" * 64)
COLUMNS = {
    "photos": "photos",
    "index": "index",
    "best_ms": "best ms",
    "median_ms": "median ms",
    "p90_ms": "90th percentile",
    "cpu_ms": "CPU ms",
    "floor_ms": "floor ms",
    "of_floor": "median over floor",
    "found": "found",
    "memory_mib": "memory, MiB",
    "build_s": "build s",
}


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


class Lines:
    """Adds rows to the table.

    Args:
        table: gets them.
        reading: bytes per second of the CPU's memory, and of the GPU's.
    """

    def __init__(self, table: Table, reading: dict[Place, float]) -> None:
        self._table, self._reading = table, reading

    def add(
        self,
        photos: int,
        name: str,
        times: Times,
        found: float,
        *,
        size: int = 0,
        built_s: float | None = None,
        place: Place = "cpu",
    ) -> None:
        """One index, of `size` bytes per photo; 0 where a filter leaves most of them unread."""
        best, median, p90, cpu = times
        floor = 1e3 * photos * size / self._reading[place] if size else None
        self._table.add(
            photos=photos,
            index=name,
            best_ms=best,
            median_ms=median,
            p90_ms=p90,
            cpu_ms=cpu,
            floor_ms=floor,
            of_floor=None if floor is None else median / floor,
            found=found,
            memory_mib=photos * size / 2**20 if size else None,
            build_s=built_s,
        )


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def search(recall: RecallIndex, allowed: npt.NDArray[np.bool_] | None, query: Floats) -> Rows:
    return recall.search(query, CANDIDATES, None if allowed is None else Selection(allowed))[0]


def measure(lines: Lines, count: int, size: int, number: int, *, ivf: bool, places: Sequence[Place] = ("cpu",)) -> None:
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
    lines.add(count, "FAISS IndexFlatIP, float32", times, 1.0, size=4 * size)
    times, exact_filtered = milliseconds(lambda query: search_plain(query, selected), queries)
    lines.add(count, "FAISS, filtered to a tenth", times, 1.0)
    for kind in ("flat", "ivf") if ivf else ("flat",):
        started = time.perf_counter()
        faiss.omp_set_num_threads(cores())
        index = build_index(data, kind)
        faiss.omp_set_num_threads(1)
        built = time.perf_counter() - started
        for place, probes in itertools.product(places, (0.01, 0.02, 0.05) if kind == "ivf" else (1.0,)):
            recall = RecallIndex(index, RecallSettings(probes=probes, device=place))
            name = "flat, half precision" if kind == "flat" else f"IVF, {lists_for(count)} lists, {probes:.0%} probed"
            if place == "gpu":
                name = f"{name}, {recall.device}" + (f" ({recall.gpu_problem})" if recall.gpu_problem else "")
            times, found = milliseconds(partial(search, recall, None), queries)
            size_read = 2 * size if kind == "flat" else 0
            lines.add(count, name, times, same(found, exact), size=size_read, built_s=built, place=place)
            if place == "gpu":
                continue
            times, found = milliseconds(partial(search, recall, allowed), queries)
            lines.add(count, f"{name}, filtered to a tenth", times, same(found, exact_filtered))


def measure_opening(count: int, shape: TokenShape) -> None:
    """Write a gallery of random photos, open it three times, and read the tokens of 100 candidates."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        took = write_gallery(path / "g", count, shape, SYNTHETIC)
        print(f"\n{count} photos written in {took:.1f} s (with checksums, forced to disk)")
        for _ in range(3):
            started, used = time.perf_counter(), time.process_time()
            snapshot = GallerySnapshot.load(path / "g", SYNTHETIC, cache_bytes=2**30)
            query = descriptors(1, shape.descriptor, seed=7, photos=count)
            snapshot.recall(query, CANDIDATES)
            total, cpu, times = time.perf_counter() - started, time.process_time() - used, snapshot.load_times
            print(
                f"opened and searched in {total:.2f} s (CPU {cpu:.2f} s): photo table {times.table_s:.2f} s, "
                f"recall index {times.recall_s:.2f} s"
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
            snapshot = GallerySnapshot.load(gallery, SYNTHETIC, cache_bytes=0)
            for batch in batches:
                snapshot.encodings(batch)
        if name == "token cache":
            snapshot = GallerySnapshot.load(gallery, SYNTHETIC, cache_bytes=2**30)
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
    options = parser(__doc__)
    add_synthetic(options)
    options.add_argument("--ivf", action="store_true", help="also measure IVF")
    options.add_argument("--device", default="cpu", help="cuda measures on GPUs as well")
    options.add_argument("--open", type=int, default=0, metavar="PHOTOS", help="also open a gallery of so many photos")
    arguments = options.parse_args()
    device = arguments.device
    header(arguments, device)
    print(f"FAISS {faiss.__version__}")
    table = Table("recall", f"Top {CANDIDATES} of one query, one thread", COLUMNS).keep(arguments, device)
    reading: dict[Place, float] = {"cpu": read_rate()}
    table.extra["read_gb_per_s"] = reading["cpu"] / 1e9
    if device.startswith("cuda"):
        reading["gpu"] = memory_rate(device)
        table.extra["gpu_gb_per_s"] = reading["gpu"] / 1e9
    lines = Lines(table, reading)
    for count in arguments.sizes:
        size, number = arguments.descriptor_size, arguments.queries
        measure(lines, count, size, number, ivf=arguments.ivf, places=list(reading))
    table.finish(arguments, device)
    if arguments.open:
        measure_opening(arguments.open, TokenShape(50, 256, arguments.descriptor_size, bits=4))


if __name__ == "__main__":
    main()
