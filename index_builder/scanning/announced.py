"""From paths of which the system says that they changed to what a comparison has to look at."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from index_builder.gallery_errors import GalleryError
from index_builder.photo_folders import MARKER, PhotoFolders
from index_builder.scanning.exclusions import is_ignore_file
from index_builder.scanning.folder_times import FolderTimes
from index_builder.scanning.found_files import may_be_photo
from index_builder.scanning.real_paths import RealPaths
from index_builder.scanning.scope import Scope


class Announced:
    """Tells the paths that matter from those that do not, such as logs, sidecar files and half-written uploads.

    Args:
        folders: where the photos lie.
        times: of these folders.
        leave_out: a folder whose changes do not matter: the gallery, if it is on disk.
    """

    def __init__(self, folders: PhotoFolders, times: FolderTimes, leave_out: Path | None) -> None:
        self._photos, self._times = folders, times
        self._gallery = os.path.realpath(leave_out) if leave_out is not None else None
        self._real = RealPaths(folders)

    def matters(self, path: str) -> bool:
        """Whether a change of this absolute path may change the gallery. Called for every event."""
        if self._gallery is not None and (path == self._gallery or path.startswith(self._gallery + os.sep)):
            return False
        raw_path = self._relative(path)
        if not raw_path or is_ignore_file(raw_path) or _is_marker(raw_path):
            return True
        status = _status(path)
        is_folder = self._times.knows(raw_path) if status is None else stat.S_ISDIR(status.st_mode)
        try:
            if self._times.exclusions.reason(raw_path, is_folder=is_folder) is not None:
                return False
        except OSError:  # an ignore file that cannot be read at the moment
            return True
        is_link = status is not None and stat.S_ISLNK(status.st_mode)
        return is_folder or is_link or may_be_photo(raw_path, os.fsencode(path))

    def scope(self, paths: Iterable[str]) -> Scope:
        """What to look at because these absolute paths changed, all of which matter."""
        scope = Scope()
        for path in paths:
            raw_path, status = self._relative(path), _status(path)
            if not raw_path or (status is not None and stat.S_ISLNK(status.st_mode)):
                return Scope(everything=True)  # a link may bring a whole folder, or take one away
            if is_ignore_file(raw_path):
                self._times.renew()
                return Scope(everything=True)
            if _is_marker(raw_path):
                return Scope(everything=True)
            if self._times.knows(raw_path) or (status is not None and stat.S_ISDIR(status.st_mode)):
                scope.add(self._times.look(raw_path))
            if status is None or not stat.S_ISDIR(status.st_mode):
                scope.files.add(raw_path)
        return scope

    def _relative(self, path: str) -> bytes | None:
        """As the gallery writes it; None for what the gallery has no path for.

        Links are resolved, because the gallery has one path for a folder, and events may come by any.
        """
        folder, name = os.path.split(path)
        found = self._real.raw_path(os.path.join(os.path.realpath(folder), name))  # noqa: PTH118 - events are text
        if found is not None:
            return found
        try:
            return self._photos.relative(path)
        except GalleryError:
            return None


def _is_marker(raw_path: bytes) -> bool:
    return raw_path.rpartition(b"/")[2] == MARKER.encode()


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None
