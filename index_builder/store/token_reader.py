"""Reads the candidates' tokens: from a bounded cache in host or device memory, else from the dataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from index_builder.gallery_errors import GalleryAwayError, GalleryDamagedError, GalleryVersionGoneError
from index_builder.store.layout import says_away
from index_builder.store.quantise import TokenShape, dequantise, has_masked
from index_builder.store.token_pool import Rows, TokenPool, on_device
from model.device_faults import is_memory_short
from model.types import Encoding

_READ_ROWS = 4096  # rows per read while warming, so that memory stays bounded


class TokenReader:
    """Encodings of a gallery version's photos by row; safe to use from several threads.

    Args:
        dataset: the Lance dataset of one version.
        places: [n] int64, where each row stands in the dataset's own order.
        shape: of every photo's tokens.
        descriptors: rows [k] -> descriptors [k, E] float32, from memory.
        device, dtype: of the encodings given out.
        cache_bytes: most that the cache may take on `device`; 0 turns it off. It holds tokens as stored, which take
            less room than floats. If all photos fit, `warm` reads them once and for all. A GPU may have less to give,
            see `TokenPool`.
    """

    def __init__(
        self,
        dataset: Any,
        places: Rows,
        shape: TokenShape,
        descriptors: Callable[[Rows], npt.NDArray[np.float32]],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        cache_bytes: int = 0,
    ) -> None:
        self._dataset, self._places, self._shape, self._descriptors = dataset, places, shape, descriptors
        self._device, self._dtype = torch.device(device), dtype
        self._pool = TokenPool(min(len(places), cache_bytes // shape.record_bytes), shape.record_bytes, self._device)
        self._masked = False

    @property
    def counts(self) -> tuple[int, int]:
        """Rows that the cache had, and rows that it lacked."""
        return self._pool.hits, self._pool.misses

    def encodings(self, rows: Rows) -> Encoding:
        """Rows [k] int64 -> Encoding of k photos on the reader's device.

        Raises:
            IndexError: a row outside [0, n).
            GalleryVersionGoneError: the version's files were cleaned up since it was opened.
            GalleryAwayError: the object storage does not answer.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self._places)):
            raise IndexError(f"rows must lie in [0, {len(self._places)})")
        missing, records = self._pool.get(rows)
        if len(missing):
            read = self._read(rows[missing])
            present = np.setdiff1d(np.arange(len(rows)), missing)
            order = on_device(np.argsort(np.concatenate([present, missing])), self._device)
            records = torch.cat([records, read]).index_select(0, order)
            self._pool.put(rows[missing], read)
        descriptors = on_device(self._descriptors(rows), self._device)
        return dequantise(descriptors, records, self._shape, self._dtype, masked=self._masked)

    def descriptors(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Rows [k] int64 -> descriptors [k, E] float32, as the network gave them."""
        return fixed_size(take_rows(self._dataset, self._places[rows], ["descriptor"]), "descriptor")

    def warm(self) -> bool:
        """Read everything into the cache if it fits; whether it did."""
        if self._pool.capacity < len(self._places):
            return False
        for start in range(0, len(self._places), _READ_ROWS):
            rows = np.arange(start, min(start + _READ_ROWS, len(self._places)), dtype=np.int64)
            try:
                self._pool.put(rows, self._read(rows))
            except (RuntimeError, MemoryError) as error:
                if not is_memory_short(error):
                    raise
                return False  # the rest is read when it is asked for
        return True

    def _read(self, rows: Rows) -> Tensor:
        records = records_of(take_rows(self._dataset, self._places[rows], ["tokens"]).column("tokens"), self._shape)
        # Found out here, because asking a GPU for it would wait for all that it has to do.
        self._masked = self._masked or has_masked(records, self._shape)
        return on_device(records, self._device)


def take_rows(dataset: Any, places: Rows, columns: list[str]) -> pa.Table:
    """Columns of a Lance dataset at places [k], in this order.

    Raises:
        GalleryVersionGoneError: the version's files were cleaned up since it was opened.
        GalleryAwayError: the object storage does not answer.
        GalleryDamagedError: they cannot be read.
    """
    try:
        # A panic in Lance's Rust code is not an Exception, hence the base class.
        return dataset.take(places.tolist(), columns=columns)
    except BaseException as error:
        if isinstance(error, FileNotFoundError) or "not found" in str(error).lower():
            raise GalleryVersionGoneError(
                "this version of the gallery was cleaned up since it was opened; open the latest one"
            ) from error
        if says_away(error):
            raise GalleryAwayError("the object storage that holds the gallery does not answer; try again") from error
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise GalleryDamagedError(
                f"{' and '.join(columns)} cannot be read from the gallery; run `sketchseek gallery verify`"
            ) from error
        raise


def fixed_size(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """A fixed-size list column of a table -> [rows, size], without copying where Arrow allows it."""
    column = table.column(name)
    size = column.type.list_size
    if not column.num_chunks:
        return np.empty((0, size), dtype=column.type.value_type.to_pandas_dtype())
    parts = [chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, size) for chunk in column.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def records_of(column: pa.ChunkedArray, shape: TokenShape) -> npt.NDArray[np.uint8]:
    """A column of records -> [rows, R] uint8, a copy."""
    parts = [
        np.frombuffer(chunk.buffers()[1], dtype=np.uint8).reshape(-1, shape.record_bytes)[
            chunk.offset : chunk.offset + len(chunk)
        ]
        for chunk in column.chunks
    ]
    return np.concatenate([np.empty((0, shape.record_bytes), dtype=np.uint8), *parts])
