"""The places that photos lie in: folders of the gallery, folders that links lead to, and mount points below both.

Each is judged by itself, so one share that is away holds its own photos and no others.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from index_builder.comparing.mounts import mounts
from index_builder.photo_folders import PhotoFolders
from index_builder.store.folder_looks import Look

MARKER = ".sketchseek-folder"
"""A file that the user puts into a folder: without it, or with another content, the folder is not the one meant."""
NOWHERE = ""
"""Stands for photos that lie below no folder of the gallery."""
_MOST_OF_A_MARKER = 65536


def look_at(place: Path) -> Look:
    """What a folder looks like now.

    Raises:
        OSError: it does not exist, is no folder, or cannot be listed.
    """
    with os.scandir(place) as entries:
        next(entries, None)  # a share whose server is gone fails only now
    return Look(is_mount(place), device_of(place), _marker_of(place))


def is_mount(place: Path) -> bool:
    """Whether something is mounted exactly here."""
    return os.path.ismount(place) or os.path.realpath(place) in mount_points()


def device_of(place: Path) -> int:
    """A number of the file system: its own, which survives a restart, or else the one that the system gave it."""
    return os.statvfs(place).f_fsid or place.stat().st_dev


def mount_points() -> frozenset[str]:
    """Every mount point that this process sees; none where the system does not list them."""
    return frozenset(mount.place for mount in mounts())


class Places:
    """Which place each photo of a gallery lies in.

    Args:
        folders: of the gallery.
        remembered: places that were there at the last believed look.

    Attributes:
        roots: the folders of the gallery and those that links lead to, each once.
        all: these, and mount points below them, now or at the last look.
    """

    def __init__(self, folders: PhotoFolders, remembered: Mapping[str, Look]) -> None:
        self._folders = folders
        named = [folder.path for folder in folders.folders] + list(folders.links_to or ())
        self.roots = list({os.path.realpath(place): place for place in reversed(named)}.values())[::-1]
        below = {place for root in self.roots for place in _mounts_below(root)}
        below |= {Path(place) for place, look in remembered.items() if look.mount and self._is_below_a_root(place)}
        self.all = self.roots + sorted(below - set(self.roots))
        self._names = frozenset(map(str, self.all))
        self._real = {os.path.realpath(place): place for place in reversed(self.all)}
        self._found: dict[bytes, str] = {}

    def of(self, raw_path: bytes) -> str:
        """The innermost place that a photo lies in, as an absolute path, or `NOWHERE`."""
        directory = raw_path.rpartition(b"/")[0]
        if directory not in self._found:
            self._found[directory] = self._find(directory)
        return self._found[directory]

    def of_lost(self, raw_path: bytes) -> str:
        """The same for a photo whose file is gone: for a link to a file, where the link leads to."""
        if self._folders.links_to:
            try:
                file = os.fsdecode(self._folders.absolute(raw_path))
            except FileNotFoundError:
                return NOWHERE
            if os.path.islink(file):  # noqa: PTH114
                return self._innermost(os.path.realpath(file)) or self.of(raw_path)
        return self.of(raw_path)

    def name_of(self, place: str) -> str:
        """What a place is called towards clients, who need not know where the folders lie."""
        for folder in self._folders.folders:
            if place and Path(place).is_relative_to(folder.path):
                return str(Path(folder.name or folder.path.name) / Path(place).relative_to(folder.path))
        return Path(place).name

    def _find(self, directory: bytes) -> str:
        if len(self.all) == 1 and not self._folders.folders[0].name:
            return str(self.all[0])
        try:
            place = os.fsdecode(self._folders.absolute(directory))
        except FileNotFoundError:
            return NOWHERE
        if self._folders.links_to and (real := self._innermost(os.path.realpath(place))):
            return real
        around = (place, *map(str, Path(place).parents))
        return next((one for one in around if one in self._names), NOWHERE)

    def _innermost(self, real: str) -> str | None:
        around = (real, *map(str, Path(real).parents))
        return next((str(self._real[one]) for one in around if one in self._real), None)

    def _is_below_a_root(self, place: str) -> bool:
        return any(Path(place).is_relative_to(root) for root in self.roots)


def _mounts_below(root: Path) -> Iterator[Path]:
    real = Path(os.path.realpath(root))
    for mount in mount_points():
        if Path(mount).is_relative_to(real) and Path(mount) != real:
            yield root / Path(mount).relative_to(real)


def _marker_of(place: Path) -> str | None:
    try:
        with (place / MARKER).open("rb") as file:
            return hashlib.sha256(file.read(_MOST_OF_A_MARKER)).hexdigest()
    except OSError:
        return None
