"""Whether the service's memory stays flat: resident memory, open files and threads after every so many requests.

    python benchmarks/memory.py --gallery GALLERY --sketches FOLDER [--requests 10000] [--every 1000]

The service runs in a process of its own, and this process searches, one request after the other. One request in twenty
is a file that is no picture: refusals take paths of their own, which could leak too. Growth counts after the first
fifth of the requests, which fill caches and the allocator's arenas.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

from load import Client, form_of
from services import serving
from shared_options import add_service

_REFUSED_EACH = 20
_SETTLED = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_service(parser, threads=1)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=1000)
    arguments = parser.parse_args()
    files = [path.read_bytes() for path in sorted(arguments.sketches.rglob("*.png"))[:2000]]
    statuses: Counter[int] = Counter()
    with serving(
        arguments.gallery,
        checkpoint=arguments.checkpoint,
        device=arguments.device,
        settings={"SKETCHSEEK_TORCH_THREADS": str(arguments.threads), "SKETCHSEEK_QUERY_CACHE_BYTES": "32000000"},
    ) as served:
        print(f"ready after {served.ready_s:.1f} s")
        print(f"{'requests':>8} {'MB':>8} {'files':>6} {'threads':>8} {'ms each':>8}  statuses")
        memory: list[tuple[int, float]] = [(0, served.memory_mb)]
        client, form = Client(served.port), {"top_k": "20", "candidates": str(arguments.candidates)}
        began = time.monotonic()
        for number in range(1, arguments.requests + 1):
            sketch = b"no picture" if number % _REFUSED_EACH == 0 else files[number % len(files)]
            statuses[client.search(form_of(sketch, form)).status] += 1
            if number % arguments.every == 0:
                memory.append((number, served.memory_mb))
                each_ms = (time.monotonic() - began) * 1000 / arguments.every
                proc = Path(f"/proc/{served.pid}")
                handles, threads = len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir()))
                print(
                    f"{number:8d} {memory[-1][1]:8.1f} {handles:6d} {threads:8d} {each_ms:8.1f}  {dict(statuses)}",
                    flush=True,
                )
                began = time.monotonic()
        client.close()
    settled = [mb for number, mb in memory if number >= _SETTLED * arguments.requests]
    print(
        f"at first {memory[0][1]:.1f} MB; grew by {settled[-1] - settled[0]:+.1f} MB over the last {1 - _SETTLED:.0%}"
    )


if __name__ == "__main__":
    main()
