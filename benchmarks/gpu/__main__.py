"""`python -m benchmarks.gpu`: runs the parts, one after the other, and tells what came out."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import __doc__ as about
from .lines import Line, lines_of
from .parts import PARTS, ROOT, SIZES, Part, Size
from .running import STOP, Execute, Outcome, execute

_NO_DEVICE = 3  # what benchmarks/floors.py ends with
_MINUTES = 8.0
_LEAST_S = 3.0  # a part is not begun with less


@dataclass
class Run:
    """What came out so far, written as it comes.

    Attributes:
        json: file of the whole.
        told: the options.
    """

    json: Path
    told: dict[str, Any]
    lines: list[Line] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """What each part writes by itself, with its log."""
        return self.json.with_name(f"{self.json.stem}-parts")

    def add(self, part: Part, outcome: Outcome) -> None:
        """A part has ended."""
        self.outcomes[part.name] = outcome
        self.lines += lines_of(part, self.folder)
        self.write()

    def write(self) -> None:
        """Everything so far."""
        machine: dict[str, Any] = {}
        for name in self.outcomes:
            written = self.folder / f"{name}.json"
            if not machine and written.exists():
                machine = json.loads(written.read_text(encoding="utf-8")).get("machine", {})
        document = {
            "name": "gpu",
            "machine": machine,
            "arguments": self.told,
            "parts": {name: {"outcome": str(one), **asdict(one)} for name, one in self.outcomes.items()},
            "rows": [{**asdict(line), "of_floor": line.of_floor} for line in self.lines],
        }
        self.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    def table(self) -> str:
        """Everything so far, for people."""
        rows = [["part", "what", "measured", "unit", "floor", "times its floor", "wanted"], ["---"] * 7]
        for line in self.lines:
            shown = (line.part, line.what, line.value, line.unit, line.floor, line.of_floor, line.wanted)
            rows.append([_shown(one) for one in shown])
        parts = [f"{name}: {outcome} ({outcome.seconds:.0f} s)" for name, outcome in self.outcomes.items()]
        return "\n".join(["", *("| " + " | ".join(row) + " |" for row in rows), "", *parts])


def _shown(value: float | str | None) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}".replace(",", " ") if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else value


def main(given: list[str] | None = None, run: Execute = execute) -> int:
    """The exit status: 0 if every part came to its end without an error."""
    arguments = _parser().parse_args(given)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    done = Run(arguments.json, {name: str(value) for name, value in vars(arguments).items()})
    done.folder.mkdir(exist_ok=True)
    for old in done.folder.glob("*.*"):
        old.unlink()
    with tempfile.TemporaryDirectory() as made:
        _run_parts(done, arguments, Path(made), run)
    print(done.table(), flush=True)
    print(f"\nAll of it: {done.json}. Each part's own tables and log: {done.folder}")
    return 0 if len(done.outcomes) == len(PARTS) and all(one.well for one in done.outcomes.values()) else 1


def _run_parts(done: Run, arguments: argparse.Namespace, made: Path, run: Execute) -> None:
    size: Size = arguments.size
    end = time.monotonic() + 60 * arguments.minutes
    for part in PARTS:
        left = end - time.monotonic()
        seconds = min(left, part.seconds * arguments.minutes / _MINUTES)
        if left < _LEAST_S:
            done.add(part, Outcome(None, 0.0))
            continue
        log = done.folder / f"{part.name}.log"
        print(f"{part.name}: at most {seconds:.0f} s", flush=True)
        outcome = run(part.command(arguments.device, size, done.folder, made), log, seconds)
        print(log.read_text(encoding="utf-8", errors="replace"), flush=True)
        done.add(part, outcome)
        if STOP.is_set():
            return
        if outcome.code == _NO_DEVICE and part is PARTS[0]:
            raise SystemExit(
                f"{outcome.said}. Without one, --device cpu --size rehearsal shows whether all of it works."
            )


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    made.add_argument(
        "--size",
        choices=SIZES,
        default="full",
        help="rehearsal takes minutes on two cores; least shows only that each part works",
    )
    made.add_argument("--minutes", type=float, default=_MINUTES, help="that all of it may take")
    made.add_argument(
        "--json", type=Path, default=ROOT / "benchmarks" / "results" / "raw" / "gpu.json", help="where to write it"
    )
    return made


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: STOP.set())
    sys.exit(main())
