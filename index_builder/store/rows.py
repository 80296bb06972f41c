"""Rows of a gallery: how they are made from photos and encodings, and what of them is compared with a folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from index_builder.photo_record import PhotoFile, tags_of
from index_builder.store.layout import lance_errors
from index_builder.store.metadata import OPTIONAL_COLUMNS
from index_builder.store.quantise import StoredTokens


@dataclass(frozen=True)
class KnownPhotos:
    """What a gallery has, for comparing with a folder; about 100 bytes per photo.

    Attributes:
        paths: raw paths, as an Arrow array of bytes.
        sizes, modified_ns, read_ns: [n] int64.
        hashes: content hashes, as an Arrow array of 32 bytes each.
        photo_ids: as an Arrow array of text.
    """

    paths: pa.ChunkedArray
    sizes: npt.NDArray[np.int64]
    modified_ns: npt.NDArray[np.int64]
    read_ns: npt.NDArray[np.int64]
    hashes: pa.ChunkedArray
    photo_ids: pa.ChunkedArray

    @classmethod
    def read(cls, dataset: Any) -> KnownPhotos:
        """All photos of a Lance dataset."""
        columns = ["path", "size", "modified_ns", "read_ns", "content_hash", "photo_id"]
        with lance_errors("cannot read the photos of the gallery"):
            table = dataset.to_table(columns=columns)
        sizes, modified, read = (table.column(name).to_numpy() for name in columns[1:4])
        paths, hashes, ids = (table.column(name) for name in ("path", "content_hash", "photo_id"))
        return cls(paths, sizes, modified, read, hashes, ids)

    def __len__(self) -> int:
        return len(self.sizes)


@dataclass(frozen=True)
class FilePlace:
    """Where the file of a photo is now, and when it was modified and read. Its content is the same as before."""

    photo_id: str
    raw_path: bytes
    modified_ns: int
    read_ns: int


@dataclass(frozen=True)
class PhotoCopy:
    """A photo that has the content of another one, and so its encoding.

    Attributes:
        source: id of the other one.
        photo_id: its own.
        file: of which width and height do not count.
    """

    source: str
    photo_id: str
    file: PhotoFile


def rows_of(photos: Sequence[PhotoFile], ids: Sequence[str], stored: StoredTokens, schema: pa.Schema) -> pa.Table:
    """Rows of photos with their ids and encodings, in the gallery's columns, added now."""
    columns: dict[str, Any] = {
        "photo_id": list(ids),
        "path": [p.raw_path for p in photos],
        "content_hash": [p.content_hash for p in photos],
        "size": [p.size for p in photos],
        "modified_ns": [p.modified_ns for p in photos],
        "read_ns": [p.read_ns for p in photos],
        "width": [p.width for p in photos],
        "height": [p.height for p in photos],
        "tags": [tags_of(p.raw_path) for p in photos],
        "added_ns": [time.time_ns()] * len(photos),
    }
    arrays = [pa.array(values, type=schema.field(name).type) for name, values in columns.items()]
    records = np.ascontiguousarray(stored.records)
    arrays.append(
        pa.FixedSizeListArray.from_arrays(pa.array(stored.descriptor.reshape(-1)), stored.descriptor.shape[1])
    )
    arrays.append(
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(records.shape[1]), len(records), [None, pa.py_buffer(records)])
    )
    arrays += [
        pa.array([getattr(photo, name) for photo in photos], type=kind)
        for name, kind in OPTIONAL_COLUMNS.items()
        if name in schema.names
    ]
    return pa.table([array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema=schema)


def placed(table: pa.Table, places: Mapping[str, FilePlace]) -> pa.Table:
    """Rows with the new places of their files, by photo id."""
    now = [places[photo] for photo in table.column("photo_id").to_pylist()]
    return _with(
        table,
        path=[place.raw_path for place in now],
        tags=[tags_of(place.raw_path) for place in now],
        modified_ns=[place.modified_ns for place in now],
        read_ns=[place.read_ns for place in now],
    )


def copied(table: pa.Table, copies: Sequence[PhotoCopy]) -> pa.Table:
    """Rows of copies, made from rows of their sources, one each and in the same order; added now."""
    files = [copy.file for copy in copies]
    return _with(
        table,
        photo_id=[copy.photo_id for copy in copies],
        path=[file.raw_path for file in files],
        tags=[tags_of(file.raw_path) for file in files],
        size=[file.size for file in files],
        modified_ns=[file.modified_ns for file in files],
        read_ns=[file.read_ns for file in files],
        added_ns=[time.time_ns()] * len(files),
    )


def _with(table: pa.Table, **columns: Sequence[Any]) -> pa.Table:
    """The table with other values in some columns."""
    for name, values in columns.items():
        field = table.schema.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(values, type=field.type))
    return table
