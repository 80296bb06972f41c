"""Photos that stay although their files were not found, as the gallery's last change noted them."""

from __future__ import annotations

import os
from pathlib import Path

from app.service_errors import RequestError
from index_builder.comparing.places import is_mount
from index_builder.photo_folders import PhotoFolders
from index_builder.store.folder_looks import NAME, FolderLooks, Held

_NO_PLACE_TO_WRITE = frozenset(("missing", "unreadable", "not_mounted", "emptied", "marker"))


class HeldPhotos:
    """Reads the gallery's note whenever it changed: another process may have written it.

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

    def check_uploads(self, folder: Path) -> None:
        """Refuse to write into a folder that is away: what is written now would be hidden when it is back.

        Raises:
            RequestError: `folder_away`.
        """
        note = self._read()
        look = note.looks.get(str(folder))
        away = any(held.place == str(folder) and held.code in _NO_PLACE_TO_WRITE for held in note.held)
        if away or (look is not None and (not folder.is_dir() or (look.mount and not is_mount(folder)))):
            raise RequestError(
                "folder_away",
                "The folder that takes uploads is not there at the moment; GET /gallery says more. Try again later.",
                409,
            )

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
