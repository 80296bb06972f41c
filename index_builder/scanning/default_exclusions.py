"""Which folders and files are left out of every gallery: what other software keeps beside the user's photos.

Only what is surely not the user's photos stands here: thumbnails, previews, deleted files, snapshots.
docs/exclusions.md says who makes each; a test compares the two.
"""

from __future__ import annotations

import fnmatch
import os
import re

HIDDEN = "hidden"

FOLDERS = (
    # Network storage
    "@eaDir",
    "@tmp",
    "@SynoResource",
    "@SynoEAStream",
    "#recycle",
    "#snapshot",
    "@Recycle",
    "@Recently-Snapshot",
    "@Transcode",
    "~snapshot",
    "Network Trash Folder",
    "Temporary Items",
    # Systems
    "$RECYCLE.BIN",
    "RECYCLER",
    "RECYCLED",
    "System Volume Information",
    "lost+found",
    "__MACOSX",
    # Editors and photo servers
    "*.lrdata",
    "files_trashbin",
    "files_versions",
    "appdata_oc*",
    # Cameras
    "THMBNL",
    # Software
    "node_modules",
)
"""Names of folders, whatever their case."""

FILES = ("Thumbs.db", "ehthumbs.db", "desktop.ini")
"""Names of files, whatever their case."""

MARKED_FOLDERS = {
    "thumbs": ".immich",
    "encoded-video": ".immich",
    "profile": ".immich",
    "backups": ".immich",
    "storage": ".ppstorage",
}
"""Names of folders that are left out if they hold this file, by which their owner marks them."""

PHOTO_LIBRARIES = ("*.photoslibrary", "*.photolibrary", "*.aplibrary", "*.migratedphotolibrary", "*.migratedaplibrary")
"""Libraries of Photos, iPhoto and Aperture: folders that a Mac shows as one file."""

INSIDE_PHOTO_LIBRARIES = (
    "resources/derivatives",
    "resources/proxies",
    "resources/renders",
    "resources/media/face",
    "resources/cloudsharing/resources",
    "scopes/*/resources",
    "database",
    "private",
    "Thumbnails",
    "Previews",
    "Faces",
    "Masks",
    "Data",
    "Data.noindex",
    "iPod Photo Cache",
    "Apple TV Photo Cache",
    "iLifeShared",
    "ProjectCache",
)
"""Paths inside such a library that hold what the program has made itself. Originals, Masters and shared albums stay."""


def _folded(names: tuple[str, ...]) -> dict[bytes, str]:
    return {name.lower().encode(): name for name in names if "*" not in name}


def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(pattern.lower()) for pattern in patterns))


_FOLDERS = _folded(FOLDERS)
_FILES = _folded(FILES)
_FOLDER_PATTERNS = tuple((pattern, _any_of((pattern,))) for pattern in FOLDERS if "*" in pattern)
_FOLDER_PATTERN = _any_of(tuple(pattern for pattern, _ in _FOLDER_PATTERNS))
_MARKED = {name.encode(): marker.encode() for name, marker in MARKED_FOLDERS.items()}
_LIBRARY = _any_of(PHOTO_LIBRARIES)
_INSIDE_LIBRARY = tuple(
    # `*` stands for one folder here
    (path, re.compile("[^/]*".join(map(re.escape, path.lower().split("*")))))
    for path in INSIDE_PHOTO_LIBRARIES
)


def is_photo_library(name: bytes) -> bool:
    """Whether a folder of this name is a library of Photos, iPhoto or Aperture."""
    return _LIBRARY.match(_text(name)) is not None


def default_for_file(name: bytes) -> str | None:
    """The default that leaves out a file of this name, or None."""
    if name.startswith(b"."):
        return HIDDEN
    return _by_default(_FILES.get(name.lower()))


def default_for_folder(name: bytes, place: bytes, inside_library: bytes | None) -> str | None:
    """The default that leaves out a folder, or None.

    Args:
        name: of the folder.
        place: its absolute path, where a marker is looked for.
        inside_library: its path inside the photo library that it belongs to; None outside of one.
    """
    if name.startswith(b"."):
        return HIDDEN
    folded = name.lower()
    if folded in _FOLDERS:
        return _by_default(_FOLDERS[folded])
    if _FOLDER_PATTERN.match(text := _text(name)):
        return _by_default(next(pattern for pattern, regex in _FOLDER_PATTERNS if regex.match(text)))
    marker = _MARKED.get(folded)
    if marker is not None and os.path.lexists(os.path.join(place, marker)):  # noqa: PTH118 - bytes
        return _by_default(f"{folded.decode()} with {marker.decode()}")
    if inside_library is not None:
        text = _text(inside_library)
        return _by_default(next((path for path, regex in _INSIDE_LIBRARY if regex.fullmatch(text)), None))
    return None


def _by_default(name: str | None) -> str | None:
    return None if name is None else f"by default, {name}"


def _text(name: bytes) -> str:
    return os.fsdecode(name).lower()
