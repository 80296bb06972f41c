"""Where a gallery's parts lie on disk, how Lance names its files, and its errors as ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from index_builder.gallery_errors import (
    GalleryAwayError,
    GalleryBusyError,
    GalleryDamagedError,
    GalleryVersionGoneError,
    GalleryWriteError,
)
from index_builder.object_storage.bucket_path import BucketPath
from index_builder.object_storage.stores import StaleObjectError, StoreError, first_line
from index_builder.store.checksums import read_json, write_json
from index_builder.store.metadata import FORMAT
from index_builder.store.places import GalleryPlace, Replaces, names_in

POINTER = "gallery.json"
# How Lance begins what its object store said, when that could not be reached or refused.
_STORAGE = re.compile(r"Generic (S3|GCS|MicrosoftAzure) error|error sending request|[Tt]imed? ?out|status code: [45]")
_CONFLICT = re.compile(r"Incompatible transaction|Dataset already exists")
_GENERATION = re.compile(r"photos-([0-9]+)\.(lance|checksums\.json)$")
_MANIFEST_BASE = 2**64 - 1  # Lance names manifest v `2**64 - 1 - v`, so that the newest sorts first


def dataset_path(gallery: GalleryPlace, generation: int) -> GalleryPlace:
    """Folder of one generation's dataset."""
    return gallery / f"photos-{generation}.lance"


def ledger_path(gallery: GalleryPlace, generation: int) -> GalleryPlace:
    """File of one generation's checksums."""
    return gallery / f"photos-{generation}.checksums.json"


def generations_in(gallery: GalleryPlace) -> list[int]:
    """Numbers of the generations that lie in a gallery: the current one, replaced ones and unfinished ones."""
    return sorted({int(found[1]) for name in names_in(gallery) if (found := _GENERATION.match(name)) is not None})


def write_pointer(gallery: GalleryPlace, generation: int, *, replaces: Replaces = "anything") -> None:
    """Make a generation the current one, by one rename, or by one write in a bucket.

    The gallery keeps its identity, or gets one.

    Args:
        gallery: its folder.
        generation: the current one from now on.
        replaces: the pointer that was read, as of `places.replace_file`.
    """
    with lance_errors(f"cannot write to the gallery {gallery}", writing=True):
        try:
            identity = str(read_json(gallery / POINTER)["identity"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            identity = uuid4().hex
        values = {"format": FORMAT, "generation": generation, "identity": identity}
        write_json(gallery / POINTER, values, replaces=replaces)


def manifest_name(commit: int) -> str:
    """Path of a commit's manifest inside the dataset."""
    return f"_versions/{_MANIFEST_BASE - commit}.manifest"


def latest_commit(dataset: GalleryPlace) -> int:
    """Number of the newest commit of a dataset.

    Raises:
        GalleryDamagedError: there is none.
        GalleryAwayError: the object storage does not answer.
    """
    try:
        names = [name.removesuffix(".manifest") for name in names_in(dataset / "_versions")]
    except OSError as error:
        if isinstance(dataset, BucketPath):
            raise away(dataset, error) from error
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
    except (GalleryAwayError, GalleryBusyError, GalleryDamagedError, GalleryVersionGoneError, GalleryWriteError):
        raise
    except StaleObjectError as error:
        raise GalleryBusyError(
            f"{doing}: another command has taken over; what was committed is whole, run the same command again"
        ) from error
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if type(error).__name__ == "CommitConflictError" or _CONFLICT.search(str(error)):
            raise GalleryBusyError(
                f"{doing}: another command has changed it; what was committed is whole, run the same command again"
            ) from error
        if says_away(error):
            raise GalleryAwayError(
                f"{doing}: the object storage failed ({first_line(error)}); what was committed is whole, run the "
                "same command again when it answers"
            ) from error
        if writing:
            raise GalleryWriteError(
                f"{doing}: the disk may be full or not writable ({first_line(error)}); what was committed before is "
                "whole, free some space and run the same command again"
            ) from error
        raise GalleryDamagedError(f"{doing}: {first_line(error)}; run `sketchseek gallery verify`", []) from error


@contextmanager
def reached(place: GalleryPlace) -> Iterator[None]:
    """Turn errors of the object storage into GalleryAwayError. That a file is missing stays what it is, as on disk."""
    try:
        yield
    except OSError as error:
        if isinstance(place, BucketPath) and not isinstance(error, FileNotFoundError):
            raise away(place, error) from error
        raise


def says_away(error: BaseException) -> bool:
    """Whether object storage could not be reached, or refused, in our own requests or in Lance's."""
    return isinstance(error, StoreError) or (isinstance(error, Exception) and _STORAGE.search(str(error)) is not None)


def away(place: object, error: OSError) -> GalleryAwayError:
    """What to tell the user when a gallery's object storage does not answer as it should."""
    return GalleryAwayError(
        f"the gallery {place} cannot be reached: {error.strerror or first_line(error)}; check the network, the address "
        "and the credentials"
    )
