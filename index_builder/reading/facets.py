"""How many photos each choice of a filter would leave: what a page offers beside its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from index_builder.photo_filter import FILE_TYPES, ORIENTATIONS, PhotoFilter
from index_builder.reading.photo_columns import Mask, PhotoColumns, all_of


@dataclass(frozen=True)
class Facets:
    """Counts of photos. Each kind of choice but folders is counted as if only the others were made.

    Attributes:
        photos: that pass the whole filter.
        tags: tag -> photos, in alphabetical order. `tags_all` and `tags_none` count as made.
        orientations, types: name -> photos, in the order of `ORIENTATIONS` and `FILE_TYPES`.
        folders: folders directly inside the filter's, or the outermost -> photos that pass, in alphabetical order.
        months: "2024-06" -> photos taken in that month, in order.
    """

    photos: int
    tags: dict[str, int]
    orientations: dict[str, int]
    types: dict[str, int]
    folders: dict[str, int]
    months: dict[str, int]


def facets_of(columns: PhotoColumns, chosen: PhotoFilter) -> Facets:
    """The counts for a filter. Choices without photos are left out."""
    masks = dict(columns.masks(chosen))
    everything = np.ones(len(columns), dtype=bool)

    def without(*own: str) -> Mask:
        others = all_of(mask for name, mask in masks.items() if name not in own)
        return everything if others is None else others

    inside = without()
    return Facets(
        photos=int(np.count_nonzero(inside)),
        tags=_tags(columns, without("tags")),
        orientations=_counted(columns.orientations[without("orientation")], ORIENTATIONS),
        types=_counted(columns.types[without("types")], FILE_TYPES),
        folders=_folders(columns, inside, chosen.folder),
        months=_counted(columns.months[without("taken")], columns.month_names),
    )


def _counted(codes: npt.NDArray[np.integer[Any]], names: Sequence[str]) -> dict[str, int]:
    """How often each name's place is among the codes; places behind the last name count for none."""
    counts = np.bincount(codes, minlength=len(names))
    return {name: int(count) for name, count in zip(names, counts, strict=False) if count}


def _tags(columns: PhotoColumns, inside: Mask) -> dict[str, int]:
    names, rows, starts = columns.rows_by_tag
    if not names:
        return {}
    counts = np.add.reduceat(inside[rows], starts, dtype=np.int64)
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count}


def _folders(columns: PhotoColumns, inside: Mask, folder: str) -> dict[str, int]:
    """Photos in each folder directly below another, however deep inside it they lie."""
    prefix = f"{folder}/" if folder else ""
    counts = np.bincount(columns.folder_codes[inside], minlength=len(columns.folders))
    found: dict[str, int] = {}
    for place in np.flatnonzero(counts).tolist():
        child = columns.folders[place].removeprefix(prefix).partition("/")[0]
        if child:
            found[prefix + child] = found.get(prefix + child, 0) + int(counts[place])
    return dict(sorted(found.items()))
