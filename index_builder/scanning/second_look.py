"""Looks again at folders that changed while a scan went on: a photo may have moved behind its back.

Such a photo left a folder that was not read yet for one that was. Without a second look it would be gone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from index_builder.file_times import may_hide_a_change, modified_ns
from index_builder.gallery_errors import GalleryError
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_places import Place
from index_builder.scanning.bucket_scan import scan_bucket
from index_builder.scanning.found_files import FoundFile
from index_builder.scanning.passed_over import Report
from index_builder.scanning.scan import scan_folders


class ListedFolders:
    """Remembers the time of every folder that a scan lists, and when that was."""

    def __init__(self) -> None:
        self._times: dict[bytes, tuple[int, int]] = {}

    def note(self, raw_path: bytes, status: os.stat_result) -> None:
        """A folder is about to be listed."""
        self._times[raw_path] = (modified_ns(status), time.time_ns())

    def __contains__(self, raw_path: bytes) -> bool:
        return raw_path in self._times

    def changed(self, folders: PhotoFolders) -> list[bytes]:
        """Those that are there and may have changed since."""
        return [path for path, (modified, listed) in self._times.items() if _changed(folders, path, modified, listed)]


def look_again(
    folders: PhotoFolders,
    listed: ListedFolders,
    skipped: Report,
    *,
    leave_out: Path | None = None,
    away: Collection[Place] = (),
) -> Iterator[FoundFile]:
    """The files of folders that changed since they were listed, and of new folders in them.

    A bucket does not tell whether it changed, so it is listed again.

    Args:
        folders: where the photos lie.
        listed: what a scan has listed; takes in what is listed now.
        skipped, leave_out, away: as of `scan_folders`.
    """
    for folder in listed.changed(folders):
        try:
            # A folder that is new has all of its files to show; any other stands in the list itself.
            new = [path for path in _folders_in(folders, folder) if path not in listed]
            for below, deep in [(folder, False), *((path, True) for path in new)]:
                yield from scan_folders(
                    folders, skipped, below=below, deep=deep, leave_out=leave_out, away=away, listed=listed
                )
        except (OSError, GalleryError):  # it is gone again, for the caller to find its photos missing
            continue
    for one in folders.in_buckets:
        if one.path not in away:
            yield from scan_bucket(folders, os.fsencode(one.name), skipped)


def _changed(folders: PhotoFolders, raw_path: bytes, modified: int, listed: int) -> bool:
    try:
        status = os.stat(folders.absolute(raw_path))  # noqa: PTH116 - bytes
    except OSError:
        return False
    return modified_ns(status) != modified or may_hide_a_change(modified, listed)


def _folders_in(folders: PhotoFolders, raw_path: bytes) -> list[bytes]:
    before = raw_path + b"/" if raw_path else b""
    with os.scandir(folders.absolute(raw_path)) as entries:
        return [before + entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
