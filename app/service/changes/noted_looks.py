"""What a gallery notes of its folders, for those who ask often and must not wait for a network."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

from index_builder.gallery_errors import GalleryAwayError
from index_builder.object_storage.bucket_path import BucketPath
from index_builder.store.folder_looks import NAME, FolderLooks
from index_builder.store.places import GalleryPlace

_AGAIN_S = 5.0  # between looks into a bucket


class NotedLooks:
    """The note of a gallery. Another process may have written it, so it is read whenever it changed.

    On disk, each call looks. In a bucket, a thread looks every few seconds while there are calls.

    Args:
        gallery: its place.
    """

    def __init__(self, gallery: GalleryPlace) -> None:
        self._gallery = gallery
        self._stamp: tuple[int, int] | None = None
        self._note = FolderLooks()
        self._due_s, self._looking = 0.0, threading.Lock()

    def read(self) -> FolderLooks:
        """The note as far as it is known."""
        if not isinstance(self._gallery, BucketPath):
            self._read_disk(self._gallery)
        elif time.monotonic() >= self._due_s and self._looking.acquire(blocking=False):
            threading.Thread(target=self._read_bucket, name="held photos", daemon=True).start()
        return self._note

    def _read_disk(self, gallery: Path) -> None:
        try:
            status = os.stat(gallery / NAME)  # noqa: PTH116
        except OSError:
            self._note, self._stamp = FolderLooks(), None
            return
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            self._note, self._stamp = FolderLooks.read(gallery), stamp

    def _read_bucket(self) -> None:
        try:
            with contextlib.suppress(GalleryAwayError):  # what was known still holds
                self._note = FolderLooks.read(self._gallery)
        finally:
            self._due_s = time.monotonic() + _AGAIN_S
            self._looking.release()
