"""The places that photos lie in: folders of the gallery, folders that links lead to, and mount points below both.

Each is judged by itself, so one share that is away holds its own photos and no others.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from index_builder.comparing.mounts import mounts
from index_builder.photo_files.bucket import Bucket
from index_builder.photo_folders import MARKER, PhotoFolders
from index_builder.photo_places import BucketFolder, Place
from index_builder.store.folder_looks import Look

NOWHERE = ""
"""Stands for photos that lie below no folder of the gallery."""
_MOST_OF_A_MARKER = 65536


def look_at(place: Place) -> Look:
    """What a folder looks like now.

    Raises:
        OSError: it does not exist, is no folder, or cannot be listed.
    """
    if isinstance(place, BucketFolder):
        bucket = Bucket(place)
        bucket.check()
        return Look(mount=False, device=0, marker=_marker_in(bucket))
    with os.scandir(place) as entries:
        next(entries, None)  # a share whose server is gone fails only now
    return Look(is_mount(place), device_of(place), _marker_of(place))


def is_mount(place: Path) -> bool:
    """Whether something is mounted exactly here."""
    return os.path.ismount(place) or os.path.realpath(place) in mount_points()


def device_of(place: Path) -> int:
    """A number of the file system: its own, or else that of its disk; 0 where there is neither.

    Network shares and the like have no disk. The system gives them another number at each mount, which says nothing.
    """
    number = os.statvfs(place).f_fsid
    device = place.stat().st_dev
    return number or (device if os.major(device) else 0)


def mount_points() -> frozenset[str]:
    """Every mount point that this process sees; none where the system does not list them."""
    return frozenset(mount.place for mount in mounts())


class Places:
    """Which place each photo of a gallery lies in.

    Args:
        folders: of the gallery.
        remembered: places that were there at the last believed look.

    Attributes:
        roots: the folders of the gallery, and those that links lead to, each once. Those in buckets come last.
        all: these, and mount points below them, now or at the last look.
        away: of these, names of those in which nothing is looked at; to be set.
    """

    def __init__(self, folders: PhotoFolders, remembered: Mapping[str, Look]) -> None:
        self._folders = folders
        named = [*folders.local, *(folders.links_to or ())]
        self._local = list({os.path.realpath(place): place for place in reversed(named)}.values())[::-1]
        self.roots: list[Place] = [*self._local, *(one.path for one in folders.in_buckets)]
        mounted = mount_points()
        below = {place for root in self._local for place in _mounts_below(root, mounted)}
        below |= {Path(place) for place, look in remembered.items() if look.mount and self._is_below_a_root(place)}
        self.all: list[Place] = [*self.roots, *sorted(below - set(self._local))]
        self._names = frozenset(map(str, self.all))
        self._real = {os.path.realpath(place): place for place in reversed(self.all) if isinstance(place, Path)}
        self._found: dict[bytes, str] = {}
        self.away: frozenset[str] = frozenset()

    def of(self, raw_path: bytes) -> str:
        """The innermost place that a photo's folder lies in, as an absolute path, or `NOWHERE`."""
        directory = raw_path.rpartition(b"/")[0]
        if directory not in self._found:
            self._found[directory] = self._find(directory)
        return self._found[directory]

    def of_file(self, raw_path: bytes) -> str:
        """The same for a photo's file, which may be a link into another place. Looks at it."""
        return self._behind_a_link(raw_path) or self.of(raw_path)

    def is_link(self, raw_path: bytes) -> bool:
        """Whether a photo's file is a link, which leads into some place. Looks at it."""
        return self._behind_a_link(raw_path) is not None

    def count(self, raw_paths: Iterable[bytes], *, links: bool) -> Counter[str]:
        """How many photos lie in each place.

        Args:
            raw_paths: of the photos.
            links: count links to files where they lead to. That lists every folder.
        """
        if not links:
            return Counter(map(self.of, raw_paths))
        led: dict[bytes, dict[bytes, str]] = {}
        counts = Counter[str]()
        for path in raw_paths:
            directory, _, name = path.rpartition(b"/")
            if directory not in led:
                led[directory] = self._links_in(directory)
            counts[led[directory].get(name) or self.of(path)] += 1
        return counts

    def name_of(self, place: str) -> str:
        """What a place is called towards clients, who need not know where the folders lie."""
        for folder in self._folders.folders:
            if isinstance(folder.path, BucketFolder):
                if place == str(folder.path):
                    return folder.name or folder.path.name
            elif place and Path(place).is_relative_to(folder.path):
                return str(Path(folder.name or folder.path.name) / Path(place).relative_to(folder.path))
        return Path(place).name

    def _find(self, directory: bytes) -> str:
        if len(self.all) == 1 and not self._folders.folders[0].name:
            return str(self.all[0])
        try:
            folder, _ = self._folders.folder_of(directory)
            place = os.fsdecode(self._folders.absolute(directory))
        except FileNotFoundError:
            return NOWHERE
        if isinstance(folder.path, BucketFolder):
            return str(folder.path)
        if self._folders.links_to and (real := self._innermost(os.path.realpath(place))):
            return real
        around = (place, *map(str, Path(place).parents))
        return next((one for one in around if one in self._names), NOWHERE)

    def _behind_a_link(self, raw_path: bytes) -> str | None:
        if len(self.all) == 1 or self._is_away(self.of(raw_path)) or self._is_in_a_bucket(raw_path):
            return None
        try:
            file = os.fsdecode(self._folders.absolute(raw_path))
        except FileNotFoundError:
            return None
        return self._innermost(os.path.realpath(file)) if os.path.islink(file) else None  # noqa: PTH114

    def _links_in(self, directory: bytes) -> dict[bytes, str]:
        """Names of links in a folder -> the places that they lead into."""
        path = directory + b"/" if directory else b""
        if self._is_away(self.of(path)) or self._is_in_a_bucket(path):
            return {}
        try:
            with os.scandir(self._folders.absolute(directory)) as entries:
                names = [entry.name for entry in entries if entry.is_symlink()]
        except OSError:
            return {}
        places = ((name, self._behind_a_link(path + name)) for name in names)
        return {name: place for name, place in places if place is not None}

    def _is_away(self, place: str) -> bool:
        return place in self.away

    def _is_in_a_bucket(self, raw_path: bytes) -> bool:
        try:
            return isinstance(self._folders.folder_of(raw_path)[0].path, BucketFolder)
        except FileNotFoundError:
            return False

    def _innermost(self, real: str) -> str | None:
        around = (real, *map(str, Path(real).parents))
        return next((str(self._real[one]) for one in around if one in self._real), None)

    def _is_below_a_root(self, place: str) -> bool:
        return any(Path(place).is_relative_to(root) for root in self._local)


def _mounts_below(root: Path, mounted: Iterable[str]) -> Iterator[Path]:
    real = Path(os.path.realpath(root))
    for mount in mounted:
        if Path(mount).is_relative_to(real) and Path(mount) != real:
            yield root / Path(mount).relative_to(real)


def _marker_of(place: Path) -> str | None:
    try:
        with (place / MARKER).open("rb") as file:
            return hashlib.sha256(file.read(_MOST_OF_A_MARKER)).hexdigest()
    except OSError:
        return None


def _marker_in(bucket: Bucket) -> str | None:
    """As `_marker_of`; but raises OSError where the store does not answer, which says nothing of the marker."""
    try:
        with bucket.open(MARKER.encode()) as file:
            return hashlib.sha256(file.read(_MOST_OF_A_MARKER)).hexdigest()
    except FileNotFoundError:
        return None
