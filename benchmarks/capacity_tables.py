"""The tables of `benchmarks/capacity.py`: what was measured, where each kind of recall stops, and machines."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from capacity_plan import Assumptions, Plan, Planner
from costs import KINDS, Costs
from measure import Table, shown

NAMES = {"flat": "flat", "ivf": "IVF", "hash": "hash codes"}
MACHINES = {
    "photos": "photos",
    "per_s": "searches/s",
    "recall": "recall",
    "machines": "machines",
    "shards": "photos split over",
    "memory_gib": "memory of each, GiB",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "busy": "busy",
    "mean_batch": "searches a batch",
}
EXTRAPOLATED = (
    "Recall beyond the measured photos: linear in the photos that are looked through, and for IVF in the lists.",
    "What recall finds beyond the measured photos: unknown. IVF and hash codes find less of the exact first ones.",
    "Memory, disk and build beyond the measured photos: as many times what one photo takes. A commit is taken to cost "
    "the same however large the gallery is.",
    "Batches between measured sizes, and above them: on a line.",
    "Tokens and shortlists come from memory for the share of them that fits into what services leave free, and from "
    "this machine's disk for the rest.",
    "Opening a gallery takes as much for every kind of recall as for flat: a new version's index has to be made.",
    "Services on one machine do not slow each other down; nor do photos that are added meanwhile.",
    "Nobody is turned away. A service really refuses what finds its queue full.",
    "Photos split over several machines: not part of Sketchseek. The figures let every machine do the whole search "
    "among its own photos, wait for the slowest, and merge. Whether that ranks as one machine does, nobody tried.",
)


def tell(table: Table, planner: Planner, arguments: argparse.Namespace) -> None:
    """Print every table, and write them where `--json` says."""
    costs = planner.costs
    others = [stages(costs), recalls(costs), photo(costs), galleries(planner, arguments.photos), stops(planner)]
    table.extra["tables"] = {
        one.name: {"title": one.title, "columns": one.columns, "rows": one.rows, "notes": one.notes} for one in others
    }
    table.extra["assumed"] = asdict(planner.assumed)
    table.title = (
        f"Worked out: the fewest machines that answer 99 of 100 searches within {planner.assumed.answer_ms:g} ms"
    )
    table.columns = MACHINES
    for photos in arguments.photos:
        for per_s in arguments.per_s:
            for kind in KINDS:
                table.add(**row(planner, kind, photos, per_s))
    lines = assumed(planner.assumed)
    if arguments.http_ms is not None and not arguments.measured:
        lines.append(f"* --http-ms {arguments.http_ms:g}: HTTP around a search; no service was started to measure it")
    table.notes += ["Assumed, each with its option:\n" + "\n".join(lines)]
    table.notes += ["Worked out beyond what was measured:\n" + "\n".join(f"* {one}" for one in EXTRAPOLATED)]
    table.finish(arguments)


def assumed(values: Assumptions) -> list[str]:
    """A line for each assumption."""
    told = Assumptions.told()
    return [f"* --{name.replace('_', '-')} {value:g}: {told[name]}" for name, value in asdict(values).items()]


def row(planner: Planner, kind: str, photos: int, per_s: float) -> dict[str, Any]:
    """Of the table of machines."""
    found: dict[str, Any] = {"photos": photos, "per_s": per_s, "recall": NAMES[kind]}
    plan: Plan | None = planner.plan(kind, photos, per_s)
    if plan is None:
        return {**found, "machines": "none in time"}
    batches = len(set(plan.simulated.batch.tolist()))
    return {
        **found,
        "machines": plan.machines,
        "shards": plan.shards,
        "groups": plan.groups,
        "memory_gib": plan.memory_gib,
        "p50_ms": planner.latency(plan, 50),
        "p99_ms": planner.latency(plan, 99),
        "busy": plan.simulated.busy,
        "mean_batch": len(plan.simulated.batch) / batches,
    }


def stages(costs: Costs) -> Table:
    """What was measured of a search."""
    columns = {"stage": "stage"} | {f"b{size}": f"batch of {size}, ms" for size in costs.batches}
    table = Table("stages", "Measured: a search without recall among photos", columns)
    each = {f"b{size}": size for size in costs.batches}
    table.add(stage="decode a sketch", **{key: costs.decode_ms * size for key, size in each.items()})
    table.add(stage="HTTP and the rest of the service", **{key: costs.http_ms * size for key, size in each.items()})
    lists = {
        "encode": costs.encode_ms,
        "recall among hardly any": costs.recall_ms,
        f"rerank {costs.candidates} candidates, tokens in memory": costs.rerank_ms,
    }
    for name, values in lists.items():
        table.add(stage=name, **dict(zip(each, values, strict=True)))
    disk = costs.candidates * costs.token_disk_ms
    table.add(stage="their tokens from the disk, on top", **{key: disk * size for key, size in each.items()})
    shortlist = costs.index["hash"].shortlist
    table.add(
        stage=f"hash codes: a shortlist of {shortlist} from the disk, on top, one look-up",
        **{key: shortlist * costs.exact_disk_ms * size for key, size in each.items()},
    )
    return table


def recalls(costs: Costs) -> Table:
    """What was measured of recall."""
    columns = {
        "recall": "recall",
        "photos": "photos measured",
        "ms": "one look-up, ms",
        "million_ms": "a million photos, ms",
        "batched_ms": f"the same in a batch of {costs.batches[-1]}, ms",
        "found": "of the exact first found",
    }
    table = Table("recalls", f"Measured: recall, which a search does {costs.passes} times", columns)
    last = len(costs.batches) - 1
    for kind in KINDS:
        one, size = costs.index[kind], costs.batches[-1]
        table.add(
            recall=NAMES[kind],
            photos=one.photos,
            ms=one.ms(one.photos, 0, 1),
            million_ms=one.ms(1_000_000, 0, 1),
            batched_ms=one.ms(1_000_000, last, size) / size,
            found=one.found,
        )
    return table


def photo(costs: Costs) -> Table:
    """What was measured of a photo."""
    table = Table("photo", "Measured: one photo", {"what": "what", "value": "takes", "unit": ""})
    for kind in KINDS:
        million = costs.index[kind].memory(1e6) / 1e6
        table.add(what=f"memory, {NAMES[kind]}", value=million, unit="bytes")
    table.add(what="memory, its row in the table of photos", value=costs.table_bytes, unit="bytes")
    table.add(what="memory at most while a gallery is opened, all in all", value=costs.opening_bytes, unit="bytes")
    for bits, size in costs.disk_bytes.items():
        own = ", as this checkpoint stores them" if int(bits) == costs.bits else ""
        table.add(what=f"disk, tokens of {bits} bits{own}", value=size, unit="bytes")
    table.add(what="disk, beside it for hash codes", value=costs.exact_bytes, unit="bytes")
    table.add(what="decode it, one core", value=costs.decode_photo_ms, unit="ms")
    table.add(what="encode it, one core", value=costs.encode_photo_ms, unit="ms")
    table.add(what="commit it", value=costs.commit_ms, unit="ms")
    table.add(what="a whole build, as a check", value=costs.build_ms, unit="ms")
    return table


def galleries(planner: Planner, sizes: list[int]) -> Table:
    """Storage and building, which do not depend on searches."""
    bits = tuple(planner.costs.disk_bytes)
    columns = {
        "photos": "photos",
        **{f"disk{one}": f"disk, tokens of {one} bits, GB" for one in bits},
        "hash": "beside it for hash codes, GB",
        "build": "build, hours of one machine",
        "index": "IVF index, hours of one core",
    }
    table = Table("galleries", "Worked out: one copy of a gallery", columns)
    for photos in sizes:
        table.add(
            photos=photos,
            **{f"disk{one}": planner.storage(photos, int(one)) / 1e9 for one in bits},
            hash=photos * planner.costs.exact_bytes / 1e9,
            build=planner.build_hours(photos),
            index=planner.index_hours(photos),
        )
    return table


def stops(planner: Planner) -> Table:
    """Where each kind of recall stops on one machine, and why."""
    columns = {
        "recall": "recall",
        "memory": "photos that memory holds",
        "time": "photos answered in time",
        "alone": "ms of a search at the smaller",
        "saves": "saves a tenth of flat's search from",
        "reason": "stops by",
    }
    table = Table("stops", "Worked out: how far one machine goes with each kind of recall", columns)
    ends = {}
    for kind in KINDS:
        memory, time = planner.by_memory(kind), planner.by_time(kind)
        ends[kind] = end = min(memory, time)
        saves = None if kind == "flat" else planner.saves_from(kind, "flat")
        table.add(
            recall=NAMES[kind],
            memory=memory,
            time=time,
            alone=planner.alone_ms(kind, end) if end else None,
            saves=saves,
            reason="memory" if memory <= time else "time",
        )
    best = max(ends, key=ends.__getitem__)
    note = (
        f"Up to {shown(ends['flat'])} photos, flat recall does: it is exact, and nothing else is needed. "
        f"One machine goes furthest with {NAMES[best]}: {shown(ends[best])} photos. Beyond them, an external vector "
        "store or a split gallery would begin, and neither is part of Sketchseek."
    )
    table.notes.append(note)
    print("\n" + note)
    return table
