"""What a gallery no longer needs: which old versions may go, and datasets that a rebuild replaced."""

from __future__ import annotations

import contextlib
import time

from index_builder.store.gallery import Gallery
from index_builder.store.layout import POINTER, dataset_path, generations_in, ledger_path
from index_builder.store.places import GalleryPlace, files_below, remove_folder

TIDY_EVERY = 64
"""Commits after which small data files are merged, so that manifests stay short."""
KEEP_VERSIONS_S = 24 * 3600.0
"""Seconds for which old versions stay readable after they were replaced, for those who have one open."""
MOST_VERSIONS = 500
"""Versions beyond which old ones go sooner. Each costs time at every later commit, and memory while tidying."""
CROWDED_KEEP_S = 600.0
"""Seconds for which old versions stay readable where there are more than that."""
TIDY_AT_END = 4  # commits of one writer; a single photo is not worth rewriting files for


def versions_to_keep(dataset: GalleryPlace, keep_s: float) -> int:
    """How many of a dataset's versions stay: those that were replaced less than `keep_s` seconds ago, and the latest.

    Versions are counted rather than dated. Lance measures age from when a version was written, so the one in use since
    last week would go with the very change that replaces it.
    """
    versions = len(_written(dataset))
    if versions > MOST_VERSIONS:
        keep_s = min(keep_s, CROWDED_KEEP_S)
    return versions - replaced_before(dataset, time.time() - keep_s)


def replaced_before(dataset: GalleryPlace, moment: float) -> int:
    """How many of the versions that are still there another one had replaced by then."""
    return max((older for older, written in enumerate(_written(dataset)) if written <= moment), default=0)


def drop_old_generations(path: GalleryPlace, keep_s: float) -> None:
    """Remove datasets that a rebuild replaced at least `keep_s` seconds ago."""
    try:
        replaced = (path / POINTER).stat().st_mtime
    except FileNotFoundError:
        return
    if time.time() - replaced < keep_s:
        return
    current = Gallery.open(path).generation
    for generation in (made for made in generations_in(path) if made < current):
        with contextlib.suppress(OSError):  # the next change removes the rest
            remove_folder(dataset_path(path, generation))
        ledger_path(path, generation).unlink(missing_ok=True)


def _written(dataset: GalleryPlace) -> list[float]:
    """When each version that is still there was written, the oldest first."""
    found = [one for one in files_below(dataset / "_versions") if one.name.endswith(".manifest")]
    return [one.modified for one in sorted(found, key=lambda one: one.name, reverse=True)]  # their names count down
