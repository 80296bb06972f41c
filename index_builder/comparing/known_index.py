"""Finds photos of a gallery by path, by content and by id, as arrays: about 100 bytes per photo."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from index_builder.store.rows import KnownPhotos

_KEY_BYTES = 16

Rows = npt.NDArray[np.int64]


class PathIndex:
    """Finds paths among many, in 24 bytes each.

    Args:
        paths: as the gallery writes them.
        count: how many there are.
    """

    def __init__(self, paths: Iterable[bytes], count: int) -> None:
        self._keys = _Keys(np.fromiter(map(_key, paths), _KEY_DTYPE, count))

    def rows_at(self, paths: Sequence[bytes]) -> Rows:
        """Rows of paths, [n], -1 where there is none."""
        return self._keys.first([_key(path) for path in paths])


class ContentIndex:
    """Finds contents among many, in 24 bytes each. It can be sent to other processes.

    Args:
        hashes: content hashes, as an Arrow array of 32 bytes each.
    """

    def __init__(self, hashes: pa.ChunkedArray) -> None:
        self._keys = _Keys(np.ascontiguousarray(_fixed_bytes(hashes)[:, :_KEY_BYTES]).view(_KEY_DTYPE).ravel())

    def rows_of(self, content_hash: bytes) -> Rows:
        """All rows of a content."""
        return self._keys.all(content_hash[:_KEY_BYTES])

    def has(self, content_hash: bytes) -> bool:
        """Whether any row has this content."""
        return len(self.rows_of(content_hash)) > 0


class KnownIndex:
    """Looks up the rows of what a gallery has. The index of contents and that of ids are made when first asked for.

    Args:
        photos: what the gallery has.
    """

    def __init__(self, photos: KnownPhotos) -> None:
        self.photos = photos
        self._paths = PathIndex((path.as_py() for path in photos.paths), len(photos))

    def __len__(self) -> int:
        return len(self.photos)

    def rows_at(self, paths: Sequence[bytes]) -> Rows:
        """Rows of paths, [n], -1 where the gallery has none."""
        return self._paths.rows_at(paths)

    def row_at(self, raw_path: bytes) -> int:
        """The row of a path, or -1."""
        return int(self.rows_at([raw_path])[0])

    def rows_of(self, content_hash: bytes) -> Rows:
        """All rows of a content."""
        return self.contents.rows_of(content_hash)

    def has_content(self, content_hash: bytes) -> bool:
        """Whether any photo has this content."""
        return self.contents.has(content_hash)

    def has_id(self, photo_id: str) -> bool:
        """Whether any photo has this id."""
        return len(self._ids.all(photo_id.encode("ascii"))) > 0

    def hash_of(self, row: int) -> bytes:
        """Content hash of a row."""
        content: bytes = self.photos.hashes[row].as_py()
        return content

    def photo_id(self, row: int) -> str:
        """Id of a row."""
        return str(self.photos.photo_ids[row].as_py())

    def raw_path(self, row: int) -> bytes:
        """Path of a row."""
        path: bytes = self.photos.paths[row].as_py()
        return path

    @cached_property
    def contents(self) -> ContentIndex:
        """The contents of all photos."""
        return ContentIndex(self.photos.hashes)

    @cached_property
    def _ids(self) -> _Keys:
        return _Keys(np.array(self.photos.photo_ids.to_pylist(), dtype="S32"))


class _Keys:
    """Keys of rows, sorted for looking up. Rows of one key keep their order."""

    def __init__(self, keys: npt.NDArray[np.bytes_]) -> None:
        self._order = np.argsort(keys, kind="stable").astype(np.int64)
        self._sorted = keys[self._order]

    def first(self, keys: Sequence[bytes]) -> Rows:
        """The first row of each key, -1 where there is none."""
        if not len(self._sorted):
            return np.full(len(keys), -1, dtype=np.int64)
        wanted = np.array(keys, dtype=self._sorted.dtype)
        places = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        found: Rows = np.where(self._sorted[places] == wanted, self._order[places], -1)
        return found

    def all(self, key: bytes) -> Rows:
        """Every row of a key."""
        wanted = np.array(key, dtype=self._sorted.dtype)
        start, end = (int(np.searchsorted(self._sorted, wanted, side=side)) for side in ("left", "right"))
        return self._order[start:end]


_KEY_DTYPE = f"S{_KEY_BYTES}"


def _key(raw_path: bytes) -> bytes:
    """A fixed-size stand-in for a path; 128 bits, so that no two paths share one."""
    return hashlib.blake2b(raw_path, digest_size=_KEY_BYTES).digest()


def _fixed_bytes(column: pa.ChunkedArray) -> npt.NDArray[np.uint8]:
    """A column of values of one size as [n, size]."""
    width = column.type.byte_width
    parts = [
        np.frombuffer(chunk.buffers()[1], np.uint8)[chunk.offset * width : (chunk.offset + len(chunk)) * width]
        for chunk in column.chunks
        if len(chunk)
    ]
    flat = np.concatenate(parts) if parts else np.empty(0, np.uint8)
    return flat.reshape(-1, width)
