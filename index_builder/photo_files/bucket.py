"""The objects below a place in a bucket, as files: listed, looked at, read, written.

Every error is an `OSError`, as of a share: what is said of a share that is away holds for a bucket as well.

Modification times are whole seconds, because a store tells more of them in a list than of a single object. An object
that is replaced within the same second is found all the same, see `index_builder.file_times.may_hide_a_change`.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from index_builder.gallery_errors import GalleryError
from index_builder.photo_files.file_status import FileStatus
from index_builder.photo_places import BucketPath

if TYPE_CHECKING:
    from obstore import ObjectMeta

_PIECE = 256 * 1024
_TRIES, _TRY_FOR = 4, timedelta(seconds=30)  # of one request; a store that is busy answers 503 for a moment
_REQUEST_S = "300s"  # for the largest photo on a slow line
_SILENCE_S = "20s"


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


class Bucket:
    """A place in a bucket. Names are of objects below it, as the gallery writes paths: bytes, with slashes.

    Args:
        place: where.

    Raises:
        GalleryError: the library that reads buckets is not installed, or the address lacks what its kind needs.
    """

    def __init__(self, place: BucketPath) -> None:
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

    def head(self, name: bytes, count: int) -> bytes:
        """The first bytes of an object, at most `count`; raises OSError."""
        import obstore

        with os_errors():
            return bytes(obstore.get_range(self._store, name.decode(), start=0, length=count))

    def put(self, name: bytes, data: bytes) -> None:
        """Write an object, whole or not at all; raises FileExistsError where there is one, or OSError."""
        import obstore

        with os_errors():
            obstore.put(self._store, name.decode(), data, mode="create")

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


@lru_cache(64)
def _opened(place: BucketPath) -> Any:
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise GalleryError(f"photos at {place} need an extra: pip install 'sketchseek[object-storage]'") from error
    address = f"{place.scheme}://{place.bucket}/{quote(place.prefix)}"
    try:
        return from_url(
            address,
            retry_config={"max_retries": _TRIES, "retry_timeout": _TRY_FOR},
            client_options={"timeout": _REQUEST_S, "read_timeout": _SILENCE_S, "allow_http": _http_is_allowed()},
        )
    except Exception as error:
        first = str(error).splitlines()[0].rpartition(": ")[2]
        raise GalleryError(f"{place} cannot be opened: {first}; set it in the environment") from error


def _http_is_allowed() -> bool:
    """What the usual variable says, which options of the client would hide."""
    named = (os.environ.get(f"{kind}_ALLOW_HTTP", "") for kind in ("AWS", "GOOGLE", "AZURE"))
    return any(value.lower() in ("true", "1") for value in named)


@contextmanager
def os_errors() -> Iterator[None]:
    """Errors of the store as a file system has them. Their text names no address, which may carry a key."""
    from obstore import exceptions

    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, _no_bucket(str(error)) or "there is no such object") from error
    except exceptions.AlreadyExistsError as error:
        raise FileExistsError(errno.EEXIST, "there is such an object already") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise PermissionError(errno.EACCES, "the store refuses these credentials") from error
    except exceptions.InvalidPathError as error:
        name = str(error).partition('"')[2].partition('"')[0]
        raise OSError(errno.EINVAL, f"the name of an object in it, {name!r}, is no path; rename it") from error
    except UnicodeDecodeError as error:
        raise FileNotFoundError(errno.ENOENT, "no object has such a name") from error
    except (exceptions.BaseError, ValueError) as error:
        raise _general(str(error)) from error


def _general(said: str) -> OSError:
    if (missing := _no_bucket(said)) is not None:
        return FileNotFoundError(errno.ENOENT, missing)
    if said.startswith("Could not parse path"):
        return FileNotFoundError(errno.ENOENT, "no object has such a name")
    if any(asked in said for asked in ("/latest/", "/metadata/", "/computeMetadata/", "token request")):
        return PermissionError(errno.EACCES, "no credentials are set in the environment")
    if "403 Forbidden" in said or "401 Unauthorized" in said:
        return PermissionError(errno.EACCES, "the store refuses these credentials")
    return OSError(errno.EIO, "the store does not answer as it should")


def _no_bucket(said: str) -> str | None:
    names = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
    return "there is no such bucket" if any(name in said for name in names) else None


def _status(meta: ObjectMeta) -> FileStatus:
    modified: datetime = meta["last_modified"]
    return FileStatus(meta["size"], int(modified.timestamp()) * 1_000_000_000)
