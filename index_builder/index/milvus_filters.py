"""Which photos may be found, as an expression that Milvus evaluates: numbers alone, no name that had to be quoted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from index_builder.file_times import LATEST_NS
from index_builder.index.candidate_index import Selection
from index_builder.index.version_photos import VersionPhotos, folder_label, tag_label
from index_builder.photo_filter import FILE_TYPES, ORIENTATIONS, PhotoFilter

ALIVE = LATEST_NS
"""In place of the version that removed a photo: none has."""


def expression(photos: VersionPhotos, commit: int, selection: Selection | None) -> str:
    """What lets through the photos of one version, or of a selection of them.

    Args:
        photos: of the version.
        commit: its number in its generation.
        selection: which of them; None takes all.
    """
    parts = [version_expression(photos, commit)]
    if selection is not None:
        parts += _of_filter(selection.chosen)
        if selection.only is not None:
            parts.append(f"id in {_listed(photos.keys[selection.only].tolist())}")
        if selection.left_out:
            parts.append(f"id not in {_listed(photos.keys[list(selection.left_out)].tolist())}")
    return " and ".join(parts)


def version_expression(photos: VersionPhotos, commit: int) -> str:
    """What lets a version's photos through, and none that came or went in another commit.

    A photo that moved keeps the time at which it was added, so its row of a later version may pass as well.
    """
    return f"added <= {photos.latest_ns} and removed > {commit}"


def _of_filter(chosen: PhotoFilter) -> Iterator[str]:
    if chosen.tags:
        yield f"array_contains_any(labels, {_listed(map(tag_label, chosen.tags))})"
    if chosen.tags_all:
        yield f"array_contains_all(labels, {_listed(map(tag_label, chosen.tags_all))})"
    if chosen.tags_none:
        yield f"not array_contains_any(labels, {_listed(map(tag_label, chosen.tags_none))})"
    if (days := chosen.taken_ns) is not None:
        yield f"taken >= {days[0]} and taken <= {days[1]}"
    if chosen.orientation is not None:
        yield f"shape == {ORIENTATIONS.index(chosen.orientation)}"
    if chosen.folder:
        yield f"array_contains(labels, {folder_label(chosen.folder)})"
    if chosen.types:
        yield f"format in {_listed(FILE_TYPES.index(name) for name in chosen.types)}"
    if (moment := chosen.as_of_ns) is not None:
        yield f"added <= {min(moment, LATEST_NS)}"


def _listed(numbers: Iterable[int]) -> str:
    return f"[{', '.join(map(str, numbers))}]"
