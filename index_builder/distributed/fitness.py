"""Whether a machine of the cluster can do the work: it has the same sources, and sees the photos' folders."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from index_builder.comparing.doubts import Doubt, look_or_doubt
from index_builder.gallery_errors import FolderAwayError
from index_builder.object_storage.stores import first_line
from index_builder.photo_folders import MARKER, PhotoFolders
from index_builder.photo_places import Place
from model.errors import SketchseekError

_PACKAGES = ("index_builder", "model")  # what decides about ids and descriptors


@lru_cache
def fingerprint() -> str:
    """Of the sources that this process runs. Where it is the same, so are preprocessing, networks and quantising."""
    found = hashlib.sha256()
    root = Path(__file__).parents[2]
    for path in sorted(path for package in _PACKAGES for path in (root / package).rglob("*.py")):
        found.update(os.fsencode(path.relative_to(root)) + b"\0")
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


@dataclass(frozen=True)
class SeenFolder:
    """A folder of photos as the machine sees it that asks for the build.

    Attributes:
        place: where it lies.
        marker: hash of its marker file; None if it has none.
        holds_files: something lies in it. Of a bucket this is never asked, for an empty place there counts as missing.
    """

    place: Place
    marker: str | None
    holds_files: bool


def seen_here(folders: PhotoFolders) -> tuple[SeenFolder, ...]:
    """The folders that can be read on this machine. Nothing is read from the others, so workers need not have them."""
    places = [*(one.path for one in folders.folders), *(folders.links_to or ())]
    looks = ((place, look_or_doubt(place)) for place in dict.fromkeys(places))
    return tuple(
        SeenFolder(place, look.marker, _holds_files(place)) for place, look in looks if not isinstance(look, Doubt)
    )


@lru_cache
def check_folder(folder: SeenFolder) -> None:
    """Look once whether this machine sees a folder as the other one does.

    Raises:
        FolderAwayError: it does not.
        GalleryError: the folder lies in a bucket, and this machine lacks what that needs.
    """
    look = look_or_doubt(folder.place)
    if isinstance(look, Doubt):
        wrong = look.reason
    elif look.marker != folder.marker:
        wrong = f"has no {MARKER}, or another one"
    elif folder.holds_files and not _holds_files(folder.place):
        wrong = "is empty, so it may not be mounted"
    else:
        return
    raise FolderAwayError(
        f"the photos' folder {folder.place} {wrong}; give every machine of the cluster the same folders, and for "
        "a bucket the same credentials in the environment of `ray start`"
    )


def told(error: Exception) -> str:
    """What ended the work of a machine, and what to do, without what may be secret."""
    if isinstance(error, SketchseekError):
        return str(error)
    return (
        f"it cannot go on ({type(error).__name__}: {first_line(error)}); what was committed is whole, mend it and run "
        "the same command again"
    )


def _holds_files(place: Place) -> bool:
    if not isinstance(place, Path):
        return False
    try:
        with os.scandir(place) as entries:
            return next(entries, None) is not None
    except OSError:
        return False
