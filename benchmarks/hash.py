"""Recall by hash codes against flat search in half precision, in the same run.

    python benchmarks/hash.py                                             # 100 000 and 1 000 000 descriptors
    python benchmarks/hash.py --sizes --gallery GALLERY --sketches DIR    # quality among real photos

The first command measures synthetic descriptors: bytes per photo in memory, CPU milliseconds of a query on one thread,
and the share of the exact first 100 among the first 100, 400 and 1000 by codes alone. More than that share no exact
scoring of a shortlist can reach. The second command measures quality in a gallery whose photos lie in folders by
category: mAP of the first 100 after both stages, with sketches from DIR/CATEGORY/*, beside flat search. The script
fails if 32 bytes per photo and a shortlist of 1000 reach less than 0.95 of flat search.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from measure import Table, header, parser
from shared_options import add_network, add_synthetic

# isort: split
import numpy as np
import numpy.typing as npt
from galleries import Floats, Rows, descriptors
from recall import milliseconds, same
from torch import Tensor

from app.search.query_and_answer import Query
from app.search.query_parts import QueryParts
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot, RecallSettings
from index_builder.index.faiss_search import load_faiss
from index_builder.index.flat_and_ivf import RecallIndex, build_index
from index_builder.index.hash_codes import HashIndex, encode_all, fit_hasher
from model.checkpoints.files import load_checkpoint
from model.data.folders import read_categories
from model.data.items import category_key
from model.images.opening import open_image
from model.images.preprocess import sketch_tensor
from model.networks.network import Network
from model.training.material.holdout import thinned

faiss = load_faiss()
CANDIDATES = 100
DEPTHS = (100, 400, 1000)
FLOOR = 0.95
FLAT = "flat, half precision"
COLUMNS = {
    "photos": "photos",
    "recall": "recall",
    "bytes": "bytes per photo",
    "ms": "CPU ms",
    "faster": "flat's over it",
    "of_100": "exact 100 within 100",
    "of_400": "within 400",
    "of_1000": "within 1000",
    "found": "found in the end",
}
QUALITY = {
    "recall": "recall",
    "shortlist": "shortlist",
    "bytes": "bytes per photo",
    "both": "mAP, both stages",
    "share": "share of flat",
    "alone": "mAP, recall alone",
    "alone_share": "share of flat, alone",
}


def found_by(index: RecallIndex | HashIndex, query: Floats) -> Rows:
    return index.search(query, CANDIDATES)[0]


def measure(table: Table, count: int, arguments: argparse.Namespace) -> None:
    """Memory, time and what is found among `count` synthetic descriptors."""
    size, number, shortlists = arguments.descriptor_size, arguments.queries, arguments.shortlists
    data, queries = descriptors(count, size, seed=1), descriptors(number, size, seed=2, photos=count)
    flat = RecallIndex(build_index(data, "flat"), RecallSettings(kind="flat"))
    times, exact = milliseconds(partial(found_by, flat), queries)
    flat_ms = times[3]
    table.add(photos=count, recall=FLAT, bytes=2 * size, ms=flat_ms, faster=1.0, found=1.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exact.npy"
        np.save(path, data.astype(np.float16))
        halves: npt.NDArray[np.float16] = np.load(path, mmap_mode="r")
        for length in arguments.bits:
            hasher = fit_hasher(data, length)
            codes = encode_all(hasher, data)
            alone = HashIndex(hasher, codes, halves, RecallSettings(shortlist=0))
            within = {f"of_{depth}": same(alone.search(queries, depth)[0], exact) for depth in DEPTHS}
            for shortlist in shortlists:
                index = HashIndex(hasher, codes, halves, RecallSettings(shortlist=shortlist))
                times, rows = milliseconds(partial(found_by, index), queries)
                table.add(
                    photos=count,
                    recall=f"{hasher.bits} bits, shortlist {shortlist}",
                    bytes=hasher.bits // 8,
                    ms=times[3],
                    faster=flat_ms / times[3],
                    found=same(rows, exact),
                    **within,
                )


def average_precision(hits: Sequence[bool], relevant: int) -> float:
    """AP of the first photos, over as many relevant ones as could stand there."""
    ranks = np.flatnonzero(hits) + 1
    precision = np.arange(1, len(ranks) + 1) / ranks
    return float(precision.sum() / max(1, min(relevant, len(hits))))


def quality(table: Table, arguments: argparse.Namespace) -> bool:
    """mAP of the first 100, flat and by codes; whether 32 bytes per photo reach the floor."""
    network = load_checkpoint(arguments.checkpoint, "cpu")
    chosen = thinned(read_categories(arguments.sketches, "sketch"), arguments.per_category).sketches
    prepared = [sketch_tensor(open_image(item.path), network.preprocess) for item in chosen]
    categories = [item.category for item in chosen]
    table.notes.append(f"{len(chosen)} sketches of {len(set(categories))} categories, {arguments.checkpoint}")
    settings = [RecallSettings(kind="flat")]
    for shortlist in arguments.shortlists:
        fitted = RecallSettings(kind="hash", hash_source="itq", shortlist=shortlist)
        settings += [replace(fitted, hash_bits=bits) for bits in arguments.bits]
        if network.hash_projection is not None:
            settings.append(replace(fitted, hash_source="learnt"))
    first: tuple[float, float] | None = None
    reached = True
    for one in settings:
        with tempfile.TemporaryDirectory() as folder:  # the gallery's own cache is left alone
            for part in arguments.gallery.iterdir():
                if part.name != "recall":
                    (Path(folder) / part.name).symlink_to(part.resolve())
            snapshot = GallerySnapshot.load(
                folder, network.identity, recall=one, hash_projection=network.hash_projection, dtype=network.dtype
            )
            both, alone = precision(network, snapshot, prepared, categories)
        first = first or (both, alone)
        held = 2 * network.descriptor_size if one.kind == "flat" else hash_bytes(network, one)
        share = both / first[0]
        table.add(
            recall=snapshot.recall_kind,
            shortlist=None if one.kind == "flat" else one.shortlist,
            bytes=held,
            both=both,
            share=share,
            alone=alone,
            alone_share=alone / first[1],
        )
        reached &= held != 32 or one.shortlist < DEPTHS[-1] or share >= FLOOR
    table.notes.append(f"floor: {FLOOR} of flat at 32 bytes per photo: {'reached' if reached else 'MISSED'}")
    return reached


def hash_bytes(network: Network, settings: RecallSettings) -> int:
    """Of one code."""
    if settings.hash_source == "learnt" and network.hash_projection is not None:
        return len(network.hash_projection) // 8
    return min(settings.hash_bits, network.descriptor_size // 8 * 8) // 8


def precision(
    network: Network, snapshot: GallerySnapshot, prepared: Sequence[Tensor], categories: Sequence[str]
) -> tuple[float, float]:
    """mAP of both stages and of recall alone."""
    searcher = TwoStageSearcher(network, snapshot)
    counts = {category_key(tag): count for tag, count in snapshot.tags.items()}
    sums = [0.0, 0.0]
    for sketch, category in zip(prepared, categories, strict=True):
        key = category_key(category)
        for place, rerank in enumerate((True, False)):
            query = Query(top_k=CANDIDATES, candidates=CANDIDATES, rerank=rerank)
            answer = next(searcher.search_many([QueryParts(sketch)], [query]))
            hits = [key in {category_key(tag) for tag in found.photo.tags} for found in answer.results]
            sums[place] += average_precision(hits, counts.get(key, 0))
    return sums[0] / len(prepared), sums[1] / len(prepared)


def main() -> None:
    options = parser(__doc__)
    add_synthetic(options)
    options.add_argument("--bits", type=int, nargs="*", default=[64, 128, 256])
    options.add_argument("--shortlists", type=int, nargs="*", default=list(DEPTHS))
    options.add_argument("--gallery", type=Path, help="a gallery whose photos lie in folders by category")
    options.add_argument("--sketches", type=Path, help="folder of CATEGORY/*")
    add_network(options)
    options.add_argument("--per-category", type=int, default=3, help="sketches of each category")
    arguments = options.parse_args()
    header(arguments)
    faiss.omp_set_num_threads(1)
    if arguments.gallery and arguments.sketches:
        table = Table("hash-quality", f"Quality of the first {CANDIDATES} by hash codes", QUALITY)
        reached = quality(table, arguments)
        table.finish(arguments)
        sys.exit(not reached)
    table = Table("hash", f"Top {CANDIDATES} of one query by hash codes, one thread", COLUMNS)
    for count in arguments.sizes:
        measure(table, count, arguments)
    table.finish(arguments)


if __name__ == "__main__":
    main()
