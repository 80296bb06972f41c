"""How fast the service answers, beside the bare time of its stages in the same run.

    python benchmarks/serve.py --gallery GALLERY --sketches FOLDER [--candidates 50] [--pairs 60] [--rounds 6]

The service runs in a process of its own. Both measurements alternate between their sides, so that other load on the
machine affects both alike:

* pairs: one search over HTTP from this process, then the same three stages bare in this process with as many threads;
  the ratio of the medians is what serving costs.
* rounds: so many seconds with one client, then with eight, each a process of its own with one connection kept open;
  their throughputs are compared, and every answer that is not 200 is counted.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import machine  # sets OMP_WAIT_POLICY
from shared_options import add_service

_WARM_UP = 3
_STAGES = ("encode", "recall", "rerank")


@dataclass(frozen=True)
class Work:
    """What is searched for: sketches and form fields."""

    url: str
    sketches: list[Path]
    form: dict[str, str]


Seen = tuple[float, int, str, dict[str, float]]
"""Milliseconds, status, Retry-After and stages of one answer."""


def ask(http: Any, work: Work, sketch: bytes) -> Seen:
    """One search."""
    began = time.perf_counter()
    answer = http.post("/search", files={"sketch": sketch}, data=work.form)
    took = (time.perf_counter() - began) * 1000
    return took, answer.status_code, answer.headers.get("retry-after", ""), answer.json().get("timings_ms", {})


def client(work: Work, orders: Any) -> None:
    """One client process: searches for as many seconds as it is told, again and again, until told None."""
    import httpx2

    files = [path.read_bytes() for path in work.sketches]
    with httpx2.Client(base_url=work.url, timeout=120) as http:
        http.get("/healthz")
        orders.send("ready")
        while (seconds := orders.recv()) is not None:
            seen: list[Seen] = []
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                seen.append(ask(http, work, files[len(seen) % len(files)]))
            orders.send(seen)


class Clients:
    """Client processes, of which as many work at a time as wanted."""

    def __init__(self, work: Work, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes = []
        self._processes = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=client, args=(work, theirs))
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()

    def load(self, count: int, seconds: float) -> tuple[list[Seen], float]:
        """What `count` clients saw together, and the seconds it took."""
        began = time.monotonic()
        for pipe in self._pipes[:count]:
            pipe.send(seconds)
        seen = [one for pipe in self._pipes[:count] for one in pipe.recv()]
        return seen, time.monotonic() - began

    def end(self) -> None:
        """Let the processes go."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send(None)
            process.join()


def summary(clients: int, seen: list[Seen], took: float) -> dict[str, Any]:
    """The row of a table for so many clients."""
    fine = [one for one in seen if one[1] == 200]
    times = sorted(one[0] for one in fine)
    return {
        "clients": clients,
        "answers": len(seen),
        "statuses": dict(Counter(one[1] for one in seen)),
        "refused_without_retry_after": sum(one[1] == 503 and not one[2] for one in seen),
        "p50_ms": round(percentile(times, 50), 1),
        "p95_ms": round(percentile(times, 95), 1),
        "longest_ms": round(times[-1], 1),
        "per_s": round(len(fine) / took, 2),
        "stages_p50_ms": {n: round(statistics.median(one[3][n] for one in fine), 2) for n in fine[0][3]},
    }


def percentile(ordered: list[float], share: float) -> float:
    """The value below which `share` percent of the ordered values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


def pairs(arguments: argparse.Namespace, work: Work) -> tuple[list[Seen], list[dict[str, float]]]:
    """Searches over HTTP and the same stages bare, in turns."""
    import httpx2
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
    served: list[Seen] = []
    bare: list[dict[str, float]] = []
    with httpx2.Client(base_url=work.url, timeout=120) as http:
        for number in range(arguments.pairs + _WARM_UP):
            sketch = work.sketches[number % len(work.sketches)].read_bytes()
            served.append(ask(http, work, sketch))
            clock = Stopwatch()
            tensor = searcher.prepare(open_image(sketch))
            clock.lap("decode")
            encoding = searcher.encode(tensor[None])
            clock.lap("encode")
            (candidates,) = searcher.recall([Asked.of_sketch(encoding)], [query])
            clock.lap("recall")
            searcher.rerank(encoding, candidates, query)
            clock.lap("rerank")
            bare.append(clock.laps_ms)
    return served[_WARM_UP:], bare[_WARM_UP:]


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise ValueError("no VmRSS")


def started(arguments: argparse.Namespace) -> tuple[subprocess.Popen[bytes], str, float]:
    """The service, its address, and the seconds it took to be ready."""
    import httpx2

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", "from app.cli import main; main()", "serve", "--gallery", arguments.gallery,
         "--checkpoint", arguments.checkpoint, "--device", arguments.device, "--port", str(port)],
        env={**os.environ, "SKETCHSEEK_RATE_LIMIT_PER_MINUTE": "0", "SKETCHSEEK_LOG_LEVEL": "warning",
             "SKETCHSEEK_TORCH_THREADS": str(arguments.threads)},
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    while True:
        if process.poll() is not None:
            raise SystemExit("the service did not start")
        try:
            if httpx2.get(url + "/readyz").status_code == 200:
                return process, url, time.monotonic() - began
        except httpx2.TransportError:
            pass
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_service(parser, threads=2)
    parser.add_argument("--top-k", type=int, default=20)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--pairs", type=int, default=60, help="searches over HTTP beside bare ones")
    parser.add_argument("--rounds", type=int, default=6, help="rounds of load")
    parser.add_argument("--seconds", type=float, default=3, help="of each round and number of clients")
    parser.add_argument("--json", type=Path, help="also write everything here")
    arguments = parser.parse_args()
    found = sorted(path for path in arguments.sketches.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not found:
        parser.error(f"no PNG or JPEG in {arguments.sketches}")
    form = {"top_k": str(arguments.top_k), "candidates": str(arguments.candidates)}
    process, url, ready_s = started(arguments)
    work = Work(url, found[:: max(1, len(found) // 64)], form)
    memory = [memory_mb(process.pid)]
    clients = Clients(work, max(arguments.clients))
    try:
        served, bare = pairs(arguments, work)
        memory.append(memory_mb(process.pid))
        loads: dict[int, tuple[list[Seen], float]] = {count: ([], 0.0) for count in arguments.clients}
        for _ in range(arguments.rounds):
            for count in arguments.clients:
                seen, took = clients.load(count, arguments.seconds)
                loads[count] = (loads[count][0] + seen, loads[count][1] + took)
        memory.append(memory_mb(process.pid))
    finally:
        clients.end()
        process.terminate()
        process.wait()

    tell(arguments, (served, bare), loads, memory, ready_s)


def tell(
    arguments: argparse.Namespace,
    pairs: tuple[list[Seen], list[dict[str, float]]],
    loads: dict[int, tuple[list[Seen], float]],
    memory: list[float],
    ready_s: float,
) -> None:
    """Print everything, and write it where asked."""
    served, bare = pairs
    over_http = statistics.median(one[0] for one in served)
    sums = [sum(one[stage] for stage in _STAGES) for one in bare]
    three = statistics.median(sums)
    print(f"ready after {ready_s:.1f} s; memory in MB: {', '.join(f'{one:.0f}' for one in memory)}")
    print(f"pairs: {len(served)}; p50 over HTTP {over_http:.1f} ms, three bare stages {three:.1f} ms, ")
    print(f"       ratio of medians {over_http / three:.2f}, median of ratios "
          f"{statistics.median(h[0] / b for h, b in zip(served, sums, strict=True)):.2f}")  # fmt: skip
    print("  bare    : " + shown({name: statistics.median(one[name] for one in bare) for name in bare[0]}))
    print("  service : " + shown(summary(1, served, 1.0)["stages_p50_ms"]))
    rows = [summary(count, *loads[count]) for count in arguments.clients]
    print(f"{'clients':>7} {'p50 ms':>8} {'p95 ms':>8} {'longest':>8} {'per s':>7}  statuses")
    for row in rows:
        print(
            f"{row['clients']:7d} {row['p50_ms']:8.1f} {row['p95_ms']:8.1f} {row['longest_ms']:8.1f} "
            f"{row['per_s']:7.2f}  {row['statuses']}, {row['refused_without_retry_after']} of 503 without Retry-After"
        )
        print("  service : " + shown(row["stages_p50_ms"]))
    if arguments.json:
        measured = {"pairs": summary(1, served, 1.0), "bare_ms": three, "rows": rows, "memory_mb": memory}
        write(arguments, {**measured, "ready_s": ready_s, "served": served, "bare": bare})


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
