"""What filters, facets and ties look at, as arrays: one value per photo of a version, in the order of rows.

Each array is made when it is first needed, and never changes. docs/performance.md says what they cost.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index_builder.photo_filter import FILE_TYPES, ORIENTATIONS, PhotoFilter
from index_builder.photo_record import NO_DATE, composed, shown_path
from index_builder.store.metadata import DATE
from model.images.formats.endings import KNOWN

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

_LONGEST_ENDING = max(len(ending) for one in KNOWN for ending in one.endings)
_TYPE_OF = {ending.encode(): number for number, one in enumerate(KNOWN) for ending in one.endings}
_NO_TYPE = len(FILE_TYPES)
_PATHS_AT_ONCE = 65_536
_AFTER_SLASH = chr(ord("/") + 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PhotoColumns:
    """Arrays over n photos.

    Args:
        table: their rows, in order.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    def masks(self, chosen: PhotoFilter) -> Iterator[tuple[str, Mask]]:
        """For each part of a filter that asks for something: [n] bool, the photos that it lets through.

        Yields:
            name and mask, one after the other: tags, tags_all, tags_none, taken, orientation, folder, types, as_of.
            `all_of` makes the filter of them.
        """
        if chosen.tags:
            yield "tags", self._tagged(chosen.tags)
        if chosen.tags_all:
            yield "tags_all", np.logical_and.reduce([self._tagged([tag]) for tag in chosen.tags_all])
        if chosen.tags_none:
            yield "tags_none", ~self._tagged(chosen.tags_none)
        if (days := chosen.taken_ns) is not None:
            yield "taken", (self.taken_ns >= days[0]) & (self.taken_ns <= days[1])
        if chosen.orientation is not None:
            yield "orientation", self.orientations == ORIENTATIONS.index(chosen.orientation)
        if chosen.folder:
            yield "folder", self._below(chosen.folder)
        if chosen.types:
            yield "types", np.logical_or.reduce([self.types == FILE_TYPES.index(name) for name in chosen.types])
        if (moment := chosen.as_of_ns) is not None:
            yield "as_of", self.added_ns <= moment

    @cached_property
    def rows_of_tags(self) -> dict[str, Rows]:
        """Every tag and the rows of its photos, rising."""
        column = self._table.column("tags").combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], type=column.type)
        flat = column.flatten().dictionary_encode()
        rows = np.repeat(np.arange(len(column), dtype=np.int64), np.diff(column.offsets.to_numpy()))
        codes = flat.indices.to_numpy(zero_copy_only=False)
        order = np.argsort(codes, kind="stable")
        bounds = np.searchsorted(codes[order], np.arange(len(flat.dictionary) + 1))
        found: dict[str, Rows] = {}
        for code, written in enumerate(flat.dictionary.to_pylist()):
            own, tag = rows[order[bounds[code] : bounds[code + 1]]], composed(written)
            found[tag] = np.union1d(found[tag], own) if tag in found else own
        return found

    @cached_property
    def rows_by_tag(self) -> tuple[list[str], npt.NDArray[np.int32], Rows]:
        """Every tag, in alphabetical order; the rows of all tags, one tag after the other; where each tag's begin."""
        names = sorted(self.rows_of_tags)
        rows = [self.rows_of_tags[name].astype(np.int32) for name in names]
        starts = np.cumsum([0, *map(len, rows)])[:-1]
        return names, np.concatenate(rows) if rows else np.empty(0, dtype=np.int32), starts

    @cached_property
    def taken_ns(self) -> Rows:
        """[n] int64: `PhotoRecord.taken` in nanoseconds since 1970."""
        modified = self._numbers("modified_ns")
        if DATE not in self._table.column_names:
            return modified
        stated = self._table.column(DATE).fill_null(NO_DATE).to_numpy()
        return np.where(stated == NO_DATE, modified, stated)

    @cached_property
    def _months(self) -> tuple[list[str], npt.NDArray[np.int32]]:
        months = self.taken_ns.view("M8[ns]").astype("M8[M]").astype(np.int64)
        first, last = (int(months.min()), int(months.max())) if len(months) else (0, -1)
        return [str(np.datetime64(month, "M")) for month in range(first, last + 1)], (months - first).astype(np.int32)

    @property
    def month_names(self) -> list[str]:
        """The months in which photos were taken, and those between them, as "2024-06"."""
        return self._months[0]

    @property
    def months(self) -> npt.NDArray[np.int32]:
        """[n] int32: the place of each photo's month in `month_names`."""
        return self._months[1]

    @cached_property
    def added_ns(self) -> Rows:
        """[n] int64: when each row was committed, in nanoseconds since 1970."""
        return self._numbers("added_ns")

    @cached_property
    def as_of(self) -> datetime | None:
        """When the latest of the photos was added, rounded up to a microsecond; None without photos."""
        if not len(self._table):
            return None
        return _EPOCH + timedelta(microseconds=-(-int(self.added_ns.max()) // 1000))

    @cached_property
    def newest_first(self) -> Rows:
        """[n] int64: the place of each row when all are sorted by date taken, the newest first, and by photo id."""
        places = np.empty(len(self._table), dtype=np.int64)
        places[np.argsort(-self.taken_ns, kind="stable")] = np.arange(len(places))
        return places

    @cached_property
    def orientations(self) -> npt.NDArray[np.uint8]:
        """[n] uint8: the place of each photo's shape in `ORIENTATIONS`."""
        width, height = self._numbers("width"), self._numbers("height")
        return np.where(width == height, 2, np.where(width > height, 0, 1)).astype(np.uint8)

    @cached_property
    def types(self) -> npt.NDArray[np.uint8]:
        """[n] uint8: the place of each file's type in `FILE_TYPES`, by its ending; behind the last without one."""
        ends = pc.binary_slice(self._table.column("path"), -_LONGEST_ENDING, None)
        distinct = pc.unique(ends)
        known = np.array([_TYPE_OF.get(_ending(end), _NO_TYPE) for end in distinct.to_pylist()], dtype=np.uint8)
        types: npt.NDArray[np.uint8] = known[pc.index_in(ends, distinct).to_numpy()]
        return types

    @cached_property
    def _folders(self) -> tuple[list[str], npt.NDArray[np.int32]]:
        """The folders of photos, sorted, each with a slash at its end; and [n] int32, which one each photo lies in."""
        numbers: dict[bytes, int] = {}
        codes = np.empty(len(self._table), dtype=np.int32)
        paths = self._table.column("path")
        for start in range(0, len(codes), _PATHS_AT_ONCE):
            part = [path.rpartition(b"/")[0] for path in paths.slice(start, _PATHS_AT_ONCE).to_pylist()]
            codes[start : start + len(part)] = [numbers.setdefault(folder, len(numbers)) for folder in part]
        shown = [composed(shown_path(folder)) + "/" for folder in numbers]
        names = sorted(set(shown))
        place = {name: number for number, name in enumerate(names)}
        return names, np.array([place[name] for name in shown], dtype=np.int32)[codes]

    @property
    def folders(self) -> list[str]:
        """Folders of photos, sorted, each with a slash at its end; photos outside all of them lie in "/"."""
        return self._folders[0]

    @property
    def folder_codes(self) -> npt.NDArray[np.int32]:
        """[n] int32: the place of each photo's folder in `folders`."""
        return self._folders[1]

    def folders_below(self, folder: str) -> range:
        """The places in `folders` of a folder and of those inside it. In the sorted list they are neighbours."""
        names = self.folders
        return range(bisect_left(names, f"{folder}/"), bisect_left(names, f"{folder}{_AFTER_SLASH}"))

    def _below(self, folder: str) -> Mask:
        places = self.folders_below(folder)
        return (self.folder_codes >= places.start) & (self.folder_codes < places.stop)

    def _tagged(self, tags: Iterable[str]) -> Mask:
        """[n] bool: photos with any of these tags."""
        mask = np.zeros(len(self._table), dtype=bool)
        for tag in tags:
            mask[self.rows_of_tags.get(tag, np.empty(0, dtype=np.int64))] = True
        return mask

    def _numbers(self, name: str) -> Rows:
        values: Rows = self._table.column(name).to_numpy().astype(np.int64, copy=False)
        return values


def all_of(masks: Iterable[Mask]) -> Mask | None:
    """[n] bool: where all masks are true; None without any. One at a time, for memory is what costs the most."""
    every: Mask | None = None
    for mask in masks:
        if every is None:
            every = mask.copy()
        else:
            every &= mask
    return every


def _ending(end: bytes) -> bytes:
    """The ending of a path, of which `end` is the last part, in lower case and with its dot; b"" without one."""
    _, dot, ending = end.lower().rpartition(b".")
    return dot + ending if dot else b""
