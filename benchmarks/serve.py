"""How fast the service answers, beside the bare time of its stages, and beside the service of another source tree.

    python benchmarks/serve.py --gallery GALLERY --sketches FOLDER [--clients 1 8] [--before TREE]

Each service runs in a process of its own. All measurements alternate between their sides, so that other load on the
machine affects them alike:

* pairs: one search over HTTP from this process, then the same three stages bare in this process with as many threads;
  the ratio of the medians is what serving costs.
* rounds: so many seconds with one client, then with eight (or what `--clients` says), against each service in turn. The
  clients run in processes of their own (`load.py`). Every answer that is not 200 is counted.

With `--services N`, the present tree runs N services over the same gallery, which share a GPU if there is one. Client
number i asks service i modulo N, as behind a balancer. Times and memory of a single service are those of one of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from load import Client, Load, Seen, Work, summary
from measure import machine  # sets OMP_WAIT_POLICY
from services import Served, serving, serving_side_by_side
from shared_options import add_service

_WARM_UP = 3
_STAGES = ("encode", "recall", "rerank")


def measure(
    sides: Mapping[str, Sequence[Served]], work: Work, *, clients: Sequence[int], rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """How fast services answer, in turns.

    Args:
        sides: name -> the services between which its clients are divided.
        work: what is searched for.
        clients: numbers of clients that search at the same time.
        rounds: of load.
        seconds: of each round, side and number of clients.

    Returns:
        a row for each side and number of clients: `side`, what `load.summary` tells, `cpu_ms` that the service computed
        for a search, and `per_s_of_rounds`.
    """
    loads: dict[tuple[str, int], list[tuple[list[Seen], float, float]]] = defaultdict(list)
    with Load(work, max(clients)) as load:
        ports = {side: [served.port for served in several] for side, several in sides.items()}
        for side in sides:
            load.of(max(clients), ports[side], 0.5)  # warm
        for number in range(rounds):
            for count in clients:
                for side in list(sides)[:: 1 if number % 2 else -1]:
                    computed = _cpu_s(sides[side])
                    seen, took = load.of(count, ports[side], seconds)
                    loads[side, count].append((seen, took, _cpu_s(sides[side]) - computed))
    return [_row(side, count, loads[side, count]) for count in clients for side in sides]


def _cpu_s(services: Sequence[Served]) -> float:
    return sum(served.cpu_s() for served in services)


def _row(side: str, count: int, rounds: list[tuple[list[Seen], float, float]]) -> dict[str, Any]:
    every = [one for seen, _, _ in rounds for one in seen]
    row = summary(count, every, sum(took for _, took, _ in rounds))
    cpu_ms = 1000 * sum(computed for _, _, computed in rounds) / max(1, len(every))
    per_s = [round(len(seen) / took, 1) for seen, took, _ in rounds]
    return {"side": side, **row, "cpu_ms": round(cpu_ms, 1), "per_s_of_rounds": per_s}


def pairs(arguments: argparse.Namespace, served: Served, sketches: list[Path], work: Work) -> Any:
    """Searches over HTTP and the same stages bare, in turns."""
    import torch

    from app.search.query_and_answer import Asked, Query
    from app.search.searcher import TwoStageSearcher
    from app.search.stopwatch import Stopwatch
    from index_builder import GallerySnapshot
    from model.checkpoints.files import load_checkpoint
    from model.images.opening import open_image

    torch.set_num_threads(arguments.threads)
    network = load_checkpoint(arguments.checkpoint, arguments.device)
    snapshot = GallerySnapshot.load(
        arguments.gallery, network.identity, device=network.device, dtype=network.dtype, preload=True
    )
    searcher = TwoStageSearcher(network, snapshot)
    query = Query(top_k=arguments.top_k, candidates=arguments.candidates)
    over_http: list[Seen] = []
    bare: list[dict[str, float]] = []
    client = Client(served.port)
    for number in range(arguments.pairs + _WARM_UP):
        over_http.append(client.search(work.bodies[number % len(work.bodies)]))
        clock = Stopwatch()
        tensor = searcher.prepare(open_image(sketches[number % len(sketches)].read_bytes()))
        clock.lap("decode")
        encoding = searcher.encode(tensor[None])
        clock.lap("encode")
        (candidates,) = searcher.recall([Asked.of_sketch(encoding)], [query])
        clock.lap("recall")
        searcher.rerank([encoding], [candidates], [query])
        clock.lap("rerank")
        bare.append(clock.laps_ms)
    client.close()
    return over_http[_WARM_UP:], bare[_WARM_UP:]


def sketches_in(folder: Path) -> list[Path]:
    """At most 64 pictures, spread over the folder."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    return found[:: max(1, len(found) // 64)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_service(parser, threads=2)
    parser.add_argument("--top-k", type=int, default=20)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8], help="numbers of clients, such as 1 8 32 128")
    parser.add_argument("--before", type=Path, help="another source tree, whose service is measured in turns")
    parser.add_argument("--services", type=int, default=1, help="so many, over one gallery, share the clients")
    parser.add_argument("--pairs", type=int, default=60, help="searches over HTTP beside bare ones; 0 for none")
    parser.add_argument("--rounds", type=int, default=6, help="rounds of load")
    parser.add_argument("--seconds", type=float, default=3, help="of each round and number of clients")
    parser.add_argument("--json", type=Path, help="also write everything here")
    arguments = parser.parse_args()
    sketches = sketches_in(arguments.sketches)
    if not sketches:
        parser.error(f"no PNG or JPEG in {arguments.sketches}")
    work = Work.of(sketches, {"top_k": str(arguments.top_k), "candidates": str(arguments.candidates)})
    served: dict[str, Any] = {
        "checkpoint": arguments.checkpoint,
        "device": arguments.device,
        "settings": {"SKETCHSEEK_TORCH_THREADS": str(arguments.threads)},
    }
    with contextlib.ExitStack() as stack:
        sides = {}
        if arguments.before:
            sides["before"] = [stack.enter_context(serving(arguments.gallery, tree=arguments.before, **served))]
        side_by_side = serving_side_by_side(arguments.services, arguments.gallery, **served)
        sides["now"] = several = stack.enter_context(side_by_side)
        now = several[-1]  # the last to be ready
        memory = [now.memory_mb]
        beside = pairs(arguments, now, sketches, work) if arguments.pairs else None
        memory.append(now.memory_mb)
        rows = measure(sides, work, clients=arguments.clients, rounds=arguments.rounds, seconds=arguments.seconds)
        memory.append(now.memory_mb)
    tell(arguments, beside, rows, memory, now.ready_s)


def tell(
    arguments: argparse.Namespace, beside: Any, rows: list[dict[str, Any]], memory: list[float], ready_s: float
) -> None:
    """Print everything, and write it where asked."""
    print(f"ready after {ready_s:.1f} s; memory in MB: {', '.join(f'{one:.0f}' for one in memory)}")
    measured: dict[str, Any] = {"rows": rows, "memory_mb": memory, "ready_s": ready_s}
    if beside is not None:
        over_http, bare = beside
        served = statistics.median(one.ms for one in over_http)
        sums = [sum(one[stage] for stage in _STAGES) for one in bare]
        three = statistics.median(sums)
        print(f"pairs: {len(over_http)}; p50 over HTTP {served:.1f} ms, three bare stages {three:.1f} ms, ")
        print(f"       ratio of medians {served / three:.2f}, median of ratios "
              f"{statistics.median(h.ms / b for h, b in zip(over_http, sums, strict=True)):.2f}")  # fmt: skip
        print("  bare    : " + shown({name: statistics.median(one[name] for one in bare) for name in bare[0]}))
        print("  service : " + shown(summary(1, over_http, 1.0)["stages_p50_ms"]))
        measured |= {"pairs": summary(1, over_http, 1.0), "bare_ms": three, "served": over_http, "bare": bare}
    print(f"{'':>7} {'clients':>7} {'p50 ms':>8} {'p95 ms':>8} {'longest':>8} {'per s':>7} {'CPU ms':>7}  statuses")
    for row in rows:
        print(
            f"{row['side']:>7} {row['clients']:7d} {row['p50_ms']:8.1f} {row['p95_ms']:8.1f} {row['longest_ms']:8.1f} "
            f"{row['per_s']:7.2f} {row['cpu_ms']:7.1f}  {row['statuses']}, "
            f"{row['refused_without_retry_after']} of 503 without Retry-After"
        )
        print("  service : " + shown(row["stages_p50_ms"]))
        print(f"  rounds  : median {statistics.median(row['per_s_of_rounds']):.1f} per s")
    if arguments.json:
        write(arguments, measured)


def write(arguments: argparse.Namespace, measured: dict[str, Any]) -> None:
    """What was measured, with the machine and every option."""
    told = {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()}
    title = f"Searches over HTTP, {arguments.candidates} candidates"
    place = machine("cuda" if arguments.device.startswith("cuda") else "cpu")
    written = {"name": "serve", "title": title, "machine": place, "arguments": told, **measured}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def shown(stages: dict[str, float]) -> str:
    """Milliseconds of stages in one line."""
    return ", ".join(f"{name} {ms:.1f}" for name, ms in stages.items())


if __name__ == "__main__":
    main()
