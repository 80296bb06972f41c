"""Photos that stay although their files were not found, and folders that must not be written to, because they are away.

The gallery's last change noted both. Another process may have made it, so the note is read whenever it changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from app.service_errors import RequestError
from index_builder.comparing.places import Places, look_at
from index_builder.photo_folders import PhotoFolders
from index_builder.store.folder_looks import NAME, FolderLooks, Held

_AWAY = frozenset(("missing", "unreadable", "not_mounted", "other_device", "emptied", "marker"))
_TRIED = 32  # photos of a folder that are looked for before it counts as another disk
_LOOK_OVER = 4096  # photos among which these are found


Paths = Callable[[], Iterable[bytes]]


class HeldPhotos:
    """What the gallery's note says.

    Args:
        gallery: folder of the gallery.
    """

    def __init__(self, gallery: Path) -> None:
        self._gallery = gallery
        self._stamp: tuple[int, int] | None = None
        self._note = FolderLooks()

    @property
    def now(self) -> tuple[Held, ...]:
        """What is held, by folder."""
        return self._read().held

    @property
    def photos(self) -> int:
        """How many photos are held."""
        return sum(held.photos for held in self.now)

    def keeps(self, folders: PhotoFolders, raw_path: bytes) -> bool:
        """Whether a photo lies in a folder whose photos are held."""
        try:
            path = os.fsdecode(folders.absolute(raw_path))
        except FileNotFoundError:
            path = ""
        real = os.path.realpath(path) if path else ""
        return any(_is_below(one, held.place) for held in self.now for one in (path, real))

    def check_uploads(self, folders: PhotoFolders, name: str, photos: Paths) -> None:
        """Refuse to write into a folder that is away: what is written now would be hidden when it is back.

        Args:
            folders: of the photos.
            name: of the folder for uploads.
            photos: gives paths of the gallery's photos.

        Raises:
            RequestError: `folder_away`.
        """
        if self._is_away(folders, folders.relative(folders.upload_folder.path / name / "photo"), photos):
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
            photos: gives paths of the gallery's photos.

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
        note = self._read()
        places = Places(folders, note.looks)
        place = places.of(raw_path)
        if not place:
            return False
        if any(held.place == place and held.code in _AWAY for held in note.held):
            return True
        try:
            now = look_at(Path(place))
        except OSError:
            return True
        before = note.looks.get(place)
        if before is None:
            return False
        if (before.mount and not now.mount) or before.marker not in (None, now.marker):
            return True
        if before.device == now.device:
            return False
        # The system may give a disk another number at each start. Another disk has none of the photos.
        of_place = (path for path in islice(photos(), _LOOK_OVER) if places.of(path) == place)
        return not any(_is_there(folders, path) for path in islice(of_place, _TRIED))

    def _read(self) -> FolderLooks:
        try:
            status = os.stat(self._gallery / NAME)  # noqa: PTH116
        except OSError:
            return FolderLooks()
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            self._note, self._stamp = FolderLooks.read(self._gallery), stamp
        return self._note


def _is_below(path: str, place: str) -> bool:
    return not place if not path else bool(place) and Path(path).is_relative_to(place)


def _is_there(folders: PhotoFolders, raw_path: bytes) -> bool:
    try:
        return os.path.lexists(folders.absolute(raw_path))
    except FileNotFoundError:
        return False
