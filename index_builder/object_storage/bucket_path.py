"""Objects in a bucket by address, with those methods of `pathlib.Path` that a gallery needs, and conditional writes."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Literal

from index_builder.gallery_errors import GalleryError
from index_builder.object_storage.addresses import parts_of
from index_builder.object_storage.stores import StaleObjectError, StoreError, open_store, os_errors

_MODES = {"nothing": "create", "anything": "overwrite"}  # as obstore calls them
_NO_URL = re.compile(r"[?#%\x00-\x1f\x7f]")
_CHUNK = 8 << 20  # of a read; an object store answers a few large requests faster than many small ones


@dataclass(frozen=True)
class ObjectStatus:
    """What a listing says of an object.

    Attributes:
        st_size: its bytes.
        st_mtime: when it was written, in seconds since 1970.
        e_tag: changes with its content; "" where the storage gives none.
    """

    st_size: int
    st_mtime: float
    e_tag: str


@dataclass(frozen=True)
class Seen:
    """Which content of an object was seen, for a write that replaces nothing else.

    S3 and Azure tell contents apart by e_tag, Google by version.
    """

    e_tag: str | None
    version: str | None

    @staticmethod
    def of(found: Any) -> Seen:
        """What the store says of an object.

        Raises:
            StoreError: it gives neither, so no write could be conditional.
        """
        seen = Seen(found["e_tag"] or None, found["version"] or None)
        if seen == Seen(None, None):
            raise StoreError(errno.ENOTSUP, "the store gives neither e_tags nor versions, which safe writes need")
        return seen

    @property
    def condition(self) -> dict[str, str]:
        """As obstore takes it: without what the store did not give."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class BucketPath:
    """An object, or a folder of objects, in a bucket. Making one asks nobody.

    Attributes:
        root: scheme and bucket, such as "s3://bucket".
        key: path below it, without slashes at its ends; "" is the bucket itself.
    """

    root: str
    key: str = ""

    @staticmethod
    def parse(address: str) -> BucketPath:
        """What an address names.

        Lance reads the address of a gallery as a URL. Of these characters it would make another place.

        Raises:
            GalleryError: as of `parts_of`, or the path has a `?`, `#`, `%` or control character.
        """
        scheme, bucket, path = parts_of(address)
        if (found := _NO_URL.search(path)) is not None:
            raise GalleryError(
                f"the address of a gallery in a bucket cannot have {found[0]!r} in it; choose another path there"
            )
        return BucketPath(f"{scheme}://{bucket}", path)

    def __truediv__(self, name: str) -> BucketPath:
        return BucketPath(self.root, f"{self.key}/{name}".strip("/"))

    def __str__(self) -> str:
        return f"{self.root}/{self.key}".rstrip("/")

    def absolute(self) -> BucketPath:
        """Itself: an address leads to the same place from everywhere."""
        return self

    @property
    def name(self) -> str:
        """The last part of its key."""
        return PurePosixPath(self.key).name

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return PurePosixPath(self.key).stem

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot."""
        return PurePosixPath(self.key).suffix

    def is_file(self) -> bool:
        """Whether there is an object of this key. Raises OSError where that is not known."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there are objects below this key. Raises OSError where that is not known."""
        return next(self._below(chunk_size=1), None) is not None

    def exists(self) -> bool:
        """Whether there is such an object, or any below it. Raises OSError where that is not known."""
        return self.is_file() or self.is_dir()

    def stat(self) -> ObjectStatus:
        """Size and time of the object. Raises as `os_errors`."""
        import obstore

        with os_errors():
            return _status(obstore.head(self._store, self.key))

    def read_bytes(self) -> bytes:
        """Its content. Raises as `os_errors`."""
        return self.read_seen()[0]

    def read_seen(self) -> tuple[bytes, Seen]:
        """Its content, and what tells it from others. Raises as `os_errors`."""
        import obstore

        with os_errors():
            found = obstore.get(self._store, self.key)
            return bytes(found.bytes()), Seen.of(found.meta)

    def read_range(self, start: int, length: int) -> bytes:
        """A part of its content. Raises as `os_errors`."""
        import obstore

        with os_errors():
            return bytes(obstore.get_range(self._store, self.key, start=start, length=length)) if length else b""

    def chunks(self) -> Iterator[bytes]:
        """Its content in pieces. Raises as `os_errors`."""
        import obstore

        with os_errors():
            for chunk in obstore.get(self._store, self.key).stream(min_chunk_size=_CHUNK):
                yield bytes(chunk)

    def write(self, content: bytes, *, replaces: Seen | Literal["nothing", "anything"] = "anything") -> Seen:
        """Make or replace the object as a whole.

        Args:
            content: all of it.
            replaces: what may be replaced: a content that was seen; "nothing": there must be no object.

        Returns:
            what a next write may replace.

        Raises:
            StaleObjectError: another object is there. Other errors as `os_errors`.
        """
        import obstore

        mode: Any = replaces.condition if isinstance(replaces, Seen) else _MODES[replaces]
        try:
            with os_errors():
                return Seen.of(obstore.put(self._store, self.key, content, mode=mode))
        except StaleObjectError:
            # A request whose answer is lost is sent again. The second one then meets what the first one wrote.
            with contextlib.suppress(FileNotFoundError):
                there, seen = self.read_seen()
                if there == content:
                    return seen
            raise

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove the object. Raises as `os_errors`."""
        import obstore

        try:
            with os_errors():
                obstore.delete(self._store, self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def iterdir(self) -> Iterator[BucketPath]:
        """Objects and folders directly below. Raises as `os_errors`."""
        import obstore

        with os_errors():
            found = obstore.list_with_delimiter(self._store, f"{self.key}/" if self.key else None)
        yield from (BucketPath(self.root, str(prefix).strip("/")) for prefix in found["common_prefixes"])
        yield from (BucketPath(self.root, one["path"]) for one in found["objects"])

    def files(self) -> Iterator[tuple[str, ObjectStatus]]:
        """All objects below, each by its path relative to this one. Raises as `os_errors`."""
        skip = len(self.key) + 1 if self.key else 0
        return ((one["path"][skip:], _status(one)) for one in self._below())

    def _below(self, chunk_size: int = 1000) -> Iterator[Any]:
        import obstore

        with os_errors():
            for batch in obstore.list(self._store, f"{self.key}/" if self.key else None, chunk_size=chunk_size):
                yield from batch

    @property
    def _store(self) -> Any:
        return open_store(self.root)


def _status(found: Any) -> ObjectStatus:
    written: datetime = found["last_modified"]
    return ObjectStatus(int(found["size"]), written.timestamp(), str(found["e_tag"] or ""))
