"""Reads Quick, Draw! drawings (.ndjson, also gzipped) and varies their strokes before they are drawn.

Format: one JSON object per line with `word` and `drawing`, a list of strokes of [[x...], [y...]] (simplified) or
[[x...], [y...], [t...]] (raw), as published with the dataset (Google, CC BY 4.0).
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.items import Dataset, Drawing, Item
from model.errors import DatasetError

_SUFFIXES = (".ndjson", ".ndjson.gz")


def read_strokes(path: Path, *, per_category: int | None = None, recognized_only: bool = False) -> Dataset:
    """The drawings of one file, or of all .ndjson and .ndjson.gz files of a folder, as sketches.

    Args:
        path: file or folder.
        per_category: keep the first so many of each category; None keeps all.
        recognized_only: leave out drawings that the game did not recognise.

    Raises:
        DatasetError: a file is missing or unreadable, or a line is not a drawing; the message names file and line.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.name.endswith(_SUFFIXES))
        if not files:
            raise DatasetError(f"{path} holds no .ndjson or .ndjson.gz file")
    items: list[Item] = []
    counts: Counter[str] = Counter()
    for file in files:
        for number, line in _lines(file):
            values = _parsed(line, file, number)
            word = values["word"]
            if (recognized_only and values.get("recognized") is False) or counts[word] == per_category:
                continue
            counts[word] += 1
            key = str(values.get("key_id", number))
            items.append(Item(file, word, "sketch", "strokes", _drawing(values["drawing"], file, number), key))
    if not items:
        raise DatasetError(f"{path} holds no drawing")
    return Dataset(tuple(items), path.name)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        with (
            gzip.open(file, "rt", encoding="utf-8")
            if file.name.endswith(".gz")
            else file.open(encoding="utf-8") as lines
        ):
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read the drawings of {file}: {error}") from error


def _parsed(line: str, file: Path, number: int) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise DatasetError(f"{file}, line {number}: no JSON ({error})") from error
    if not isinstance(values, dict) or not isinstance(values.get("word"), str) or "drawing" not in values:
        raise DatasetError(f"{file}, line {number}: expected an object with 'word' and 'drawing'")
    return values


def _drawing(strokes: Any, file: Path, number: int) -> Drawing:
    try:
        drawing = tuple((tuple(map(float, stroke[0])), tuple(map(float, stroke[1]))) for stroke in strokes)
    except (TypeError, ValueError, IndexError) as error:
        raise DatasetError(f"{file}, line {number}: 'drawing' is no list of [[x...], [y...]] strokes") from error
    if not drawing or any(not xs or len(xs) != len(ys) for xs, ys in drawing):
        raise DatasetError(f"{file}, line {number}: a stroke is empty or has more x than y")
    return drawing


@dataclass(frozen=True)
class StrokeAugment:
    """How much a drawing's strokes are varied; 0 turns a step off.

    Attributes:
        drop: probability that a stroke is left out; at least half of the drawing's length always stays.
        tremble: standard deviation of each point's displacement, as a share of the drawing's larger side.
        shift: the same for whole strokes against one another.
        stretch: largest change of a stroke's size, relative.
    """

    drop: float = 0.1
    tremble: float = 0.008
    shift: float = 0.012
    stretch: float = 0.06


def vary_strokes(drawing: Drawing, strength: StrokeAugment, rng: np.random.Generator) -> Drawing:
    """The drawing as another hand might have made it: strokes missing, displaced, resized, their points trembling."""
    strokes = [np.array(stroke) for stroke in drawing]  # [2, n] each
    side = max(float(np.ptp(np.concatenate(strokes, axis=1), axis=1).max()), 1.0)
    lengths = np.array([np.hypot(*np.diff(stroke, axis=1)).sum() + 1e-3 for stroke in strokes])
    kept = rng.random(len(strokes)) >= strength.drop
    for index in np.argsort(-lengths):
        if lengths[kept].sum() >= lengths.sum() / 2:
            break
        kept[index] = True
    return tuple(_varied(strokes[index], side, strength, rng) for index in np.flatnonzero(kept))


def stroke_variants(items: Sequence[Item], count: int, strength: StrokeAugment, seed: int) -> tuple[Item, ...]:
    """Each drawing and `count - 1` varied copies of it, drawing by drawing."""
    rng = np.random.default_rng(seed)
    variants: list[Item] = []
    for item in items:
        if item.strokes is None:
            raise DatasetError(f"{item.path} is an image; only drawings with strokes can be varied")
        variants.append(item)
        variants += [
            replace(item, strokes=vary_strokes(item.strokes, strength, rng), key=f"{item.key}-{copy}")
            for copy in range(1, count)
        ]
    return tuple(variants)


def _varied(
    stroke: NDArray[np.float64], side: float, strength: StrokeAugment, rng: np.random.Generator
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    centre = stroke.mean(axis=1, keepdims=True)
    size = 1 + rng.uniform(-strength.stretch, strength.stretch, (2, 1))
    shift = rng.normal(0, strength.shift * side, (2, 1))
    moved = centre + (stroke - centre) * size + shift + rng.normal(0, strength.tremble * side, stroke.shape)
    return tuple(moved[0].tolist()), tuple(moved[1].tolist())
