"""Objects in a bucket by address, with those methods of `pathlib.Path` that a gallery needs, and conditional writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from index_builder.object_storage.stores import SCHEMES, open_store, os_errors
from model.errors import ConfigurationError

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
class BucketPath:
    """An object, or a folder of objects, in a bucket. Making one asks nobody.

    Attributes:
        root: scheme and bucket, such as "s3://bucket".
        key: path below it, without slashes at its ends; "" is the bucket itself.
    """

    root: str
    key: str = ""

    @staticmethod
    def is_address(text: str) -> bool:
        """Whether it looks like an address rather than a path on disk."""
        return "://" in text

    @staticmethod
    def parse(address: str) -> BucketPath:
        """What an address names.

        Raises:
            ConfigurationError: it is of another kind, names no bucket, or carries credentials.
        """
        parts = urlsplit(address)
        scheme = parts.scheme.lower()
        known = ", ".join(f"{name}://" for name in SCHEMES)
        if scheme not in SCHEMES:
            raise ConfigurationError(f"addresses that begin with {scheme}:// are not known; use a folder, or {known}")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ConfigurationError(
                "an address names a bucket and a path and nothing else; give credentials in environment variables"
            )
        if not parts.netloc:
            raise ConfigurationError(f"{address} names no bucket; write {scheme}://BUCKET/PATH")
        return BucketPath(f"{scheme}://{parts.netloc}", "/".join(part for part in parts.path.split("/") if part))

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
        return self.read_tagged()[0]

    def read_tagged(self) -> tuple[bytes, str]:
        """Its content and the e_tag that belongs to it. Raises as `os_errors`."""
        import obstore

        with os_errors():
            found = obstore.get(self._store, self.key)
            return bytes(found.bytes()), str(found.meta["e_tag"] or "")

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

    def write(self, content: bytes, *, replaces: str | None = "") -> str:
        """Make or replace the object as a whole.

        Args:
            content: all of it.
            replaces: e_tag of the object that may be replaced; None: only if there is none; "": whatever is there.

        Returns:
            the new e_tag.

        Raises:
            StaleObjectError: another object is there. Other errors as `os_errors`.
        """
        import obstore

        mode: Literal["create", "overwrite"] | Any = "overwrite"
        if replaces != "":
            mode = "create" if replaces is None else {"e_tag": replaces}
        with os_errors():
            return str(obstore.put(self._store, self.key, content, mode=mode)["e_tag"] or "")

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
