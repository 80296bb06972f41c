"""Plots of an evaluation as PNG files: precision against recall, and quality against depth and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.errors import ConfigurationError, MissingExtraError

QUALITY = "map_200_strict"
INSTANCE_QUALITY = "acc_1"


def prepare_plots(folder: Path) -> None:
    """Make the folder of the plots, so that whatever stands against drawing them is known before measuring.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ConfigurationError: there cannot be a folder at this path.
    """
    _figure_type()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"plots go into a folder, and {folder} cannot be one ({error.strerror or error}); give another path"
        ) from error


def _figure_type() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "plots need matplotlib, in the extra 'train': pip install 'sketchseek[train]'"
        ) from error
    return Figure


def draw_plots(
    arms: Mapping[str, Any], curves: Mapping[str, Sequence[float]], folder: Path, *, title: str = ""
) -> list[Path]:
    """Write the plots that the measured arms allow.

    Args:
        arms: the report's "arms": name -> metrics, or for the two-stage arms depth -> metrics.
        curves: label -> precision at evenly spaced recalls from 0 to 1.
        folder: made where it does not exist.
        title: what was measured.

    Returns:
        The files written.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ConfigurationError: there cannot be a folder at this path.
    """
    prepare_plots(folder)
    figure_type = _figure_type()
    written = []
    if curves:
        figure = figure_type(figsize=(6, 4.5), layout="constrained")
        axes = figure.subplots()
        for label, curve in curves.items():
            axes.plot([place / (len(curve) - 1) for place in range(len(curve))], list(curve), label=label)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1), title=title)
        axes.legend()
        axes.grid(alpha=0.3)
        written.append(folder / "precision-recall.png")
        figure.savefig(written[-1], dpi=120)
    staged = {name: arms[name] for name in ("two_stage", "fused_two_stage") if arms.get(name)}
    if staged:
        figure = figure_type(figsize=(10, 4.5), layout="constrained")
        _quality(figure.subplots(1, 2, sharey=True), arms, staged)
        figure.suptitle(title)
        written.append(folder / "quality-depth-time.png")
        figure.savefig(written[-1], dpi=120)
    return written


def _quality(axes: Any, arms: Mapping[str, Any], staged: Mapping[str, Any]) -> None:
    """Left: quality against candidates. Right: quality against milliseconds per query, on a logarithmic axis."""
    depth_axis, time_axis = axes
    first = next(iter(next(iter(staged.values())).values()))
    metric = QUALITY if QUALITY in first else INSTANCE_QUALITY
    for name, depths in staged.items():
        rows = [(int(k), values[metric], values["ms_per_query"]) for k, values in depths.items()]
        ks, qualities, times = zip(*sorted(rows), strict=True)
        label = name.replace("_", " ")
        depth_axis.plot(ks, qualities, marker="o", label=label)
        time_axis.plot(times, qualities, marker="o", label=label)
    for name in ("recall", "relation", "fused"):
        if name in arms:
            line = depth_axis.axhline(arms[name][metric], linestyle="--", alpha=0.6, label=name)
            line.set_color(f"C{('recall', 'relation', 'fused').index(name) + 3}")
            time_axis.plot([arms[name]["ms_per_query"]], [arms[name][metric]], "s", color=line.get_color(), label=name)
    depth_axis.set(xlabel="candidates", ylabel=metric)
    time_axis.set(xlabel="milliseconds per query", xscale="log")
    for axis in (depth_axis, time_axis):
        axis.grid(alpha=0.3)
        axis.legend()
