"""A whole query against the size of the gallery: every stage beside its floor, and what a photo takes.

    python benchmarks/scale.py                                # 1 000 to 1 000 000 photos
    python benchmarks/scale.py --sizes 1000 10000 --stored 2000

Recall searches as many synthetic descriptors as the gallery has photos. A gallery of random tokens lies on disk for
the sizes up to `--stored`; larger ones take their candidates' tokens from it, row number modulo its size, since a
record costs the same to read in a larger file. Queries are random images, so candidates differ from query to query.
Tokens come from the page cache with the token cache off, which is the slower of the two usual cases.

Floors: encoding and relating, their operations at the rate of one large matrix product with as many threads; recall,
its bytes at the rate of one thread that reads memory; tokens, the same for the candidates' records.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, cast

from measure import CLOCKS, Table, count_flops, header, parser, product_rate, read_rate
from shared_options import add_network

# isort: split
import torch
from galleries import SizedSnapshot, shape_of, write_gallery

from app.search.query_and_answer import Asked, Query
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot
from model.checkpoints.files import load_checkpoint
from model.networks.network import Network
from model.types import Encoding

COLUMNS = {
    "photos": "photos",
    "encode_ms": "encode ms",
    "recall_ms": "recall ms",
    "tokens_ms": "tokens ms",
    "relate_ms": "relate ms",
    "query_ms": "whole query ms",
    "p95_ms": "95th percentile",
    "floor_ms": "sum of floors ms",
    "of_floor": "times its floor",
    "memory_mb": "descriptors in memory, MB",
    "disk_mb": "on disk, MB",
}


def floors(network: Network, arguments: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of what does not depend on the size."""
    clock = CLOCKS[arguments.clock]
    rate, reading = product_rate(network.dtype, clock=clock), read_rate(clock)
    size = network.preprocess.image_size
    encode = count_flops(lambda: network.encode_sketch(torch.zeros(1, 3, size, size)))
    relate = count_flops(lambda: network.relate(blank(network, 1), blank(network, arguments.candidates)))
    tokens = arguments.candidates * shape_of(network).record_bytes
    return {
        "encode": 1e3 * encode / rate,
        "relate": 1e3 * relate / rate,
        "tokens": 1e3 * tokens / reading,
        "photo": 1e3 * 2 * network.descriptor_size / reading,
        "read_gb_per_s": reading / 1e9,
        "gflop_per_s": rate / 1e9,
    }


def blank(network: Network, count: int) -> Encoding:
    """Encodings of zeros."""
    descriptor = torch.zeros(count, network.descriptor_size)
    tokens = torch.zeros(count, network.photo_tokens, network.token_width, dtype=network.dtype)
    return Encoding(descriptor, tokens, torch.zeros(count, network.photo_tokens - 1, dtype=torch.int64))


def queries(
    searcher: TwoStageSearcher, snapshot: SizedSnapshot, arguments: argparse.Namespace
) -> dict[str, list[float]]:
    """Milliseconds of each stage of each query."""
    size = searcher.network.preprocess.image_size
    generator = torch.Generator().manual_seed(0)
    # all of them shown, so that all are related even where the score rule orders by recall alone
    wanted = Query(top_k=arguments.candidates, candidates=arguments.candidates)
    seen: dict[str, list[float]] = {stage: [] for stage in ("encode", "recall", "tokens", "relate", "query")}
    clock = snapshot.clock
    for number in range(arguments.queries + 3):
        image = torch.rand(1, 3, size, size, generator=generator) * 2 - 1
        snapshot.tokens_ms.clear()
        laps = [clock()]
        sketch = searcher.encode(image)
        laps.append(clock())
        (found,) = searcher.recall([Asked.of_sketch(sketch)], [wanted])
        laps.append(clock())
        searcher.rerank([sketch], [found], [wanted])
        laps.append(clock())
        if number < 3:
            continue
        encode, recall, rerank = (1e3 * (after - before) for before, after in itertools.pairwise(laps))
        tokens = sum(snapshot.tokens_ms)
        for stage, ms in (
            ("encode", encode),
            ("recall", recall),
            ("tokens", tokens),
            ("relate", rerank - tokens),
            ("query", encode + recall + rerank),
        ):
            seen[stage].append(ms)
    return seen


def size_on_disk(folder: Path) -> float:
    """Megabytes of all its files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    options.add_argument("--stored", type=int, default=20_000, help="most photos whose tokens are written")
    add_network(options)
    options.add_argument("--candidates", type=int, default=50)
    options.add_argument("--queries", type=int, default=40)
    options.add_argument("--folder", type=Path, help="where galleries are written for the time being")
    arguments = options.parse_args()
    header(arguments)
    network = load_checkpoint(arguments.checkpoint, "cpu")
    table = Table(
        "scale", f"One query by {arguments.checkpoint}, {arguments.candidates} candidates, all related", COLUMNS
    )
    floor = floors(network, arguments)
    table.extra["floors_ms"] = floor
    for count in sorted(arguments.sizes):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            stored = min(count, arguments.stored)
            gallery = Path(folder) / "gallery"
            write_gallery(gallery, stored, shape_of(network), network.identity)
            snapshot = GallerySnapshot.load(gallery, network.identity, dtype=network.dtype, cache_bytes=0)
            disk = size_on_disk(gallery) * count / stored  # with the recall cache that loading has written
            sized = SizedSnapshot.make(snapshot, count, network.descriptor_size)
            sized.clock = CLOCKS[arguments.clock]
            seen = queries(TwoStageSearcher(network, cast(Any, sized)), sized, arguments)
            passes = 2 if network.config.score.expansion.neighbours else 1
            sum_of_floors = floor["encode"] + floor["tokens"] + floor["relate"] + passes * count * floor["photo"]
            ms = {stage: median(values) for stage, values in seen.items()}
            table.add(
                photos=count,
                **{f"{stage}_ms": value for stage, value in ms.items()},
                p95_ms=sorted(seen["query"])[int(0.95 * len(seen["query"]))],
                floor_ms=sum_of_floors,
                of_floor=ms["query"] / sum_of_floors,
                memory_mb=count * 2 * network.descriptor_size / 1e6,
                disk_mb=disk,
                stored=stored,
            )
            del snapshot, sized
            gc.collect()
    table.notes.append(
        f"Tokens of galleries above {arguments.stored} photos are read from one of {arguments.stored}; their size on "
        "disk is that one's, in proportion."
    )
    table.finish(arguments)


if __name__ == "__main__":
    main()
