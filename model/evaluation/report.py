"""Turns outcomes of arms into plain values and into tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch

from model.data.items import Item, category_key
from model.evaluation.protocols import Outcome

Key: TypeAlias = tuple[str, int | None]
Outcomes: TypeAlias = Mapping[Key, Outcome]
_ASKED = {"sketch": "sketches", "text": "texts", "sketch and text": "sketches with their categories' names"}
STAGED = ("two_stage", "fused_two_stage")
_SHOWN = ("hit_1", "hit_5", "precision_10", "mean_reciprocal_rank", "map_all", "map_200_strict", "precision_100")
_SHOWN_INSTANCE = (
    "acc_1",
    "acc_5",
    "mean_reciprocal_rank",
    "category_acc_1",
    "category_acc_5",
    "category_chance_acc_1",
    "category_chance_acc_5",
)


def milliseconds(arm: str, depth: int | None, times: Mapping[str, float]) -> float:
    """What one query costs in an arm: encoding, recall where it is used, and relating where it is.

    Args:
        arm, depth: "recall", "relation", "fused", or a two-stage arm with its depth.
        times: as `timing.time_queries` returns them.
    """
    total = times["encode"]
    if arm != "relation":
        total += times["recall"]
    if depth is not None:
        total += times[f"relate_{depth}"]
    elif arm != "recall":
        total += times["relate_all"]
    return total


def arm_values(
    outcomes: Outcomes, rows: torch.Tensor | None = None, times: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Arm -> metric means; two-stage arms: arm -> depth -> metric means.

    Args:
        outcomes: (arm, depth or None) -> outcome.
        rows: only these sketches; None takes all.
        times: adds "ms_per_query" where given.
    """
    arms: dict[str, Any] = {}
    for (arm, depth), outcome in outcomes.items():
        values = outcome.means(rows)
        if times is not None:
            values["ms_per_query"] = milliseconds(arm, depth, times)
        if depth is None:
            arms[arm] = values
        else:
            arms.setdefault(arm, {})[str(depth)] = values
    return arms


def source_values(sketches: Sequence[Item], outcomes: Outcomes) -> dict[str, Any]:
    """The same apart for each source of sketches (file name prefix), where there is more than one."""
    names = sorted({item.source for item in sketches})
    if len(names) < 2:
        return {}
    values = {}
    for name in names:
        rows = torch.tensor([row for row, item in enumerate(sketches) if item.source == name])
        values[name or "(none)"] = {"sketches": len(rows), "arms": arm_values(outcomes, rows)}
    return values


def category_values(sketches: Sequence[Item], outcomes: Outcomes) -> dict[str, Any]:
    """The same apart for each category of the sketches."""
    rows: dict[str, list[int]] = {}
    for row, item in enumerate(sketches):
        rows.setdefault(category_key(item.category), []).append(row)
    return {
        sketches[own[0]].category: {"sketches": len(own), "arms": arm_values(outcomes, torch.tensor(own))}
        for _, own in sorted(rows.items())
    }


def tables(report: Mapping[str, Any]) -> str:
    """The report as text: one table of arms, and one line per source of sketches."""
    counts = report["counts"]
    checkpoint = report["checkpoint"]
    lines = [
        f"{report['protocol']}: {counts['sketches']} {_ASKED[report['query']]}, {counts['photos']} photos, "
        f"{counts['categories']} categories; checkpoint {checkpoint['name']} {checkpoint['sha256'][:12]}; "
        f"{report['device']}, {report['dtype']}"
    ]
    if report["sample"]:
        lines.append(
            f"a balanced sample of {counts['sketches']} of {counts['sketches_available']} sketches, "
            f"seed {report['sample']['seed']}"
        )
    if any(report["skipped"][kind] for kind in ("sketches", "photos")):
        skipped = report["skipped"]
        line = f"left out: {skipped['sketches']} sketches and {skipped['photos']} photos that cannot be used"
        if skipped["sketches_without_photo"]:
            line += f", and {skipped['sketches_without_photo']} sketches of these photos"
        lines.append(line)
    if report.get("trained_on"):
        lines.append(f"not zero-shot: the checkpoint was trained on {', '.join(report['trained_on'])}")
    if report.get("left_out_categories"):
        lines.append(f"left out, on one side only: {', '.join(report['left_out_categories'])}")
    if report.get("fusion") == "standardised":
        lines.append("fused: the sum of both standardised scores, as the checkpoint declares no fusion of its own")
    rows = list(_rows(report["arms"]))
    names = _SHOWN if _SHOWN[0] in rows[0][1] else _SHOWN_INSTANCE
    extra = [name for name in ("ms_per_query", "exhaustive_top_10_kept") if any(name in values for _, values in rows)]
    lines += ["", *_table([(label, values) for label, values in rows], [*names, *extra])]
    if report["protocol"] != "instance":
        upstream = [name for name in rows[0][1] if name.startswith("upstream_")]
        lines += ["", "upstream's own variants:", *_table(rows, upstream)]
    for source, part in report["sources"].items():
        head = f"{source}: {part['sketches']} {_ASKED[report['query']]}"
        lines += ["", head, *_table(list(_rows(part["arms"])), list(names))]
    return "\n".join(lines)


def _rows(arms: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, float]]]:
    for arm, values in arms.items():
        if arm in STAGED:
            for depth, inner in values.items():
                yield f"{arm} @{depth}", inner
        else:
            yield arm, values


def _table(rows: Sequence[tuple[str, Mapping[str, float]]], columns: Sequence[str]) -> list[str]:
    label = max(len(name) for name, _ in rows)
    widths = [max(len(column), 7) for column in columns]
    head = " " * label + "".join(f"  {name:>{width}}" for name, width in zip(columns, widths, strict=True))
    lines = [head]
    for name, values in rows:
        cells = "".join(
            f"  {_cell(column, values.get(column)):>{width}}" for column, width in zip(columns, widths, strict=True)
        )
        lines.append(f"{name:<{label}}{cells}")
    return lines


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if column == "ms_per_query" else f"{value:.4f}"
