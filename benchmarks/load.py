"""Clients that search over HTTP, as many as wanted, in a few processes of their own.

Each client is a thread with one connection that it keeps open. Clients cost the machine little: the bodies are made
beforehand, and Python's own HTTP client sends them.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

_BOUNDARY = "sketchseek-load"
_MOST_PROCESSES = 8


class Seen(NamedTuple):
    """One answer: milliseconds, status, Retry-After, and the milliseconds of its stages; status 0 if none came."""

    ms: float
    status: int
    retry_after: str
    stages: dict[str, float]


@dataclass(frozen=True)
class Work:
    """What is searched for: bodies of forms."""

    bodies: Sequence[bytes]

    @staticmethod
    def of(sketches: Sequence[Path], form: Mapping[str, str]) -> Work:
        """A form for each file of a sketch."""
        return Work([form_of(path.read_bytes(), form) for path in sketches])


def form_of(sketch: bytes, fields: Mapping[str, str]) -> bytes:
    """The body of a search: a multipart form."""
    lines = [f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in fields.items()]
    file = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="sketch"; filename="sketch"\r\n\r\n'
    return "".join(lines).encode() + file.encode() + sketch + f"\r\n--{_BOUNDARY}--\r\n".encode()


class Client:
    """One connection, kept open.

    Args:
        port: of the service on this machine.
    """

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def search(self, body: bytes) -> Seen:
        """One search."""
        began = time.perf_counter()
        try:
            headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
            self._connection.request("POST", "/search", body, headers)
            answer = self._connection.getresponse()
            read = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return Seen((time.perf_counter() - began) * 1000, 0, "", {})
        took = (time.perf_counter() - began) * 1000
        stages = json.loads(read).get("timings_ms", {}) if answer.status == 200 else {}
        return Seen(took, answer.status, answer.headers.get("retry-after", ""), stages)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _clients(work: Work, orders: Any) -> None:
    """One process: so many clients search for so many seconds, again and again, until told None."""
    while (order := orders.recv()) is not None:
        ports, count, seconds, first = order
        seen: list[list[Seen]] = [[] for _ in range(count)]
        threads = [
            threading.Thread(
                target=_search_on, args=(work, ports[number % len(ports)], seconds, number, seen[number - first])
            )
            for number in range(first, first + count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        orders.send([one for client in seen for one in client])


def _search_on(work: Work, port: int, seconds: float, first: int, seen: list[Seen]) -> None:
    client = Client(port)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        seen.append(client.search(work.bodies[(first + len(seen)) % len(work.bodies)]))
    client.close()


class Load:
    """The processes of the clients. Use it in a `with` block.

    Args:
        work: what they search for.
        most: clients that will ever be wanted at once.
    """

    def __init__(self, work: Work, most: int) -> None:
        context = multiprocessing.get_context("spawn")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._pipes, self._processes = [], []
        for _ in range(min(most, _MOST_PROCESSES, max(1, cores // 2))):
            ours, theirs = context.Pipe()
            process = context.Process(target=_clients, args=(work, theirs), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send(None)
            process.join()

    def of(self, clients: int, ports: Sequence[int], seconds: float) -> tuple[list[Seen], float]:
        """What `clients` clients saw together, and the seconds it took. The services at `ports` share them evenly."""
        shares = [len(range(number, clients, len(self._pipes))) for number in range(len(self._pipes))]
        working = [(pipe, share) for pipe, share in zip(self._pipes, shares, strict=True) if share]
        began, first = time.monotonic(), 0
        for pipe, share in working:
            pipe.send((ports, share, seconds, first))
            first += share
        seen = [one for pipe, _ in working for one in pipe.recv()]
        return seen, time.monotonic() - began


def summary(clients: int, seen: list[Seen], took: float) -> dict[str, Any]:
    """The row of a table for so many clients."""
    fine = [one for one in seen if one.status == 200]
    times = sorted(one.ms for one in fine)
    return {
        "clients": clients,
        "answers": len(seen),
        "statuses": dict(Counter(one.status for one in seen)),
        "refused_without_retry_after": sum(one.status == 503 and not one.retry_after for one in seen),
        "p50_ms": round(percentile(times, 50), 1),
        "p95_ms": round(percentile(times, 95), 1),
        "longest_ms": round(percentile(times, 100), 1),
        "per_s": round(len(fine) / took, 2),
        "stages_p50_ms": {n: round(statistics.median(one.stages[n] for one in fine), 2) for n in _stages(fine)},
    }


def _stages(fine: list[Seen]) -> list[str]:
    return [name for name in fine[0].stages if all(name in one.stages for one in fine)] if fine else []


def percentile(ordered: list[float], share: float) -> float:
    """The value below which `share` percent of the ordered values lie; 0 of none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))] if ordered else 0.0
