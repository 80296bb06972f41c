"""The objects below a place in a bucket, as files: listed, looked at, read, written.

Every error is an `OSError`, as of a share: what is said of a share that is away holds for a bucket as well.

Modification times are whole seconds, because a store tells more of them in a list than of a single object. An object
that is replaced within the same second is found all the same, see `index_builder.file_times.may_hide_a_change`.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from index_builder.gallery_errors import GalleryError
from index_builder.object_storage.stores import StoreError, open_store, os_errors
from index_builder.photo_files.file_status import FileStatus
from index_builder.photo_places import BucketFolder
from model.errors import ConfigurationError

if TYPE_CHECKING:
    from obstore import ObjectMeta

_PIECE = 256 * 1024
_PART = 64 * 1024
_REQUEST_S = 300  # for the largest photo on a slow line


class BucketFile(io.BufferedReader):
    """An object that is read from its beginning, in pieces.

    Attributes:
        status: of the object that is read.
        size: bytes.
    """

    def __init__(self, pieces: Iterator[Any], status: FileStatus) -> None:
        super().__init__(_Pieces(pieces), _PIECE)
        self.status, self.size = status, status.size


class _Pieces(io.RawIOBase):
    """The stream of an answer, as a raw file."""

    def __init__(self, pieces: Iterator[Any]) -> None:
        super().__init__()
        self._pieces, self._left = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._left:
            with os_errors():
                piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


class _Ranges(io.RawIOBase):
    """An object of a known size that can be sought: each read asks for the bytes that it wants."""

    def __init__(self, store: Any, name: str, size: int) -> None:
        super().__init__()
        self._store, self._name, self._size, self._at = store, name, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, target: Any) -> int:
        import obstore

        count = min(len(target), self._size - self._at)
        if count <= 0:
            return 0
        with os_errors():
            found = memoryview(obstore.get_range(self._store, self._name, start=self._at, length=count))
        target[: len(found)] = found
        self._at += len(found)
        return len(found)


class Bucket:
    """A place in a bucket. Names are of objects below it, as the gallery writes paths: bytes, with slashes.

    Args:
        place: where.

    Raises:
        GalleryError: the library that reads buckets is not installed, or the address lacks what its kind needs.
    """

    def __init__(self, place: BucketFolder) -> None:
        self.place = place
        self._store = _opened(place)

    def objects(self, below: bytes = b"") -> Iterator[tuple[bytes, FileStatus]]:
        """Names and status of all objects, by name, in bounded memory.

        Args:
            below: only those in this folder; b"" takes all.

        Raises:
            OSError: there is no such bucket, it cannot be read now, or an object's name is no path.
        """
        import obstore

        with os_errors():
            for page in obstore.list(self._store, prefix=below.decode() or None):
                for one in page:
                    if one["path"]:  # an empty one marks the place itself
                        yield one["path"].encode(), _status(one)

    def check(self, below: bytes = b"") -> None:
        """Look whether the place, or what is named below it, is there and can be listed.

        Raises:
            FileNotFoundError: no such bucket, or nothing lies there. A whole bucket may be empty.
            OSError: it cannot be read now.
        """
        import obstore

        with os_errors():
            page = next(iter(obstore.list(self._store, prefix=below.decode() or None, chunk_size=1)), None)
        if page or (below and self.is_there(below)):
            return
        if below or self.place.prefix:
            raise FileNotFoundError(errno.ENOENT, "nothing lies below this address")

    def is_there(self, name: bytes) -> bool:
        """Whether there is an object of this name; raises OSError where nobody can tell."""
        try:
            self.status(name)
        except FileNotFoundError:
            return False
        return True

    def status(self, name: bytes) -> FileStatus:
        """Of an object; raises OSError."""
        import obstore

        with os_errors():
            return _status(obstore.head(self._store, name.decode()))

    def open(self, name: bytes) -> BucketFile:
        """An object, to be read once; raises OSError."""
        import obstore

        with os_errors():
            answer = obstore.get(self._store, name.decode())
            return BucketFile(iter(answer.stream(min_chunk_size=_PIECE)), _status(answer.meta))

    def open_parts(self, name: bytes) -> io.BufferedReader:
        """An object that can be sought, of which only parts are read; raises OSError."""
        return io.BufferedReader(_Ranges(self._store, name.decode(), self.status(name).size), _PART)

    def head(self, name: bytes, count: int) -> bytes:
        """The first bytes of an object, at most `count`; raises OSError."""
        import obstore

        with os_errors():
            return bytes(obstore.get_range(self._store, name.decode(), start=0, length=count))

    def put(self, name: bytes, data: bytes) -> None:
        """Write an object, whole or not at all; raises FileExistsError where there is another one, or OSError."""
        import obstore

        try:
            with os_errors():
                obstore.put(self._store, name.decode(), data, mode="create")
        except FileExistsError:
            # A request whose answer is lost is sent again. The second one then meets what the first one wrote.
            with self.open(name) as file:
                if file.size != len(data) or file.read() != data:
                    raise
        except FileNotFoundError as error:
            raise StoreError(errno.EIO, error.strerror) from error  # the bucket itself

    def delete(self, name: bytes) -> None:
        """Delete an object. One that is not there is no error. Raises OSError."""
        import obstore

        with os_errors():
            obstore.delete(self._store, name.decode())

    def signed(self, name: bytes, seconds: int) -> str:
        """An address from which anybody may read an object for so many seconds; raises OSError."""
        import obstore

        with os_errors():
            return obstore.sign(self._store, "GET", name.decode(), timedelta(seconds=seconds))


def _opened(place: BucketFolder) -> Any:
    try:
        return open_store(f"{place.scheme}://{place.bucket}/{quote(place.prefix)}", _REQUEST_S)
    except ConfigurationError as error:
        raise GalleryError(f"the photos at {error}") from error


def _status(meta: ObjectMeta) -> FileStatus:
    modified: datetime = meta["last_modified"]
    return FileStatus(meta["size"], int(modified.timestamp()) * 1_000_000_000)
