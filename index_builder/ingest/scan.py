"""A folder of photos -> its files, streamed, and what was passed over, with the reason for each.

Only the folders already seen are kept, so memory does not grow with the number of photos. Every real folder is walked
once, even if symbolic links lead to it again or in circles.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from index_builder.file_times import modified_ns
from index_builder.gallery_errors import GalleryError
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import shown_path
from model.images.formats.endings import ENDINGS, HEIC_ENDINGS

LINKED_TWICE = "a link to a folder that is already part of the gallery"
LEAVES_ROOT = "a link that leaves the folder of photos; the service would not show it"
HIDDEN = "hidden"
PASSED_OVER = frozenset((LINKED_TWICE, HIDDEN))
"""Reasons that are nothing to mend."""


@dataclass(frozen=True)
class FoundFile:
    """A file that looks like a photo.

    Attributes:
        raw_path: as the file system names it, see `index_builder.photo_folders`.
        size: bytes.
        modified_ns: modification time in nanoseconds since 1970.
    """

    raw_path: bytes
    size: int
    modified_ns: int


@dataclass(frozen=True)
class Skipped:
    """A file or folder that did not become part of the gallery, and why (a phrase in lower case)."""

    path: str
    reason: str


Report = Callable[[Skipped], None]


def heic_available() -> bool:
    """Whether HEIC files can be read (the extra `heic`)."""
    import importlib.util

    return importlib.util.find_spec("pillow_heif") is not None


def scan_folders(
    folders: PhotoFolders, skipped: Report, *, below: bytes = b"", leave_out: Path | None = None
) -> Iterator[FoundFile]:
    """Every file below the photos' folders that looks like a photo.

    Args:
        folders: where to look.
        skipped: called for everything that is passed over.
        below: only this file or folder, as the gallery writes it; b"" takes everything.
        leave_out: a folder that is never entered (the gallery, when it lies inside the photos).

    Raises:
        GalleryError: a folder is none, or cannot be read at all.
    """
    starts = [below] if below else [os.fsencode(folder.name) for folder in folders.folders]
    for start in starts:
        _check_start(folders, start)
    forbidden = _identity(leave_out) if leave_out is not None else None
    seen: set[tuple[int, int]] = set()
    for start in starts:
        place = folders.absolute(start)
        if os.path.isdir(place):  # noqa: PTH112 - bytes
            yield from _walk(folders, start, skipped, forbidden, seen)
        elif (found := _judge(place, start, skipped)) is not None:
            yield found


def _check_start(folders: PhotoFolders, raw_path: bytes) -> None:
    """Raises GalleryError where a folder or file that was named cannot be read."""
    start = folders.absolute(raw_path)
    try:
        status = os.stat(start)  # noqa: PTH116 - bytes
        if stat.S_ISDIR(status.st_mode):
            os.scandir(start).close()
    except OSError as error:
        raise GalleryError(f"cannot read {shown_path(start)}: {error.strerror}; check the path") from error
    if not stat.S_ISDIR(status.st_mode) and raw_path in [os.fsencode(one.name) for one in folders.folders]:
        raise GalleryError(f"{shown_path(start)} is no folder; name the folder that holds the photos")


def _walk(
    photos: PhotoFolders, start: bytes, skipped: Report, forbidden: tuple[int, int] | None, seen: set[tuple[int, int]]
) -> Iterator[FoundFile]:
    # Linked folders wait until all real ones are done, so that a photo gets its real path if it has one here.
    folders, links = [start], list[bytes]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        place = photos.absolute(folder)
        try:
            status = os.stat(place)  # noqa: PTH116 - bytes
            if (status.st_dev, status.st_ino) == forbidden:
                continue
            if (status.st_dev, status.st_ino) in seen:
                skipped(Skipped(shown_path(folder), LINKED_TWICE))
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = os.scandir(place)
        except OSError as error:
            skipped(Skipped(shown_path(folder), f"unreadable folder: {error.strerror}"))
            continue
        with entries:
            for entry in entries:
                path = folder + b"/" + entry.name if folder else entry.name
                if entry.name.startswith(b"."):
                    skipped(Skipped(shown_path(path), HIDDEN))
                elif entry.is_symlink() and _leaves(photos, entry.path):
                    skipped(Skipped(shown_path(path), LEAVES_ROOT))
                elif _is_folder(entry):
                    (links if entry.is_symlink() else folders).append(path)
                elif (found := _judge(entry.path, path, skipped)) is not None:
                    yield found
        folders.sort(reverse=True)
        links.sort()


def _leaves(photos: PhotoFolders, place: bytes) -> bool:
    """Whether a link leads to something that exists outside the photos' folders."""
    target = os.path.realpath(place)
    return os.path.exists(target) and not photos.is_inside(target + b"/")  # noqa: PTH110


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle of links, which _judge reports
        return False


def _judge(place: bytes, raw_path: bytes, skipped: Report) -> FoundFile | None:
    """The file if it may become a photo, or None after reporting why not. Nothing is opened: a pipe would block."""
    ending = os.fsdecode(os.path.splitext(raw_path)[1]).lower()  # noqa: PTH122 - bytes
    reason: str
    try:
        status = os.stat(place)  # noqa: PTH116 - bytes
    except FileNotFoundError:
        reason = "a link that leads nowhere"
    except OSError as error:
        reason = f"unreadable file: {error.strerror}"
    else:
        if not stat.S_ISREG(status.st_mode):
            reason = "not a regular file"
        elif ending in HEIC_ENDINGS and not heic_available():
            reason = "HEIC needs an extra: pip install 'sketchseek[heic]'"
        elif ending not in ENDINGS:
            reason = "not a photo, by its name's ending"
        elif status.st_size == 0:
            reason = "empty file"
        else:
            return FoundFile(raw_path, status.st_size, modified_ns(status))
    skipped(Skipped(shown_path(raw_path), reason))
    return None


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
