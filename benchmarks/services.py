"""Services that run while they are measured, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Served:
    """A service that runs.

    Attributes:
        port: on this machine.
        pid: of its process.
        ready_s: seconds that it took to be ready.
    """

    port: int
    pid: int
    ready_s: float

    def cpu_s(self) -> float:
        """Seconds of computing so far, of its process and of those that it started."""
        ticks = dict[int, tuple[int, float]]()
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended
                facts = path.read_text().rpartition(")")[2].split()
                ticks[int(path.parent.name)] = int(facts[1]), int(facts[11]) + int(facts[12])
        total, family = 0.0, [self.pid]
        while family:
            parent = family.pop()
            total += ticks.get(parent, (0, 0.0))[1]
            family += [pid for pid, (of, _) in ticks.items() if of == parent]
        return total / os.sysconf("SC_CLK_TCK")

    @property
    def memory_mb(self) -> float:
        """Resident memory of its process."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1000
        raise ValueError("no VmRSS")


@contextlib.contextmanager
def serving(
    gallery: Path | str, *, checkpoint: str, device: str, settings: Mapping[str, str], tree: Path | None = None
) -> Iterator[Served]:
    """A service while the block runs, from the moment on when it is ready.

    Args:
        gallery, checkpoint, device: what it serves, and where.
        settings: more variables of its environment.
        tree: source tree that it comes from; None for what is installed here.

    Raises:
        SystemExit: it did not start.
    """
    with serving_side_by_side(1, gallery, checkpoint=checkpoint, device=device, settings=settings, tree=tree) as (one,):
        yield one


@contextlib.contextmanager
def serving_side_by_side(
    count: int,
    gallery: Path | str,
    *,
    checkpoint: str,
    device: str,
    settings: Mapping[str, str],
    tree: Path | None = None,
) -> Iterator[list[Served]]:
    """As `serving`, but `count` services over one gallery, which start at the same time. Several of them only read."""
    reading = {"SKETCHSEEK_WRITES": "off"} if count > 1 else {}
    options = ["--gallery", str(Path(gallery).resolve()), "--checkpoint", checkpoint, "--device", device]
    with contextlib.ExitStack() as stack:
        began, started = time.monotonic(), []
        for port in _free_ports(count):
            process = _start(port, options, {**reading, **settings}, tree)
            stack.callback(end, process)
            started.append((process, port))
        served = []
        for process, port in started:
            _wait_until_ready(process, port)
            served.append(Served(port, process.pid, time.monotonic() - began))
        yield served


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _start(
    port: int, options: Sequence[str], settings: Mapping[str, str], tree: Path | None
) -> subprocess.Popen[bytes]:
    usual = {
        "SKETCHSEEK_RATE_LIMIT_PER_MINUTE": "0",
        "SKETCHSEEK_LOG_LEVEL": "warning",
        "SKETCHSEEK_QUERY_CACHE_BYTES": "0",  # clients send the same sketches again and again
    }
    environment = {**os.environ, **usual, **settings}
    if tree is not None:
        environment["PYTHONPATH"] = str(tree.resolve())
    command = [sys.executable, "-c", "from app.cli import main; main()", "serve", "--port", str(port), *options]
    return subprocess.Popen(command, env=environment, cwd=tree)


def end(process: subprocess.Popen[bytes], patience_s: float = 30.0) -> None:
    """End a process. One that hangs is killed, for the other measurements must go on."""
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        print(f"the service did not end within {patience_s:.0f} s and was killed", file=sys.stderr)
        process.kill()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    while True:
        if process.poll() is not None:
            raise SystemExit("the service did not start")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
                if answer.status == 200:
                    return
        except OSError:  # not there yet, or not ready
            time.sleep(0.05)
