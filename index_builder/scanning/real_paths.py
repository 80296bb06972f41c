"""The one path that a gallery has for a file or folder, however many links lead to it."""

from __future__ import annotations

import os
from pathlib import Path

from index_builder.photo_folders import PhotoFolders
from index_builder.photo_places import BucketFolder
from index_builder.scanning.folder_times import FolderTimes
from index_builder.scanning.walking import identity_of


class RealPaths:
    """Knows where the folders of photos really lie.

    Args:
        folders: of the photos.
    """

    def __init__(self, folders: PhotoFolders) -> None:
        self._places = [
            (os.path.realpath(one.path), os.fsencode(one.name)) for one in folders.folders if isinstance(one.path, Path)
        ]

    def raw_path(self, real: str) -> bytes | None:
        """A resolved path as the gallery writes it; None where it lies below no folder of photos."""
        for place, name in self._places:
            if real == place:
                return name
            if real.startswith(place.rstrip(os.sep) + os.sep):
                below = os.fsencode(real[len(place.rstrip(os.sep)) + 1 :])
                return name + b"/" + below if name else below
        return None


def known_path(folders: PhotoFolders, raw_path: bytes, gallery: Path | None) -> bytes:
    """The path that a scan of everything finds a file or folder by; the given one where it finds none.

    Args:
        folders: of the photos.
        raw_path: as the gallery writes it; it may lead through links.
        gallery: which is never entered; None if it lies in a bucket.
    """
    if isinstance(folders.folder_of(raw_path)[0].path, BucketFolder):
        return raw_path
    place = os.fsdecode(folders.absolute(raw_path))
    folder, name = (place, "") if os.path.isdir(place) else os.path.split(place)  # noqa: PTH112
    real = os.path.realpath(folder)
    found = RealPaths(folders).raw_path(real)
    if found is None:  # a folder elsewhere: the walk decides by which of the links that lead there
        times = FolderTimes(folders, gallery)
        times.look()
        identity = identity_of(Path(real))
        found = None if identity is None else times.path_of(identity)
    if found is None:
        return raw_path
    return b"/".join(part for part in (found, os.fsencode(name)) if part)
