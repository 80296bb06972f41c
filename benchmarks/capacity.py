"""How many machines like this one serve a large gallery: memory, storage, time to build, and how long searches wait.

    python benchmarks/capacity.py                              # 1M, 10M, 100M photos; 1 to 1 000 searches a second
    python benchmarks/capacity.py --size quick                 # smaller galleries are measured
    python benchmarks/capacity.py --threads 1 --clock cpu      # on a machine that is busy with other things
    python benchmarks/capacity.py --json capacity.json
    python benchmarks/capacity.py --measured capacity.json --memory-gib 64 --answer-ms 500    # without measuring again

First the stages are measured: of a search in batches of 1, 2, 4 and 8, of a build, and the bytes of a photo. Then
machines of this kind are worked out, and a simulation of queues says how long searches take. The output tells apart
what was measured, what is worked out beyond it, and what is assumed. Every assumption is an option of the same name.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from measure import Table, header, machine, parser
from shared_options import add_network

# isort: split
from capacity_plan import Assumptions, Planner
from capacity_tables import tell
from costs import Costs
from galleries import shape_of, write_photos
from gallery_costs import build_times, disk_bytes, http_ms, resident, table_bytes
from search_costs import decoding, exact_reads, indices, stages, token_reads

from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot
from index_builder.photo_folders import PhotoFolders
from index_builder.store.metadata import GalleryMetadata
from model.checkpoints.files import load_checkpoint

SIZES: dict[str, dict[str, Any]] = {
    "quick": {
        "sizes": [20_000, 100_000],
        "ivf_photos": 12_000,
        "fitted": 1_000,
        "stored": 1_000,
        "opened": 20_000,
        "built": 48,
        "rounds": 3,
        "searches": 20,
        "http_ms": 5.0,
        "arrivals": 4_000,
    },
    "full": {
        "sizes": [200_000, 1_000_000],
        "ivf_photos": 100_000,
        "fitted": 20_000,
        "stored": 4_000,
        "opened": 100_000,
        "built": 128,
        "rounds": 5,
        "searches": 60,
        "arrivals": 20_000,
    },
}
MEASURED = {
    "sizes": "fewer and more descriptors, whose difference gives the cost of one",
    "ivf_photos": "descriptors of the IVF index that is measured",
    "fitted": "descriptors that hash codes are fitted to",
    "stored": "photos whose tokens are written and read",
    "opened": "photos of the gallery whose memory is measured",
    "built": "photos of the build that is measured",
    "rounds": "of each measurement",
    "searches": "over HTTP",
}


def measure(arguments: argparse.Namespace) -> Costs:
    """Measure this machine."""
    network = load_checkpoint(arguments.checkpoint, "cpu")
    size, shape = network.descriptor_size, shape_of(network)
    table, opening = table_bytes(size, arguments)  # first, while this process is small
    print("measured memory; measuring searches", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        gallery = Path(folder) / "gallery"
        write_photos(gallery, arguments.stored, GalleryMetadata.of(network, PhotoFolders.of(folder)))
        snapshot = GallerySnapshot.load(gallery, network.identity, dtype=network.dtype, cache_bytes=0)
        searcher = TwoStageSearcher(network, snapshot)
        search, decode = stages(searcher, arguments), decoding(searcher, arguments)
        token_disk = token_reads(gallery, network, arguments.stored, arguments)
        exact_disk = exact_reads(size, arguments.sizes[-1], Path(folder), arguments)
        http, process = arguments.http_ms, float(resident())
        if http is None:
            http, process = http_ms(gallery, arguments)
    print("measured searches; measuring recall", file=sys.stderr)
    index, train_ns, add_ns = indices(arguments, size)
    print("measured recall; measuring a build", file=sys.stderr)
    return Costs(
        batches=arguments.batches,
        decode_ms=decode,
        http_ms=http,
        encode_ms=search["encode"],
        recall_ms=search["recall"],
        rerank_ms=search["rerank"],
        candidates=arguments.candidates,
        token_disk_ms=token_disk,
        exact_disk_ms=exact_disk,
        passes=2 if network.config.score.expansion.neighbours else 1,
        index=index,
        process_bytes=process,
        table_bytes=table,
        opening_bytes=opening,
        disk_bytes=disk_bytes(network, arguments),
        exact_bytes=2.0 * size + index["hash"].photo_bytes,
        record_bytes={str(bits): float(replace(shape, bits=bits).record_bytes) for bits in (4, 8)},
        bits=shape.bits,
        train_ns=train_ns,
        add_ns=add_ns,
        **build_times(network, arguments),
    )


def options() -> argparse.ArgumentParser:
    """Of the command line."""
    made = parser(__doc__)
    made.add_argument("--size", choices=SIZES, default="full", help="of what is measured")
    made.add_argument("--photos", type=int, nargs="+", default=[1_000_000, 10_000_000, 100_000_000])
    made.add_argument("--per-s", type=float, nargs="+", default=[1.0, 10.0, 100.0, 1000.0], help="searches a second")
    made.add_argument("--measured", type=Path, help="take the costs of an earlier --json instead of measuring")
    add_network(made)
    made.add_argument("--candidates", type=int, default=100)
    made.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8], help="sizes of batches, from 1 upwards")
    made.add_argument("--hash-bits", type=int, default=256, help="length of hash codes, as SKETCHSEEK_HASH_BITS")
    made.add_argument(
        "--http-ms",
        type=float,
        help="of a search beside its stages, unmeasured; 5 in the quick size",
    )
    measuring = made.add_argument_group("what is measured; --size has the defaults")
    for name, told in MEASURED.items():
        measuring.add_argument(f"--{name.replace('_', '-')}", type=int, nargs=2 if name == "sizes" else None, help=told)
    assuming = made.add_argument_group("what is assumed")
    for one in fields(Assumptions):
        default = {"cores": "this machine's", "memory_gib": "this machine's", "processes": "cores / --threads"}
        shown = default.get(one.name, "by --size" if one.name == "arrivals" else one.default)
        kind = int if one.type == "int" else float
        assuming.add_argument(
            f"--{one.name.replace('_', '-')}", type=kind, help=f"{one.metadata['told']} (default: {shown})"
        )
    return made


def assumptions(arguments: argparse.Namespace, where: dict[str, Any]) -> Assumptions:
    """What the options say, and for the rest the defaults, of which some are this machine's."""
    given = {one.name: getattr(arguments, one.name) for one in fields(Assumptions)}
    given = {name: value for name, value in given.items() if value is not None}
    cores = given.setdefault("cores", where["cores"])
    given.setdefault("memory_gib", where["memory_gib"])
    given.setdefault("processes", max(1, cores // where["torch_threads"]))
    return Assumptions(**given)


def check(given: argparse.Namespace, to: argparse.ArgumentParser) -> None:
    """End with a sentence where options make no sense."""
    if given.batches[0] != 1 or sorted(set(given.batches)) != given.batches:
        to.error("--batches rise from 1, such as 1 2 4 8")
    if given.sizes[0] >= given.sizes[1]:
        to.error("--sizes are a smaller and a larger number of descriptors")
    if given.clock == "cpu" and given.threads > 1:
        to.error("--clock cpu sums the seconds of all threads, so it needs --threads 1")
    if min(*given.photos, *given.per_s) <= 0:
        to.error("--photos and --per-s are above 0")
    positive = (
        "cores",
        "memory_gib",
        "memory_share",
        "processes",
        "versions",
        "batch_limit",
        "answer_ms",
        "arrivals",
        "cell",
        "given",
    )
    for name in positive:
        value = getattr(given, name)
        if value is not None and value <= 0:
            to.error(f"--{name.replace('_', '-')} is above 0")
    for name in ("token_cache_mb", "spread", "front", "merge_ms", "old_versions", "http_ms"):
        value = getattr(given, name)
        if value is not None and value < 0:
            to.error(f"--{name.replace('_', '-')} is at least 0")


def main() -> None:
    made = options()
    arguments = made.parse_args()
    for name, value in SIZES[arguments.size].items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    check(arguments, made)
    header(arguments)
    table = Table("capacity", "Machines like this one", {}).keep(arguments)
    if arguments.measured:
        try:
            earlier = json.loads(arguments.measured.read_text(encoding="utf-8"))
            costs, where = Costs.from_json(earlier["costs"]), earlier["measured_on"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            made.error(f"--measured needs the JSON of an earlier run, which {arguments.measured} is not ({error!r})")
        print(f"costs of {arguments.measured}: {', '.join(f'{key} {value}' for key, value in where.items())}")
    else:
        where = machine()
        costs = measure(arguments)
        where["load_after"] = machine()["load"]
    table.extra |= {"costs": costs.to_json(), "measured_on": where}
    tell(table, Planner(costs, assumptions(arguments, where)), arguments)


if __name__ == "__main__":
    main()
