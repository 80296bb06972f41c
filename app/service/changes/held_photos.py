"""Photos that stay although their files were not found, and folders that must not be written to, because they are away.

The gallery's last change noted both. Another process may have made it, so the note is read whenever it changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from app.service.changes.noted_looks import NotedLooks
from app.service_errors import RequestError
from index_builder.comparing.doubts import is_another_device, look_or_doubt, obvious_doubt
from index_builder.comparing.places import Places
from index_builder.photo_files.sources import is_gone
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_places import BucketFolder
from index_builder.store.folder_looks import Held
from index_builder.store.places import GalleryPlace

_AWAY = frozenset(("missing", "unreadable", "not_mounted", "other_device", "emptied", "marker"))
_TRIED = 32  # about how many photos of a folder are looked for before it counts as another disk

Paths = Callable[[], Iterable[bytes]]


class HeldPhotos:
    """What the gallery's note says.

    Args:
        gallery: place of the gallery.
    """

    def __init__(self, gallery: GalleryPlace) -> None:
        self._looks = NotedLooks(gallery)

    @property
    def now(self) -> tuple[Held, ...]:
        """What is held, by folder."""
        return self._looks.read().held

    @property
    def photos(self) -> int:
        """How many photos are held."""
        return sum(held.photos for held in self.now)

    def keeps(self, folders: PhotoFolders, raw_path: bytes) -> bool:
        """Whether a photo lies in a folder whose photos are held."""
        try:
            folder, _ = folders.folder_of(raw_path)
            path = os.fsdecode(folders.absolute(raw_path))
        except FileNotFoundError:
            return any(not held.place for held in self.now)
        if isinstance(folder.path, BucketFolder):
            return any(held.place == str(folder.path) for held in self.now)
        real = os.path.realpath(path)
        return any(_is_below(one, held.place) for held in self.now for one in (path, real))

    def check_uploads(self, folders: PhotoFolders, name: str, photos: Paths) -> None:
        """Refuse to write into a folder that is away: what is written now would be hidden when it is back.

        Args:
            folders: of the photos.
            name: of the folder for uploads.
            photos: gives the paths of all photos of the gallery, each time it is called.

        Raises:
            RequestError: `folder_away`.
        """
        if self._is_away(folders, folders.upload_path(f"{name}/photo"), photos):
            raise RequestError(
                "folder_away",
                "The folder that takes uploads is not there at the moment; GET /gallery says more. Try again later.",
                409,
            )

    def check_deletion(self, folders: PhotoFolders, raw_path: bytes, photos: Paths) -> None:
        """Refuse to delete a photo whose folder is away: its file would be back with the folder.

        Args:
            folders: of the photos.
            raw_path: of the photo.
            photos: gives the paths of all photos of the gallery, each time it is called.

        Raises:
            RequestError: `folder_away`.
        """
        out_of_reach = not _is_there(folders, raw_path) and self.keeps(folders, raw_path)
        if out_of_reach or self._is_away(folders, raw_path, photos):
            raise RequestError(
                "folder_away",
                "The folder of this photo is not there at the moment, so its file cannot be deleted. Try again later.",
                409,
            )

    def _is_away(self, folders: PhotoFolders, raw_path: bytes, photos: Paths) -> bool:
        """Whether the place that a file would lie in is not there, or is another one than the gallery knows."""
        note = self._looks.read()
        places = Places(folders, note.looks)
        place = places.of(raw_path)
        if not place:
            return False
        if any(held.place == place and held.code in _AWAY for held in note.held):
            return True
        before, now = note.looks.get(place), look_or_doubt(next(one for one in places.all if str(one) == place))
        if obvious_doubt(before, now) is not None:
            return True
        if not is_another_device(before, now):
            return False
        # The system may give a disk another number at each start. Another disk has none of the photos.
        known = sum(places.of(path) == place for path in photos())
        of_place = (path for path in photos() if places.of(path) == place)
        spread = islice(of_place, 0, None, max(1, known // _TRIED))
        return known > 0 and not any(_is_there(folders, path) for path in spread)


def _is_below(path: str, place: str) -> bool:
    return bool(place) and Path(path).is_relative_to(place)


def _is_there(folders: PhotoFolders, raw_path: bytes) -> bool:
    try:
        if isinstance(folders.folder_of(raw_path)[0].path, BucketFolder):
            return not is_gone(folders, raw_path)
        return os.path.lexists(folders.absolute(raw_path))
    except FileNotFoundError:
        return False
