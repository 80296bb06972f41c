"""Where a folder of photos lies: a path on this machine, or an address in a bucket of an object store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from index_builder.gallery_errors import GalleryError
from index_builder.object_storage.addresses import is_address, parts_of


@dataclass(frozen=True, order=True)
class BucketFolder:
    """A place in a bucket: below it, the names of objects are read as paths.

    Attributes:
        scheme: of the object store: one of `addresses.SCHEMES`.
        bucket: its name.
        prefix: the path in it, without a slash at either end; "" is the whole bucket.
    """

    scheme: str
    bucket: str
    prefix: str = ""

    @classmethod
    def of(cls, address: str) -> BucketFolder:
        """The place of an address. It is taken as `parts_of` says.

        Raises:
            GalleryError: it names no bucket that this release can read.
        """
        return cls(*parts_of(address))

    @property
    def name(self) -> str:
        """The last part of the path, or the bucket's name."""
        return self.prefix.rpartition("/")[2] or self.bucket

    def is_relative_to(self, other: BucketFolder) -> bool:
        """Whether it is another place, or lies below it."""
        if (self.scheme, self.bucket) != (other.scheme, other.bucket):
            return False
        return not other.prefix or f"{self.prefix}/".startswith(f"{other.prefix}/")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


Place = Path | BucketFolder
"""Where a folder of photos lies. A `Path` is absolute."""


def place_of(named: str | Place) -> Place:
    """The place that a path or an address names.

    Raises:
        GalleryError: there is no such home folder, or the address is none.
    """
    if isinstance(named, BucketFolder):
        return named
    return BucketFolder.of(named) if isinstance(named, str) and is_address(named) else absolute_path(named)


def absolute_path(path: str | Path) -> Path:
    """A path as it is meant here and now: `~` is the home folder, and `..` is followed as the system does.

    Raises:
        GalleryError: there is no such home folder.
    """
    try:
        place = Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise GalleryError(f"{path} names a home folder that does not exist") from error
    return Path(os.path.realpath(place)) if ".." in place.parts else place


def linked_folders_of(named: str | Sequence[str | Path]) -> tuple[Path, ...]:
    """Folders that links may lead to, as an option names them one by one, or a variable with colons between them.

    Raises:
        GalleryError: there is no such home folder.
    """
    several = named.split(os.pathsep) if isinstance(named, str) else named
    return tuple(absolute_path(one) for one in several if str(one).strip())
