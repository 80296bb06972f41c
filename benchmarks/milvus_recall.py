"""Recall on a Milvus server beside flat FAISS in this process: milliseconds per query, and what is found.

    python benchmarks/milvus_recall.py                         # starts PyPI's server; 100 000 and 1 000 000 descriptors
    python benchmarks/milvus_recall.py --url http://HOST:19530 --token USER:PASSWORD
    python benchmarks/milvus_recall.py --sizes 20000 --kinds flat hnsw ivf

Descriptors are synthetic, as in `benchmarks/recall.py`. Queries run one after the other, FAISS on one OpenMP thread,
and Milvus on as many as it likes. "found" is the share of the 100 candidates of exact search in float32. "times flat"
is the median over that of flat FAISS among the same photos. "filled" is the first version, "ten more" one with ten more
photos. A collection of its own is made for each kind of index, and dropped at the end.
"""

from __future__ import annotations

import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from measure import Table, header, parser
from shared_options import add_synthetic

# isort: split
import numpy as np
from galleries import Floats, Rows, descriptors
from recall import CANDIDATES, faiss, milliseconds, same

from index_builder import RecallSettings
from index_builder.index.cache_note import Origin
from index_builder.index.candidate_index import CandidateIndex, Selection
from index_builder.index.flat_and_ivf import RecallIndex, build_index
from index_builder.index.milvus_collection import Collection
from index_builder.index.milvus_index import open_milvus_index
from index_builder.index.milvus_notes import Owner
from index_builder.index.milvus_server import CHANGE_S, server_at
from index_builder.index.version_photos import VersionPhotos, VersionSource
from index_builder.photo_filter import PhotoFilter
from model.errors import MissingExtraError

TENTH = "tenth"
NEW = 10
COLUMNS = {
    "photos": "photos",
    "index": "index",
    "best_ms": "best ms",
    "median_ms": "median ms",
    "p90_ms": "90th percentile",
    "found": "found",
    "times_flat": "times flat",
    "filled_s": "filled, s",
    "ten_more_s": "ten more, s",
}


@contextmanager
def address(arguments: Namespace) -> Iterator[str]:
    """The server that was named, or one that is started for this run."""
    if arguments.url:
        yield arguments.url
        return
    try:
        from milvus import MilvusServer, MilvusServerConfig
    except ImportError as error:
        raise MissingExtraError("PyPI's Milvus server is not installed: name one with --url") from error

    with tempfile.TemporaryDirectory() as folder:
        server = MilvusServer(MilvusServerConfig(data_dir=folder))
        server.start()
        try:
            yield f"http://127.0.0.1:{server.listen_port}"
        finally:
            server.stop()


def photos_of(count: int, tenth: Rows) -> VersionPhotos:
    """The first `count` photos that were made up, some of which have a tag."""
    numbers = np.arange(count, dtype=np.int64)
    few = np.zeros(count, dtype=np.uint8)
    tags = {TENTH: tenth[tenth < count]}
    return VersionPhotos(numbers * 2**40, numbers, numbers, few, few, tags, ["/"], np.zeros(count, dtype=np.int32))


def opened(settings: RecallSettings, gallery: str, version: int, data: Floats, tenth: Rows) -> CandidateIndex:
    """One version in Milvus."""
    source = VersionSource(
        gallery, data.shape[1], lambda: photos_of(len(data), tenth), lambda rows: data[rows], lambda: 0, lambda _: None
    )
    return open_milvus_index(Origin(f"1.{version}", f"made up {version}"), settings, source)[0]


def wait_for_index(collection: Collection, seconds: float = 3600.0) -> None:
    """Until Milvus's own index is built over all that was flushed, and had a moment to be loaded."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        told = collection.server.call("describe_index", collection.name, "descriptor", seconds=CHANGE_S)
        if not int((told or {}).get("pending_index_rows", 0)):
            break
        time.sleep(1)
    time.sleep(5)


def measure(table: Table, url: str, count: int, arguments: Namespace) -> None:
    size, number = arguments.descriptor_size, arguments.queries
    data, queries = descriptors(count + NEW, size, seed=1), descriptors(number, size, seed=2, photos=count)
    tenth = np.flatnonzero(np.random.default_rng(3).random(count) < 0.1)
    mask = np.isin(np.arange(count), tenth)
    selections = {"": None, ", filtered to a tenth": Selection(mask, PhotoFilter(tags=(TENTH,)))}
    plain = faiss.IndexFlatIP(size)
    plain.add(data[:count])
    exact = {"": plain.search(queries, CANDIDATES)[1]}
    chosen = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little")))
    exact[", filtered to a tenth"] = plain.search(queries, CANDIDATES, params=chosen)[1]
    del plain
    of_flat: dict[str, float] = {}

    def add(index: CandidateIndex, name: str, **more: float) -> None:
        for suffix, selection in selections.items():

            def search(query: Floats, selection: Selection | None = selection) -> Rows:
                return index.search(query, CANDIDATES, selection)[0]

            (best, median, p90, _), found = milliseconds(search, queries)
            of_flat.setdefault(suffix, median)
            table.add(
                photos=count,
                index=name + suffix,
                best_ms=best,
                median_ms=median,
                p90_ms=p90,
                found=same(found, exact[suffix]),
                times_flat=median / of_flat[suffix],
                **(more if selection is None else {}),
            )

    faiss.omp_set_num_threads(1)
    add(RecallIndex(build_index(data[:count], "flat"), RecallSettings()), "FAISS, flat")
    server = server_at(url, arguments.token)
    for kind in arguments.kinds:
        own = RecallSettings(
            kind="milvus",
            server_url=url,
            server_token=arguments.token,
            server_index=kind,
        )
        gallery = f"benchmark {uuid4()}"
        collection = Collection(server, Owner(gallery, "", 1, size), kind)
        try:
            started = time.perf_counter()
            index = opened(own, gallery, 1, data[:count], tenth)
            filled = time.perf_counter() - started
            wait_for_index(collection)
            started = time.perf_counter()
            opened(own, gallery, 2, data, tenth)
            add(index, f"Milvus, {kind}", filled_s=filled, ten_more_s=time.perf_counter() - started)
        finally:
            server.call("drop_alias", collection.alias, seconds=CHANGE_S)
            server.call("drop_collection", collection.name, seconds=CHANGE_S)


def main() -> None:
    options = parser(__doc__)
    add_synthetic(options)
    options.add_argument("--url", help="of Milvus; without it, PyPI's server is started")
    options.add_argument("--token", help="of Milvus")
    options.add_argument("--kinds", nargs="+", default=["flat", "hnsw"], choices=["flat", "hnsw", "ivf"])
    arguments = options.parse_args()
    header(arguments)
    with address(arguments) as url:
        version = server_at(url, arguments.token).call("get_server_version", seconds=CHANGE_S)
        table = Table("milvus", f"Top {CANDIDATES} of one query, Milvus {version}", COLUMNS).keep(arguments)
        table.extra["server"] = version
        for count in arguments.sizes:
            measure(table, url, count, arguments)
        table.finish(arguments)


if __name__ == "__main__":
    main()
