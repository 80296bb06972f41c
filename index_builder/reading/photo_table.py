"""The photos of one version, by row and by id, and which of them a filter lets through."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index_builder.gallery_errors import UnknownPhotoError
from index_builder.photo_record import PhotoRecord, composed, composed_tags, from_ns, shown_path

COLUMNS = ("photo_id", "path", "content_hash", "size", "modified_ns", "width", "height", "tags", "added_ns")


def record_of(values: dict[str, Any]) -> PhotoRecord:
    """A row of `COLUMNS` as a record."""
    return PhotoRecord(
        photo_id=values["photo_id"],
        path=shown_path(values["path"]),
        raw_path=values["path"],
        tags=tuple(composed_tags(values["tags"])),
        width=values["width"],
        height=values["height"],
        content_hash=values["content_hash"].hex(),
        size=values["size"],
        modified=from_ns(values["modified_ns"]),
        added=from_ns(values["added_ns"]),
    )


class PhotoTable:
    """n photos in the order of their ids. Never changes, and is safe to use from several threads.

    Args:
        table: their rows, in that order.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._ids: npt.NDArray[np.bytes_] = np.array(table.column("photo_id").to_pylist(), dtype="S32")

    @staticmethod
    def read(dataset: Any) -> tuple[PhotoTable, npt.NDArray[np.int64]]:
        """The photos of a Lance dataset, and where each row stands in the dataset's own order [n]."""
        table = dataset.to_table(columns=list(COLUMNS))
        ids = np.array(table.column("photo_id").to_pylist(), dtype="S32")
        places = np.argsort(ids, kind="stable").astype(np.int64)
        return PhotoTable(table.take(pa.array(places))), places

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def photo_ids(self) -> list[str]:
        """All photo ids, in the order of rows."""
        return [photo_id.decode("ascii") for photo_id in self._ids]

    @cached_property
    def tags(self) -> dict[str, int]:
        """Every tag and the number of its photos, in alphabetical order."""
        return {tag: len(rows) for tag, rows in sorted(self._rows_of_tags.items())}

    def allowed(
        self, tags: Collection[str] = (), photo_ids: Collection[str] | None = None
    ) -> npt.NDArray[np.bool_] | None:
        """Which photos a filter lets through.

        Args:
            tags: photos with any of these, in either Unicode form; none means no filter.
            photo_ids: only these (unknown ids are ignored); None means no filter.

        Returns:
            [n] bool, or None where everything is allowed.
        """
        if not tags and photo_ids is None:
            return None
        mask = np.ones(len(self), dtype=bool)
        if tags:
            tagged = np.zeros(len(self), dtype=bool)
            for tag in map(composed, tags):
                tagged[self._rows_of_tags.get(tag, np.empty(0, dtype=np.int64))] = True
            mask &= tagged
        if photo_ids is not None:
            chosen = np.zeros(len(self), dtype=bool)
            chosen[[row for row in map(self._find, photo_ids) if row is not None]] = True
            mask &= chosen
        return mask

    def photo(self, row: int) -> PhotoRecord:
        """What is known of the photo in a row.

        Raises:
            IndexError: a row outside [0, n).
        """
        if not 0 <= row < len(self):
            raise IndexError(f"rows must lie in [0, {len(self)})")
        return record_of(self._table.slice(row, 1).to_pylist()[0])

    def rows_of(self, content_hash: bytes) -> list[int]:
        """The rows of a content, by its SHA-256. Looks at every row, which takes milliseconds for a million."""
        hashes = self._table.column("content_hash")
        return np.flatnonzero(pc.equal(hashes, pa.scalar(content_hash, type=hashes.type)).to_numpy()).tolist()

    def raw_path(self, row: int) -> bytes:
        """The path of the photo in a row, relative to the photos' root."""
        path: bytes = self._table.column("path")[row].as_py()
        return path

    def row_of(self, photo_id: str) -> int:
        """The row of a photo id.

        Raises:
            UnknownPhotoError: this version has no such photo.
        """
        row = self._find(photo_id)
        if row is None:
            raise UnknownPhotoError("this gallery has no photo of that id; it may have been changed or removed since")
        return row

    def _find(self, photo_id: str) -> int | None:
        if not photo_id.isascii():
            return None
        key = photo_id.encode("ascii")
        row = int(np.searchsorted(self._ids, key))
        return row if row < len(self._ids) and self._ids[row] == key else None

    @cached_property
    def _rows_of_tags(self) -> dict[str, npt.NDArray[np.int64]]:
        column = self._table.column("tags").combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], type=column.type)
        flat = column.flatten().dictionary_encode()
        rows = np.repeat(np.arange(len(column), dtype=np.int64), np.diff(column.offsets.to_numpy()))
        codes = flat.indices.to_numpy(zero_copy_only=False)
        order = np.argsort(codes, kind="stable")
        bounds = np.searchsorted(codes[order], np.arange(len(flat.dictionary) + 1))
        found: dict[str, npt.NDArray[np.int64]] = {}
        for code, written in enumerate(flat.dictionary.to_pylist()):
            own, tag = rows[order[bounds[code] : bounds[code + 1]]], composed(written)
            found[tag] = np.union1d(found[tag], own) if tag in found else own
        return found
