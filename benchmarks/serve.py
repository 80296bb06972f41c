"""How fast the service answers, beside the bare time of its stages in the same run.

    python benchmarks/serve.py --gallery GALLERY --sketches FOLDER [--candidates 50] [--requests 200]

Starts the service in one process and clients in others, each with one connection kept open; in between, the bare stages
are timed in this process with the same threads. Prints a table per number of clients, the ratio of the service's median
to the bare stages', how many answers were not 200, and the service's memory before and after.
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

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "2")


@dataclass(frozen=True)
class Load:
    """What the clients do: searches with these sketches and form fields, so many, and for so long at most."""

    url: str
    sketches: list[Path]
    form: dict[str, str]
    seconds: float
    most: int


def client(work: Load, share: int, start: Any, out: Any) -> None:
    """One client: a search at a time until its share or the time is used up; puts what it saw into `out`."""
    import httpx2

    files = [path.read_bytes() for path in work.sketches]
    seen: list[tuple[float, int, str, dict[str, float]]] = []
    with httpx2.Client(base_url=work.url, timeout=60) as http:
        http.get("/healthz")
        start.wait()
        end = time.monotonic() + work.seconds
        while time.monotonic() < end and len(seen) < share:
            began = time.perf_counter()
            answer = http.post("/search", files={"sketch": files[len(seen) % len(files)]}, data=work.form)
            took = (time.perf_counter() - began) * 1000
            wait = answer.headers.get("retry-after", "")
            seen.append((took, answer.status_code, wait, answer.json().get("timings_ms", {})))
    out.put(seen)


def load(work: Load, clients: int) -> dict[str, Any]:
    """What `clients` processes measured together."""
    context = multiprocessing.get_context("spawn")
    out, start = context.Queue(), context.Barrier(clients + 1)
    share = -(-work.most // clients)
    workers = [context.Process(target=client, args=(work, share, start, out)) for _ in range(clients)]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.monotonic()
    seen = [one for _ in workers for one in out.get()]
    took = time.monotonic() - began
    for worker in workers:
        worker.join()
    fine = [one for one in seen if one[1] == 200]
    times = sorted(one[0] for one in fine)
    stages = {name: statistics.median(one[3][name] for one in fine) for name in fine[0][3]}
    return {
        "clients": clients,
        "answers": len(seen),
        "statuses": dict(Counter(one[1] for one in seen)),
        "refused_without_retry_after": sum(one[1] == 503 and not one[2] for one in seen),
        "p50_ms": round(percentile(times, 50), 1),
        "p95_ms": round(percentile(times, 95), 1),
        "longest_ms": round(times[-1], 1),
        "per_s": round(len(fine) / took, 2),
        "stages_p50_ms": {name: round(ms, 2) for name, ms in stages.items()},
    }


def percentile(ordered: list[float], share: float) -> float:
    """The value below which `share` percent of the ordered values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


def bare(arguments: argparse.Namespace, sketches: list[Path], form: dict[str, str]) -> dict[str, float]:
    """Median milliseconds of each stage, one search at a time, with nothing around them."""
    import torch

    from app.search import Query, Stopwatch, TwoStageSearcher
    from index_builder import GallerySnapshot
    from model.checkpoint import load_checkpoint
    from model.images import open_image

    torch.set_num_threads(arguments.threads)
    network = load_checkpoint(arguments.checkpoint, arguments.device)
    snapshot = GallerySnapshot.load(
        arguments.gallery, network.identity, device=network.device, dtype=network.dtype, preload=True
    )
    searcher = TwoStageSearcher(network, snapshot)
    query = Query(top_k=int(form["top_k"]), candidates=int(form["candidates"]))
    laps: dict[str, list[float]] = {}
    for number in range(arguments.bare + 3):
        clock = Stopwatch()
        tensor = searcher.prepare(open_image(sketches[number % len(sketches)]))
        clock.lap("decode")
        encoding = searcher.encode(tensor[None])
        clock.lap("encode")
        (candidates,) = searcher.recall(encoding.descriptor.float().cpu().numpy(), [query])
        clock.lap("recall")
        searcher.rerank(encoding, candidates, query)
        clock.lap("rerank")
        if number >= 3:
            for name, ms in clock.laps_ms.items():
                laps.setdefault(name, []).append(ms)
    return {name: statistics.median(times) for name, times in laps.items()}


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
    parser.add_argument("--gallery", required=True)
    parser.add_argument("--sketches", type=Path, required=True, help="folder with pictures of sketches, looked through")
    parser.add_argument("--checkpoint", default="zse-lite")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--candidates", type=int, default=50)
    parser.add_argument("--top-k", type=int, default=20)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--requests", type=int, default=200, help="most searches per row of the table")
    parser.add_argument("--seconds", type=float, default=60, help="most seconds per row of the table")
    parser.add_argument("--bare", type=int, default=30, help="searches that time the bare stages, before and after")
    parser.add_argument("--json", type=Path, help="also write everything here")
    arguments = parser.parse_args()
    sketches = sorted(arguments.sketches.rglob("*.png"))[:: max(1, len(list(arguments.sketches.rglob("*.png"))) // 64)]
    form = {"top_k": str(arguments.top_k), "candidates": str(arguments.candidates)}

    stages = [bare(arguments, sketches, form)]
    process, url, ready_s = started(arguments)
    work = Load(url, sketches, form, arguments.seconds, arguments.requests)
    rows, memory = [], [memory_mb(process.pid)]
    try:
        for clients in arguments.clients:
            rows.append(load(work, clients))
            memory.append(memory_mb(process.pid))
    finally:
        process.terminate()
        process.wait()
    stages.append(bare(arguments, sketches, form))

    names = ("encode", "recall", "rerank")
    sums = [sum(one[name] for name in names) for one in stages]
    reference = statistics.mean(sums)
    print(
        f"ready after {ready_s:.1f} s; memory {memory[0]:.0f} MB at start, " + ", ".join(f"{m:.0f}" for m in memory[1:])
    )
    for when, one, total in zip(("before", "after"), stages, sums, strict=True):
        print(
            f"bare stages {when}: "
            + ", ".join(f"{n} {ms:.1f}" for n, ms in one.items())
            + f"; three stages {total:.1f} ms"
        )
    print(f"{'clients':>7} {'p50 ms':>8} {'p95 ms':>8} {'longest':>8} {'per s':>7} {'p50 / bare':>10}  statuses")
    for row in rows:
        print(
            f"{row['clients']:7d} {row['p50_ms']:8.1f} {row['p95_ms']:8.1f} {row['longest_ms']:8.1f} "
            f"{row['per_s']:7.2f} {row['p50_ms'] / reference:10.2f}  {row['statuses']}"
        )
        print("        stages of the service: " + ", ".join(f"{n} {ms:.1f}" for n, ms in row["stages_p50_ms"].items()))
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"bare_ms": stages, "rows": rows, "memory_mb": memory, "ready_s": ready_s}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
