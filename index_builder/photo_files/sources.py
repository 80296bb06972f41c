"""A folder of photos, wherever it lies: its files by the same calls. Its place alone decides which kind it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Protocol

from index_builder.photo_files.bucket import Bucket
from index_builder.photo_files.file_status import FileStatus
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_places import BucketFolder, Place


class PhotoSource(Protocol):
    """Files below a place; `below` is a path there, in bytes. Every error is an `OSError`."""

    def status(self, below: bytes) -> FileStatus:
        """Of a file."""

    def size(self, below: bytes, listed: int) -> int:
        """Of a file, in bytes, or what was `listed` of it where another look costs much; 0 where that is unknown."""

    def read(self, below: bytes, most: int) -> tuple[bytes | None, FileStatus]:
        """The file's bytes, or None if it is no regular file. None are read of one that is longer than `most`.

        A file may grow while it is read: one byte more than `most` shows that it became too long.
        """

    def open_parts(self, below: bytes) -> BinaryIO | None:
        """The file, to be sought and read in parts, or None if it is no regular file."""

    def is_gone(self, below: bytes) -> bool:
        """Whether there is no file of this path, as far as anybody can tell."""

    def is_folder(self, below: bytes) -> bool:
        """Whether there is a folder of this path."""


def source_at(place: Place) -> PhotoSource:
    """The files below a place."""
    return _BucketSource(place) if isinstance(place, BucketFolder) else _LocalSource(place)


def source_of(folders: PhotoFolders, raw_path: bytes) -> tuple[PhotoSource, bytes]:
    """Where a photo's file lies, and its path there.

    Raises:
        FileNotFoundError: the path begins with no folder's name.
    """
    folder, below = folders.folder_of(raw_path)
    return source_at(folder.path), below


def is_gone(folders: PhotoFolders, raw_path: bytes) -> bool:
    """Whether there is no file of this path, as far as anybody can tell."""
    try:
        source, below = source_of(folders, raw_path)
    except FileNotFoundError:
        return True
    return source.is_gone(below)


class _LocalSource:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = os.fsencode(path)

    def status(self, below: bytes) -> FileStatus:
        return FileStatus.of(os.stat(self._at(below)))  # noqa: PTH116 - bytes

    def size(self, below: bytes, listed: int) -> int:
        del listed
        status = self.status(below)
        return status.size if status.is_regular else 0

    def read(self, below: bytes, most: int) -> tuple[bytes | None, FileStatus]:
        with open(self._handle(below), "rb") as file:  # noqa: PTH123 - a descriptor, no path
            status = FileStatus.of(os.fstat(file.fileno()))
            if not status.is_regular:
                return None, status
            # Reading takes as much memory at once as it asks for.
            return file.read(status.size + 1) if status.size <= most else b"", status

    def open_parts(self, below: bytes) -> BinaryIO | None:
        file = open(self._handle(below), "rb", buffering=0)  # noqa: PTH123, SIM115 - a descriptor; the caller closes it
        if FileStatus.of(os.fstat(file.fileno())).is_regular:
            return file
        file.close()
        return None

    def is_gone(self, below: bytes) -> bool:
        try:
            os.lstat(self._at(below))
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return False

    def is_folder(self, below: bytes) -> bool:
        return os.path.isdir(self._at(below))  # noqa: PTH112 - bytes

    def _handle(self, below: bytes) -> int:
        return os.open(self._at(below), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would block for ever

    def _at(self, below: bytes) -> bytes:
        return os.path.join(self._path, below) if below else self._path  # noqa: PTH118 - pathlib has no paths in bytes


class _BucketSource:
    """A place in a bucket. Folders are what names of objects say, so every one may be there."""

    def __init__(self, place: BucketFolder) -> None:
        self._bucket = Bucket(place)

    def status(self, below: bytes) -> FileStatus:
        return self._bucket.status(below)

    def size(self, below: bytes, listed: int) -> int:
        return listed or self.status(below).size

    def read(self, below: bytes, most: int) -> tuple[bytes | None, FileStatus]:
        with self._bucket.open(below) as file:
            return file.read(file.size + 1) if file.size <= most else b"", file.status

    def open_parts(self, below: bytes) -> BinaryIO | None:
        return self._bucket.open_parts(below)

    def is_gone(self, below: bytes) -> bool:
        if not below:
            return False
        try:
            return not self._bucket.is_there(below)
        except OSError:
            return False

    def is_folder(self, below: bytes) -> bool:
        del below
        return True
