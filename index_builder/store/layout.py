"""Where a gallery's parts lie on disk, how Lance names its files, and its errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from index_builder.gallery_errors import GalleryDamagedError, GalleryVersionGoneError, GalleryWriteError
from index_builder.store.checksums import read_json, write_json
from index_builder.store.metadata import FORMAT

POINTER = "gallery.json"
_MANIFEST_BASE = 2**64 - 1  # Lance names manifest v `2**64 - 1 - v`, so that the newest sorts first


def dataset_path(gallery: Path, generation: int) -> Path:
    """Folder of one generation's dataset."""
    return gallery / f"photos-{generation}.lance"


def ledger_path(gallery: Path, generation: int) -> Path:
    """File of one generation's checksums."""
    return gallery / f"photos-{generation}.checksums.json"


def write_pointer(gallery: Path, generation: int) -> None:
    """Make a generation the current one, by one rename. The gallery keeps its identity, or gets one."""
    with lance_errors(f"cannot write to the gallery {gallery}", writing=True):
        try:
            identity = str(read_json(gallery / POINTER)["identity"])
        except (OSError, ValueError, KeyError, TypeError):
            identity = uuid4().hex
        write_json(gallery / POINTER, {"format": FORMAT, "generation": generation, "identity": identity})


def manifest_name(commit: int) -> str:
    """Path of a commit's manifest inside the dataset."""
    return f"_versions/{_MANIFEST_BASE - commit}.manifest"


def latest_commit(dataset: Path) -> int:
    """Number of the newest commit of a dataset on disk.

    Raises:
        GalleryDamagedError: there is none.
    """
    try:
        names = [entry.stem for entry in (dataset / "_versions").iterdir() if entry.suffix == ".manifest"]
    except OSError:
        names = []
    commits = [_MANIFEST_BASE - int(name) for name in names if name.isdecimal()]
    if not commits:
        raise GalleryDamagedError(
            f"the dataset {dataset} has no version left; restore it from a backup, or build the gallery again",
            [f"{dataset.name}/_versions"],
        )
    return max(commits)


def oldest_commit(dataset: Any) -> int:
    """Number of the oldest commit of an opened Lance dataset that still exists."""
    with lance_errors("cannot list the versions of the gallery"):
        return min(int(one["version"]) for one in dataset.versions())


def referenced_files(dataset: Any) -> list[str]:
    """The data and deletion files that an opened Lance dataset reads, relative to it."""
    fragments = dataset.get_fragments()
    deletions = [path for fragment in fragments if (path := fragment.deletion_file()) is not None]
    return [f"data/{file.path}" for fragment in fragments for file in fragment.data_files()] + deletions


@contextmanager
def lance_errors(doing: str, *, writing: bool = False) -> Iterator[None]:
    """Turn what Lance raises (built-in exceptions, and panics of its Rust side) into the gallery's errors."""
    try:
        yield
    except (GalleryDamagedError, GalleryVersionGoneError, GalleryWriteError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if writing:
            raise GalleryWriteError(
                f"{doing}: the disk may be full or not writable ({_first_line(error)}); what was committed before is "
                "whole, free some space and run the same command again"
            ) from error
        raise GalleryDamagedError(f"{doing}: {_first_line(error)}; run `sketchseek gallery verify`", []) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
