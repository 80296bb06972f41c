"""A picture of each table that `benchmarks/all.py` measured, as PNG beside its JSON.

python benchmarks/plots.py FOLDER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.errors import MissingExtraError

Rows = list[dict[str, Any]]


def bars(axes: Any, rows: Rows, label: Callable[[dict[str, Any]], str], value: str, floor: str | None = None) -> None:
    """One horizontal bar per row, with its floor marked."""
    places = list(range(len(rows)))
    axes.barh(places, [row[value] for row in rows], color="C0")
    marked = [(place, row[floor]) for place, row in enumerate(rows) if floor and row.get(floor)]
    if marked:
        axes.plot([x for _, x in marked], [y for y, _ in marked], "|", color="C3", markersize=14, label="floor")
        axes.legend()
    axes.set_yticks(places, [label(row) for row in rows], fontsize=7)
    axes.invert_yaxis()


def encode(axes: Any, rows: Rows) -> None:
    """Milliseconds per image."""
    bars(axes, rows, lambda r: f"{r['arithmetic']}, batch {r['batch']}, {r['threads']} threads", "ms", "floor_ms")
    axes.set(xlabel="ms per image")


def relate(axes: Any, rows: Rows) -> None:
    """Milliseconds per pair."""
    bars(axes, rows, lambda r: f"{r['network']}: {r['way']}", "ms", "floor_ms")
    axes.set(xlabel="ms per pair", xscale="log")


def recall(axes: Any, rows: Rows) -> None:
    """Milliseconds per query."""
    bars(axes, rows, lambda r: f"{r['photos']:,}: {r['index']}", "median_ms", "floor_ms")
    axes.set(xlabel="ms per query", xscale="log")


def hash_codes(axes: Any, rows: Rows) -> None:
    """What is found against milliseconds."""
    for row in rows:
        axes.plot(row["ms"], row["found"], "o")
        axes.annotate(f"{row['photos']:,}: {row['recall']}", (row["ms"], row["found"]), fontsize=6)
    axes.set(xlabel="CPU ms per query", ylabel="share of the exact first 100 found", xscale="log")


def build(axes: Any, rows: Rows) -> None:
    """Photos per second, the forward pass as the floor."""
    bars(axes, rows, lambda r: str(r["turn"]), "build_per_s", "forward_per_s")
    axes.set(xlabel="photos per s (mark: the forward pass alone)")


def scale(axes: Any, rows: Rows) -> None:
    """Stages against the gallery's size."""
    photos = [row["photos"] for row in rows]
    for stage in ("encode", "recall", "tokens", "relate", "query"):
        axes.plot(photos, [row[f"{stage}_ms"] for row in rows], marker="o", label=stage)
    axes.plot(photos, [row["floor_ms"] for row in rows], "--", color="black", label="sum of floors")
    axes.set(xlabel="photos", ylabel="ms", xscale="log", yscale="log")
    axes.legend()


def upstream(axes: Any, rows: Rows) -> None:
    """Both ways against the gallery's size."""
    for name in dict.fromkeys(row["network"] for row in rows):
        some = [row for row in rows if row["network"] == name]
        photos = [row["photos"] for row in some]
        axes.plot(photos, [row["upstream_ms"] for row in some], "s--", label=f"{name}, the published way")
        axes.plot(photos, [row["ours_ms"] for row in some], "o-", label=f"{name}, ours")
    axes.set(xlabel="photos", ylabel="ms per query", xscale="log", yscale="log")
    axes.legend()


def tokens(axes: Any, rows: Rows) -> None:
    """Quality against bytes."""
    for row in rows:
        axes.plot(row["bytes"], row["relation"], "o")
        axes.annotate(row["way"], (row["bytes"], row["relation"]), fontsize=6)
    axes.set(xlabel="bytes per photo", ylabel="mAP@200, relation alone", xscale="log")


def candidates(axes: Any, rows: Rows) -> None:
    """Quality against what it adds."""
    for row in rows:
        axes.plot(row["added_100k"], row["map_200"], "o")
        axes.annotate(row["way"], (row["added_100k"], row["map_200"]), fontsize=6)
    axes.set(xlabel="ms added at 100 000 photos", ylabel="mAP@200, two stages")


def early_exit(axes: Any, rows: Rows) -> None:
    """What is kept against what is related."""
    for top_k in dict.fromkeys(row["top_k"] for row in rows):
        some = [row for row in rows if row["top_k"] == top_k]
        axes.plot([row["related"] for row in some], [row["kept"] for row in some], "o-", label=f"top_k {top_k}")
    axes.set(xlabel="share of the candidates related", ylabel="share of the full top_k found")
    axes.legend()


def serve(axes: Any, rows: Rows) -> None:
    """Percentiles by the number of clients."""
    for side in dict.fromkeys(row["side"] for row in rows):
        own = [row for row in rows if row["side"] == side]
        for percentile in ("p50", "p95"):
            values = [row[f"{percentile}_ms"] for row in own]
            axes.plot([str(row["clients"]) for row in own], values, "o-", label=f"{percentile}, {side}")
    axes.set(xlabel="clients", ylabel="ms per search")
    axes.legend()


def quality(axes: Any, rows: Rows) -> None:
    """mAP@200 of each row."""
    bars(axes, rows, lambda row: str(next(iter(row.values()))), "map_200")
    axes.set(xlabel="mAP@200")


def hash_quality(axes: Any, rows: Rows) -> None:
    """mAP after both stages."""
    bars(axes, rows, lambda row: f"{row['recall']}, shortlist {row['shortlist'] or 'none'}", "both")
    axes.set(xlabel="mAP of the first 100, both stages")


DRAWN: dict[str, Callable[[Any, Rows], None]] = {
    "encode": encode,
    "encode-quality": quality,
    "relate": relate,
    "recall": recall,
    "build": build,
    "hash": hash_codes,
    "hash-quality": hash_quality,
    "scale": scale,
    "upstream": upstream,
    "upstream-quality": quality,
    "tokens": tokens,
    "candidates": candidates,
    "early-exit": early_exit,
    "serve": serve,
}


def draw(folder: Path) -> list[Path]:
    """A plot for each JSON file in a folder whose table is known; the files written.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("plots need matplotlib: pip install 'sketchseek[train]'") from error
    written = []
    for file in sorted(folder.glob("*.json")):
        table = json.loads(file.read_text(encoding="utf-8"))
        kind = next((name for name in sorted(DRAWN, key=len, reverse=True) if file.stem.startswith(name)), None)
        if kind is None or not table.get("rows"):
            continue
        figure = Figure(figsize=(8, max(3.5, 0.28 * len(table["rows"]))), layout="constrained")
        axes = figure.subplots()
        DRAWN[kind](axes, table["rows"])
        axes.set_title(table.get("title", file.stem), fontsize=9)
        axes.grid(alpha=0.3)
        written.append(file.with_suffix(".png"))
        figure.savefig(written[-1], dpi=110)
    return written


if __name__ == "__main__":
    for path in draw(Path(sys.argv[1])):
        print(path)
