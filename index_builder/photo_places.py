"""Where a folder of photos lies: a path on this machine, or an address in a bucket of an object store."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from index_builder.gallery_errors import GalleryError

SCHEMES = ("s3", "gs", "az")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, order=True)
class BucketFolder:
    """A place in a bucket: below it, the names of objects are read as paths.

    Attributes:
        scheme: of the object store: one of `SCHEMES`.
        bucket: its name.
        prefix: the path in it, without a slash at either end; "" is the whole bucket.
    """

    scheme: str
    bucket: str
    prefix: str = ""

    @classmethod
    def of(cls, address: str) -> BucketFolder:
        """The place of an address. It is taken as it is: `%20` in it means these three characters.

        Raises:
            GalleryError: it names no bucket that this release can read.
        """
        found = _ADDRESS.fullmatch(address)
        scheme, rest = found.groups() if found else ("", address)
        if scheme not in SCHEMES:
            known = ", ".join(f"{one}://" for one in SCHEMES)
            raise GalleryError(f"{scheme}:// is no kind of address for photos; use {known} or the path of a folder")
        bucket, _, prefix = rest.partition("/")
        if "@" in bucket:
            raise GalleryError(
                f"an address {scheme}:// with a user or key in it is refused, as the gallery would store it; set the "
                "credentials in the environment"
            )
        if not _BUCKET.fullmatch(bucket):
            raise GalleryError(f"{address} names no bucket; write {scheme}://BUCKET/FOLDER")
        parts = prefix.strip("/").split("/")
        if parts != [""] and any(part in ("", ".", "..") for part in parts):
            raise GalleryError(f"{address} has an empty part, `.` or `..`; write {scheme}://BUCKET/FOLDER")
        return cls(scheme, bucket, "/".join(parts))

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


def is_address(text: str) -> bool:
    """Whether a text is written as an address, and not as a path."""
    return _ADDRESS.fullmatch(text) is not None


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
