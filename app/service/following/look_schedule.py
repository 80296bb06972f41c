"""When to look at the folders of photos without being told that something changed, and what such a look finds."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from index_builder.comparing.places import Places
from index_builder.photo_folders import PhotoFolders
from index_builder.scanning.announced import Announced
from index_builder.scanning.folder_times import FolderTimes
from index_builder.scanning.scope import Scope
from index_builder.scanning.walking import Identity, identity_of
from index_builder.store.folder_looks import FolderLooks
from index_builder.store.places import GalleryPlace, on_disk

_NEVER = float("inf")


class LookSchedule:
    """Looks at folders when that is due. The first look is at everything, and so is each if a bucket is among them.

    Args:
        folders: where the photos lie.
        gallery: whose changes do not matter.
        every_s: seconds between looks at the folders' times; 0: never.
        every_file_s: seconds between looks at every file; 0: never.
    """

    def __init__(self, folders: PhotoFolders, gallery: GalleryPlace, every_s: float, every_file_s: float) -> None:
        self._folders, self._gallery = folders, gallery
        self._times = FolderTimes(folders, on_disk(gallery))
        self._announced = Announced(folders, self._times, on_disk(gallery))
        self._every_s, self._every_file_s = every_s or _NEVER, every_file_s or _NEVER
        self._next_s = self._next_file_s = 0.0
        self._identities = self._identify()

    @property
    def happen(self) -> bool:
        """Whether any look is made at all after the first one."""
        return min(self._every_s, self._every_file_s) < _NEVER

    def replaced(self) -> bool:
        """Whether another folder lies at a place than before, as when a share is mounted. Then all of it is due."""
        before, self._identities = self._identities, self._identify()
        if before == self._identities:
            return False
        self._next_file_s = 0.0
        return True

    def soon(self) -> None:
        """Make a look at the folders' times due: something may have been missed."""
        self._next_s = 0.0

    def due(self) -> Scope:
        """Look at what is due, if anything; what may have changed."""
        now = time.monotonic()
        if now < min(self._next_s, self._next_file_s):
            return Scope()
        found = self._times.look()  # before a look at every file as well: what changes from here on shows next time
        self._next_s = now + self._every_s
        if now < self._next_file_s and not self._folders.in_buckets:
            return found
        self._next_file_s = now + self._every_file_s
        return Scope(everything=True)

    def matters(self, path: str) -> bool:
        """Whether a change of this path may change the gallery."""
        return self._announced.matters(path)

    def at(self, paths: Iterable[str]) -> Scope:
        """What to look at because these paths changed."""
        return self._announced.scope(paths)

    def _identify(self) -> dict[str, Identity | None]:
        """Which folder lies at each place now: at the folders of photos, where links lead, and at mounts below."""
        places = Places(self._folders, FolderLooks.read(self._gallery).looks)
        return {str(place): identity_of(place) for place in places.all if isinstance(place, Path)}
