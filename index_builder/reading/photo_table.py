"""The photos of one version, by row and by id, and which of them a filter lets through."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index_builder.gallery_errors import UnknownFolderError, UnknownPhotoError, UnknownTagError
from index_builder.index.candidate_index import Selection
from index_builder.photo_filter import ALL_PHOTOS, PhotoFilter
from index_builder.photo_record import NO_DATE, PhotoRecord, composed_tags
from index_builder.reading.photo_columns import PhotoColumns, all_of
from index_builder.store.metadata import DATE

COLUMNS = ("photo_id", "path", "content_hash", "size", "modified_ns", "width", "height", "tags", "added_ns")
_NUMBERS = ("width", "height", "size", "modified_ns", "added_ns")
_PATHS_AT_ONCE = 65_536


def columns_of(dataset: Any) -> list[str]:
    """The columns of a Lance dataset that make a record. One of an earlier release lacks the date taken."""
    return [*COLUMNS, DATE] if DATE in dataset.schema.names else list(COLUMNS)


def record_of(values: dict[str, Any]) -> PhotoRecord:
    """A row of `columns_of` as a record."""
    modified_ns, stated_ns = values["modified_ns"], values.get(DATE)
    return PhotoRecord(
        values["photo_id"],
        values["path"],
        tuple(composed_tags(values["tags"])),
        values["width"],
        values["height"],
        values["content_hash"],
        values["size"],
        modified_ns,
        values["added_ns"],
        modified_ns if stated_ns is None or stated_ns == NO_DATE else stated_ns,
    )


class PhotoTable:
    """n photos in the order of their ids. Never changes, and is safe to use from several threads.

    Args:
        table: their rows, in that order.

    Attributes:
        columns: the same as arrays.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._by_name = dict(zip(table.column_names, table.columns, strict=True))
        self.columns = PhotoColumns(table)
        self._numbers = {name: self._by_name[name].to_numpy() for name in _NUMBERS}
        self._ids: npt.NDArray[np.bytes_] = np.array(table.column("photo_id").to_pylist(), dtype="S32")

    @staticmethod
    def read(dataset: Any) -> tuple[PhotoTable, npt.NDArray[np.int64]]:
        """The photos of a Lance dataset, and where each row stands in the dataset's own order [n]."""
        table = dataset.to_table(columns=columns_of(dataset))
        ids = np.array(table.column("photo_id").to_pylist(), dtype="S32")
        places = np.argsort(ids, kind="stable").astype(np.int64)
        return PhotoTable(table.take(pa.array(places))), places

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def photo_ids(self) -> list[str]:
        """All photo ids, in the order of rows."""
        return [photo_id.decode("ascii") for photo_id in self._ids]

    @property
    def tags(self) -> dict[str, int]:
        """Every tag and the number of its photos, in alphabetical order."""
        return {tag: len(rows) for tag, rows in sorted(self.columns.rows_of_tags.items())}

    def allowed(
        self, chosen: PhotoFilter = ALL_PHOTOS, photo_ids: Collection[str] | None = None
    ) -> npt.NDArray[np.bool_] | None:
        """Which photos a filter lets through.

        Args:
            chosen: the filter. Tags and folders that no photo has let nothing through.
            photo_ids: only these (unknown ids are ignored); None means no filter.

        Returns:
            [n] bool, or None where everything is allowed.
        """
        mask = all_of(part for _, part in self.columns.masks(chosen))
        if photo_ids is None:
            return mask
        named = np.zeros(len(self), dtype=bool)
        named[self.rows_named(photo_ids)] = True
        return named if mask is None else mask & named

    def select(
        self,
        chosen: PhotoFilter = ALL_PHOTOS,
        photo_ids: Collection[str] | None = None,
        left_out: Collection[int] = (),
    ) -> Selection | None:
        """Which photos a filter lets through, as an index is told; None where everything is allowed.

        Args:
            chosen, photo_ids: as of `allowed`.
            left_out: rows that are not found.
        """
        mask = self.allowed(chosen, photo_ids)
        if mask is None and not left_out:
            return None
        mask = np.ones(len(self), dtype=bool) if mask is None else mask
        mask[list(left_out)] = False
        return Selection(mask, chosen, None if photo_ids is None else self.rows_named(photo_ids), left_out)

    def rows_named(self, photo_ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """The rows of photo ids; unknown ids are ignored."""
        return np.array([row for row in map(self._find, photo_ids) if row is not None], dtype=np.int64)

    def check(self, chosen: PhotoFilter) -> None:
        """Check that the gallery has what a filter names.

        Raises:
            UnknownTagError, UnknownFolderError: no photo has this tag, or lies in this folder.
        """
        for tag in chosen.named_tags:
            if tag not in self.columns.rows_of_tags:
                raise UnknownTagError(tag)
        if chosen.folder and not self.columns.folders_below(chosen.folder):
            raise UnknownFolderError(chosen.folder)

    def photo(self, row: int) -> PhotoRecord:
        """What is known of the photo in a row.

        Raises:
            IndexError: a row outside [0, n).
        """
        return self.photos([row])[0]

    def photos(self, rows: Sequence[int]) -> list[PhotoRecord]:
        """What is known of the photos in some rows, in the order asked for.

        Raises:
            IndexError: a row outside [0, n).
        """
        # Column by column, and numbers as arrays: value by value takes several times as long.
        if not all(0 <= row < len(self) for row in rows):
            raise IndexError(f"rows must lie in [0, {len(self)})")
        places = np.array(rows, dtype=np.int64)
        width, height, size, modified, added = (self._numbers[name][places].tolist() for name in _NUMBERS)
        taken, wanted = self.columns.taken_ns[places].tolist(), pa.array(places)
        paths, tags, hashes = (
            self._by_name[name].take(wanted).to_pylist() for name in ("path", "tags", "content_hash")
        )
        ids = [photo_id.decode("ascii") for photo_id in self._ids[places].tolist()]
        own_tags = [tuple(composed_tags(own)) for own in tags]
        values = zip(ids, paths, own_tags, width, height, hashes, size, modified, added, taken, strict=True)
        return [PhotoRecord(*one) for one in values]

    def rows_of(self, content_hash: bytes) -> list[int]:
        """The rows of a content, by its SHA-256. Looks at every row, which takes milliseconds for a million."""
        hashes = self._table.column("content_hash")
        return np.flatnonzero(pc.equal(hashes, pa.scalar(content_hash, type=hashes.type)).to_numpy()).tolist()

    def identifying_values(self) -> tuple[list[bytes], list[bytes], list[bytes], list[tuple[int, ...]]]:
        """For each row its id, its path, its content's hash, and all numbers: what another row never has in common."""
        ids = [photo_id.encode("ascii") for photo_id in self.photo_ids]
        names = ("width", "height", "added_ns")
        numbers = [self._by_name[name].to_pylist() for name in names] + [self.columns.taken_ns.tolist()]
        paths, hashes = (self._by_name[name].to_pylist() for name in ("path", "content_hash"))
        return ids, paths, hashes, list(zip(*numbers, strict=True))

    def raw_path(self, row: int) -> bytes:
        """The path of the photo in a row, relative to the photos' root."""
        path: bytes = self._table.column("path")[row].as_py()
        return path

    def raw_paths(self) -> Iterator[bytes]:
        """Every photo's path, in the order of rows."""
        for chunk in self._table.column("path").chunks:
            for start in range(0, len(chunk), _PATHS_AT_ONCE):
                yield from chunk.slice(start, _PATHS_AT_ONCE).to_pylist()

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
