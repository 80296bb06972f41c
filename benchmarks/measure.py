"""What the benchmarks share: the machine in words, its measured rates, turns of several sides, tables and JSON.

A floor is what the arithmetic or the bytes of a step would cost at the rate that this machine reaches, in the same run,
at what it does best: one large matrix product, or one long read of memory. Nothing reaches the floor; the distance to
it is what is left to gain.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

_SIDE = 1536  # of the matrices: large enough for the full rate, small enough for the last cache
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
_READ = 256 * 2**20  # bytes, far beyond the caches


def machine(device: str = "cpu") -> dict[str, Any]:
    """Where a table was measured, in plain values."""
    names = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    described: dict[str, Any] = {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "memory_gib": round(memory[0] / 2**20, 1) if memory else None,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "time": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
    }
    if device.startswith("cuda"):
        described["gpu"] = torch.cuda.get_device_name(torch.device(device))
    return described


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def synchronise(device: torch.device | str) -> None:
    """Wait for a GPU to finish what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


@dataclass
class Turns:
    """Seconds of several sides that took turns, so that other load on the machine affects all of them alike."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def ms(self, side: str, per: int = 1) -> float:
        """Median milliseconds of one of `per` equal parts of a side's step."""
        return 1e3 * statistics.median(self.seconds[side]) / per


def take_turns(
    sides: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    device: torch.device | str = "cpu",
) -> Turns:
    """Run every side once to warm up, then `rounds` times in turn."""
    turns = Turns({side: [] for side in sides})
    with torch.inference_mode():
        for number in range(rounds + 1):
            for side, run in sides.items():
                synchronise(device)
                started = clock()
                run()
                synchronise(device)
                if number:
                    turns.seconds[side].append(clock() - started)
    return turns


def product_rate(
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    *,
    clock: Callable[[], float] = time.perf_counter,
    rounds: int = 5,
) -> float:
    """Best measured floating-point operations per second of one large matrix product, with the current threads."""
    side = _SIDE * (4 if torch.device(device).type == "cuda" else 1)
    a, b = (torch.randn(side, side).to(device, dtype) for _ in range(2))
    turns = take_turns({"product": lambda: a @ b}, rounds, clock=clock, device=device)
    return 2 * side**3 / min(turns.seconds["product"])


def read_rate(clock: Callable[[], float] = time.perf_counter, rounds: int = 5) -> float:
    """Best measured bytes per second of one thread that reads memory from end to end."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        values = torch.ones(_READ // 8, dtype=torch.int64)
        return _READ / min(take_turns({"read": values.max}, rounds, clock=clock).seconds["read"])
    finally:
        torch.set_num_threads(threads)


def copy_rate(source: torch.Tensor, target: torch.Tensor, rounds: int = 5) -> float:
    """Best measured bytes per second of a copy from one tensor to another of its size."""
    device = target.device if target.device.type == "cuda" else source.device
    copying = {"copy": lambda: target.copy_(source, non_blocking=True)}
    return source.nbytes / min(take_turns(copying, rounds, device=device).seconds["copy"])


def memory_rate(device: torch.device | str = "cpu") -> float:
    """Best measured bytes per second that one device reads and writes while it copies within its own memory."""
    source, target = (torch.ones(_READ, dtype=torch.uint8, device=device) for _ in range(2))
    return 2 * copy_rate(source, target)


def upload_rate(device: torch.device | str) -> float:
    """Best measured bytes per second from this machine's page-locked memory to a device."""
    pinned = torch.device(device).type == "cuda"
    source = torch.ones(_READ, dtype=torch.uint8, pin_memory=pinned)
    return copy_rate(source, torch.ones(_READ, dtype=torch.uint8, device=device))


def count_flops(step: Callable[[], object]) -> float:
    """Floating-point operations of the convolutions and matrix products that a step makes; a multiply-add is two.

    Runs under `no_grad` without oneDNN's fused layers and the fused attention of CPUs: the counter does not know them.
    """
    import model.layers.convolution
    import model.layers.linear

    before = model.layers.linear._fused, model.layers.convolution._fused
    setattr(model.layers.linear, "_fused", lambda _: False)  # noqa: B010  (mypy refuses a plain assignment)
    setattr(model.layers.convolution, "_fused", lambda _: False)  # noqa: B010
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            step()
    finally:
        model.layers.linear._fused, model.layers.convolution._fused = before
    return float(counter.get_total_flops())


@dataclass
class Table:
    """One question's answer: rows of plain values, printed as they come and written as JSON.

    Attributes:
        name: of the JSON file and the plot.
        title: the question.
        columns: key -> heading; the first ones are words.
        notes: what a reader must know.
    """

    name: str
    title: str
    columns: dict[str, str]
    notes: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    _begun: bool = False
    _kept: tuple[argparse.Namespace, str] | None = None

    def keep(self, arguments: argparse.Namespace, device: str = "cpu") -> Table:
        """Write every row where `--json` says as soon as it is there, so that a killed run leaves what it measured."""
        self._kept = arguments, device
        return self

    def add(self, **values: Any) -> None:
        """One more row, printed now."""
        if not self._begun:
            self._begun = True
            print(f"\n{self.title}\n")
            print("| " + " | ".join(self.columns.values()) + " |")
            print("|" + "---|" * len(self.columns))
        self.rows.append(values)
        print("| " + " | ".join(shown(values.get(key)) for key in self.columns) + " |", flush=True)
        if self._kept is not None:
            self._write(*self._kept)

    def finish(self, arguments: argparse.Namespace, device: str = "cpu") -> None:
        """Print the notes and write everything where `--json` says."""
        for note in self.notes:
            print(f"\n{note}")
        self._write(arguments, device)

    def _write(self, arguments: argparse.Namespace, device: str) -> None:
        target: Path | None = getattr(arguments, "json", None)
        if target is None:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        told = {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()}
        written = {
            "name": self.name,
            "title": self.title,
            "machine": machine(device),
            "arguments": told,
            "columns": self.columns,
            "notes": self.notes,
            "rows": self.rows,
            **self.extra,
        }
        target.write_text(json.dumps(written, indent=1, default=str) + "\n", encoding="utf-8")


def shown(value: Any) -> str:
    """A cell: four significant digits, or fewer where they are whole numbers."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}".replace(",", " ") if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, int) and abs(value) >= 10000:
        return f"{value:,}".replace(",", " ")
    return str(value)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """With the options that every table has."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, help="also write the table here, with the machine and every option")
    made.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of one tensor operation")
    made.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu sums the seconds of all threads: for a busy machine, with --threads 1",
    )
    return made


def header(arguments: argparse.Namespace, device: str = "cpu") -> None:
    """Set the threads and say where this is."""
    torch.set_num_threads(arguments.threads)
    print(", ".join(f"{key} {value}" for key, value in machine(device).items()) + f"; {arguments.clock} clock")
