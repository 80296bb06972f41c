"""From what the parts wrote to the lines of the one table."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .parts import Part


@dataclass(frozen=True)
class Line:
    """One thing that was measured.

    Attributes:
        part: that measured it.
        what: in words.
        value: what came out.
        unit: of value and floor.
        floor: the best that the device's own rates allow; None where none applies.
        wanted: what was promised, in words.
    """

    part: str
    what: str
    value: float | str
    unit: str
    floor: float | None = None
    wanted: str = ""

    @property
    def of_floor(self) -> float | None:
        """How many times worse than the floor it is; a rate is worse where it is lower."""
        if not self.floor or not isinstance(self.value, float) or not self.value:
            return None
        return self.floor / self.value if self.unit.endswith("per s") else self.value / self.floor


Found = dict[str, Any]
CANDIDATES = 50  # of a search, as benchmarks/serve.py asks


def lines_of(part: Part, folder: Path) -> list[Line]:
    """What a part measured, whether or not it came to its end."""
    if part.name == "tests":
        log = folder / "tests.log"
        return _tests(log.read_text(encoding="utf-8", errors="replace") if log.exists() else "")
    found = _written(folder, part.name)
    if found is None or part.name not in _READERS:
        return []
    lines = list(_READERS[part.name](found))
    return _with_floor_of_a_search(lines, folder) if part.name.startswith("serve") else lines


def _written(folder: Path, name: str) -> Found | None:
    """What a part wrote."""
    written = folder / f"{name}.json"
    return json.loads(written.read_text(encoding="utf-8")) if written.exists() else None


def _with_floor_of_a_search(lines: list[Line], folder: Path) -> list[Line]:
    """With the arithmetic of one sketch and its 50 candidates, as other parts counted it, beside what serving took."""
    encode, relate = (_written(folder, name) for name in ("encode", "relate"))
    if encode is None or relate is None:
        return lines
    one = [row["floor_ms"] for row in encode["rows"] if row["arithmetic"] == "bfloat16"]
    pair = [row["floor_ms"] for row in relate["rows"] if row["way"] == "relate, bfloat16"]
    if not one or not pair:
        return lines
    ms = one[0] + CANDIDATES * pair[0]
    return [replace(line, floor=ms if line.unit == "ms" else 1000 / ms) for line in lines]


def _tests(log: str) -> list[Line]:
    """How many tests came to which end, those of a run that was ended included."""
    counted = Counter(re.findall(r"^\S*::.* (PASSED|FAILED|SKIPPED|ERROR)\b", log, re.MULTILINE))
    said = ", ".join(f"{count} {end.lower()}" for end, count in sorted(counted.items()))
    return [Line("tests", "tests/gpu", said, "", wanted="all passed")] if counted else []


def _floors(found: Found) -> Iterator[Line]:
    for row in found["rows"]:
        yield Line("floors", row["what"], row["rate"], row["unit"])


def _encode(found: Found) -> Iterator[Line]:
    for row in found["rows"]:
        what = f"{row['network']}, {row['arithmetic']}, batch {row['batch']}"
        yield Line("encode", what, row["ms"], "ms an image", row["floor_ms"])


def _relate(found: Found) -> Iterator[Line]:
    sketches = int(found["arguments"]["sketches"])
    part, beside = ("relate", "") if sketches == 1 else ("relate8", f" for each of {sketches} sketches")
    for row in found["rows"]:
        what = f"{row['network']}, {row['way']}, {row['photos']} photos{beside}"
        yield Line(part, what, row["ms"] * row["photos"], "ms a sketch", row["floor_ms"] * row["photos"])


def _serve(found: Found) -> Iterator[Line]:
    services = int(found["arguments"]["services"])
    part, beside = ("serve", "") if services == 1 else ("serve4", f" of {services} services")
    for row in found["rows"]:
        clients, statuses = row["clients"], row["statuses"]
        failed = sum(count for status, count in statuses.items() if status != "200")
        many = f"{clients} client{'s' if clients > 1 else ''}{beside}" + (f", {failed} not answered" if failed else "")
        stages = ", ".join(f"{name} {ms:.1f}" for name, ms in row["stages_p50_ms"].items() if name != "total")
        yield Line(part, f"{many}: p50 ({stages})", row["p50_ms"], "ms", wanted="10" if clients == 1 else "")
        yield Line(part, f"{many}: searches", row["per_s"], "per s", wanted="400" if clients >= 32 else "")


def _build(found: Found) -> Iterator[Line]:
    for row in found["rows"]:
        if row["turn"] != "median":
            yield Line(
                "build", f"turn {row['turn']}", row["build_per_s"], "photos per s", row["forward_per_s"], "2 000"
            )


def _recall(found: Found) -> Iterator[Line]:
    for row in found["rows"]:
        if "filtered" in row["index"]:
            continue  # on the CPU alone
        what = f"{row['photos']} photos, {row['index']}, found {row['found']:.3f}"
        yield Line("recall", what, row["median_ms"], "ms a query", row["floor_ms"])


_READERS: dict[str, Callable[[Found], Iterator[Line]]] = {
    "floors": _floors,
    "encode": _encode,
    "relate": _relate,
    "relate8": _relate,
    "serve": _serve,
    "serve4": _serve,
    "build": _build,
    "recall": _recall,
}
