"""Rows of a gallery: how they are made from photos and encodings, and what of them is compared with a folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from index_builder.photo_record import PhotoFile, photo_id, tags_of
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

    def __len__(self) -> int:
        return len(self.sizes)


def rows_of(photos: Sequence[PhotoFile], stored: StoredTokens, schema: pa.Schema) -> pa.Table:
    """Rows of photos with their encodings, in the gallery's columns, added now."""
    columns: dict[str, Any] = {
        "photo_id": [photo_id(p.raw_path, p.content_hash) for p in photos],
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
    return pa.table([array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema=schema)
