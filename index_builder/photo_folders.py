"""Which photos belong to a gallery: one folder, or several under names, and how a photo's path is written down."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from index_builder.gallery_errors import GalleryError
from index_builder.object_storage.addresses import is_address
from index_builder.photo_places import BucketFolder, Place, place_of
from index_builder.photo_record import composed, shown_path

MARKER = ".sketchseek-folder"
"""A file that the user puts into a folder: without it, or with another content, the folder is not the one meant."""


_BETWEEN = re.compile(re.escape(os.pathsep) + "(?!//)")  # the colon of an address stands before two slashes


@dataclass(frozen=True)
class PhotoFolder:
    """One folder of photos.

    Attributes:
        name: first part of the paths of its photos, and so their first tag, in composed Unicode; "" adds nothing.
        path: where it lies: an absolute path, or a place in a bucket.
        given: whether somebody said the name; otherwise the name that a gallery remembers for the path takes its place.
    """

    name: str
    path: Place
    given: bool = field(default=True, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", place_of(self.path))  # an earlier release stored `..`

    def __str__(self) -> str:
        return f"{self.name}={self.path}" if self.name else str(self.path)


@dataclass(frozen=True)
class PhotoFolders:
    """Which photos belong to a gallery. The gallery remembers it.

    Attributes:
        folders: where photos lie; () takes what the gallery remembers. A folder without a name stands alone.
        links_to: folders elsewhere that links may lead to; None takes what the gallery remembers.
        exclude: what the user leaves out, in the syntax of gitignore; None takes what the gallery remembers.
    """

    folders: tuple[PhotoFolder, ...]
    links_to: tuple[Path, ...] | None = None
    exclude: tuple[str, ...] | None = None

    @classmethod
    def of(cls, photos: str | Path | Sequence[str | Path] | PhotoFolders) -> PhotoFolders:
        """One folder, or several as "PATH" or "NAME=PATH". Several get the last part of their path as a name.

        An address such as "s3://bucket/photos" stands for a folder in a bucket.

        Raises:
            GalleryError: no folder, a name that cannot be part of a path, the same name twice, one folder inside
                another, or an address that is none.
        """
        if isinstance(photos, PhotoFolders):
            return photos
        several = [photos] if isinstance(photos, (str, Path)) else list(photos)
        folders = [_parsed(one) for one in several]
        if not folders:
            raise GalleryError("name at least one folder of photos")
        if len(folders) > 1:
            folders = [one if one.name else replace(one, name=composed(one.path.name)) for one in folders]
        _check(folders)
        return cls(tuple(folders))

    @classmethod
    def from_setting(cls, value: str) -> PhotoFolders | None:
        """Folders as an environment variable lists them, with colons between them; None where it is empty.

        Raises:
            GalleryError: as `of`.
        """
        if not value:
            return None
        return cls.of(value if Path(value).is_dir() else [part for part in _BETWEEN.split(value) if part])

    @property
    def names(self) -> list[str]:
        """What people call the folders: their name, or the last part of their path."""
        return [_called(one) for one in self.folders]

    def name_of(self, raw_path: bytes) -> str:
        """What people call the folder that a photo lies in; "" if the path begins with no folder's name."""
        try:
            return _called(self.folder_of(raw_path)[0])
        except FileNotFoundError:
            return ""

    @property
    def local(self) -> list[Path]:
        """Those of the folders that lie on this machine."""
        return [folder.path for folder in self.folders if isinstance(folder.path, Path)]

    @property
    def in_buckets(self) -> list[PhotoFolder]:
        """Those of the folders that lie in buckets."""
        return [folder for folder in self.folders if isinstance(folder.path, BucketFolder)]

    def upload_path(self, below: str) -> bytes:
        """A path in the folder that new photos go to, the first one, as the gallery writes it."""
        return _joined(os.fsencode(self.folders[0].name), os.fsencode(os.path.normpath(below)))

    @property
    def upload_folder(self) -> PhotoFolder:
        """Where new photos go: the first folder."""
        return self.folders[0]

    def absolute(self, raw_path: bytes) -> bytes:
        """Absolute path of a photo's file, in bytes, which every call to the file system accepts.

        In a bucket it is an address, which no such call finds: `index_builder.photo_files` opens both.

        Raises:
            FileNotFoundError: the path begins with no folder's name.
        """
        folder, rest = self.folder_of(raw_path)
        place = os.fsencode(str(folder.path))
        return os.path.join(place, rest) if rest else place  # noqa: PTH118 - pathlib has no paths in bytes

    def relative(self, path: str | Path) -> bytes:
        """A path below a folder as the gallery writes it; b"" for the only folder itself.

        Args:
            path: absolute, or as the gallery writes it.

        Raises:
            GalleryError: it is not below a folder.
        """
        if isinstance(path, str) and is_address(path):
            return self._relative_in_bucket(path)
        # normpath does not follow links, so a linked folder keeps its name below the root
        place = Path(os.path.normpath(path))
        if not place.is_absolute():
            try:
                if place.parts[:1] != ("..",) and isinstance(self.folder_of(os.fsencode(place))[0].path, BucketFolder):
                    return os.fsencode(place) if place.parts else b""
                place = Path(os.path.normpath(os.fsdecode(self.absolute(os.fsencode(place)))))
            except FileNotFoundError:
                raise self._not_below(path) from None
        for folder in self.folders:
            if isinstance(folder.path, Path) and place.is_relative_to(folder.path):
                below = os.fsencode(place.relative_to(folder.path))
                return _joined(os.fsencode(folder.name), b"" if below == b"." else below)
        raise self._not_below(path)

    def _relative_in_bucket(self, address: str) -> bytes:
        place = BucketFolder.of(address)
        for folder in self.folders:
            if isinstance(folder.path, BucketFolder) and place.is_relative_to(folder.path):
                below = place.prefix.removeprefix(folder.path.prefix).strip("/")
                return _joined(os.fsencode(folder.name), os.fsencode(below))
        raise self._not_below(address)

    def is_inside(self, real: bytes) -> bool:
        """Whether a resolved path lies below a folder, or below one that links may lead to."""
        places = [*self.local, *(self.links_to or ())]
        return any(real.startswith(os.fsencode(place.resolve()).rstrip(b"/") + b"/") for place in places)

    def over(self, remembered: PhotoFolders | None) -> PhotoFolders:
        """These folders, with what was not said taken from what a gallery remembers: folders, names, links, patterns.

        Args:
            remembered: by the gallery; None if there is no gallery yet.

        Raises:
            GalleryError: neither names a folder, or the names together are impossible.
        """
        if remembered is None:
            if not self.folders:
                raise GalleryError("name at least one folder of photos")
            return PhotoFolders(self.folders, self.links_to or (), self.exclude or ())
        return PhotoFolders(
            self._with_names_of(remembered) if self.folders else remembered.folders,
            (self.links_to if self.links_to is not None else remembered.links_to) or (),
            (self.exclude if self.exclude is not None else remembered.exclude) or (),
        )

    def renamed(self, remembered: PhotoFolders) -> list[tuple[PhotoFolder, PhotoFolder]]:
        """Folders that a gallery remembers under other names than those given here, each as it was and as it is."""
        before = {one.path: one for one in remembered.folders}
        known = (one for one in self.folders if one.path in before and one.given)
        return [(before[one.path], one) for one in known if one.name != before[one.path].name]

    def _with_names_of(self, remembered: PhotoFolders) -> tuple[PhotoFolder, ...]:
        names = {one.path: one.name for one in remembered.folders}
        new = [one.path for one in self.folders if one.path not in names]
        lost = names.keys() - {one.path for one in self.folders}
        if len(new) == len(lost) == 1:  # the same folder at a new place
            names[new[0]] = names[lost.pop()]
        names = {path: name for path, name in names.items() if name or len(self.folders) == 1}
        folders = [one if one.given else replace(one, name=names.get(one.path, one.name)) for one in self.folders]
        _check(folders)
        return tuple(folders)

    def to_stored(self) -> str | dict[str, Any]:
        """As a gallery stores it: the path alone where that says everything."""
        if [folder.name for folder in self.folders] == [""] and not self.links_to and not self.exclude:
            return str(self.folders[0].path)
        return {
            "folders": [[folder.name, str(folder.path)] for folder in self.folders],
            "links_to": [str(path) for path in self.links_to or ()],
            "exclude": list(self.exclude or ()),
        }

    @classmethod
    def from_stored(cls, stored: str | dict[str, Any]) -> PhotoFolders:
        """What `to_stored` gave; raises KeyError, TypeError or ValueError for anything else."""
        if isinstance(stored, str):
            return cls((PhotoFolder("", place_of(stored)),), (), ())
        return cls(
            tuple(PhotoFolder(str(name), place_of(str(path))) for name, path in stored["folders"]),
            tuple(Path(path) for path in stored["links_to"]),
            tuple(str(pattern) for pattern in stored["exclude"]),
        )

    def __str__(self) -> str:
        return os.pathsep.join(map(str, self.folders))

    def folder_of(self, raw_path: bytes) -> tuple[PhotoFolder, bytes]:
        """The folder that a photo lies in, and its path below it.

        Raises:
            FileNotFoundError: the path begins with no folder's name.
        """
        if not self.folders[0].name:
            return self.folders[0], raw_path
        first, _, rest = raw_path.partition(b"/")
        for folder in self.folders:
            if os.fsencode(folder.name) == first or folder.name == composed(os.fsdecode(first)):
                return folder, rest
        raise FileNotFoundError(2, "no folder of photos has this name", first)

    def _not_below(self, path: str | Path) -> GalleryError:
        return GalleryError(f"{path} is not below the photos' folder {self}; move it there first")


def _called(folder: PhotoFolder) -> str:
    return folder.name or composed(shown_path(os.fsencode(folder.path.name))) or "/"


def _joined(name: bytes, below: bytes) -> bytes:
    return b"/".join(part for part in (name, below) if part)


Photos = str | Path | Sequence[str | Path] | PhotoFolders
"""How functions take the photos of a gallery: a folder, several (as "PATH" or "NAME=PATH"), or `PhotoFolders`."""


def _parsed(photos: str | Path) -> PhotoFolder:
    name, equals, path = str(photos).partition("=")
    if isinstance(photos, Path) or not equals or "/" in name or Path(photos).is_dir():
        name, path = "", str(photos)
    elif not name or name.startswith("."):
        raise GalleryError(f"{photos} has no name before its `=`; write NAME=PATH, without a dot at the beginning")
    if not path:
        raise GalleryError(f"{photos} names no folder; write PATH or NAME=PATH")
    return PhotoFolder(composed(name), place_of(path), given=bool(name))


def _check(folders: list[PhotoFolder]) -> None:
    names = Counter(folder.name for folder in folders)
    if len(folders) > 1 and (twice := [name for name, count in names.items() if count > 1 or not name]):
        raise GalleryError(
            f"several folders of photos need names of their own, but {twice[0]!r} comes twice or is "
            "none; write NAME=PATH"
        )
    places = [(folder, folder.path.resolve() if isinstance(folder.path, Path) else folder.path) for folder in folders]
    for folder, place in places:
        for other, around in places:
            if other is not folder and _lies_in(place, around):
                raise GalleryError(f"the folder {folder.path} lies in {other.path}; name the outer one alone")


def _lies_in(place: Place, around: Place) -> bool:
    if isinstance(place, Path):
        return isinstance(around, Path) and place.is_relative_to(around)
    return isinstance(around, BucketFolder) and place.is_relative_to(around)
