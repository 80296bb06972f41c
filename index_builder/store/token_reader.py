"""Reads the candidates' tokens: from a bounded cache in host or device memory, else from the dataset."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from index_builder.gallery_errors import GalleryDamagedError, GalleryVersionGoneError
from index_builder.store.quantise import TokenShape, dequantise
from model.types import Encoding

Rows = npt.NDArray[np.int64]
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
            less room than floats. If all photos fit, `warm` reads them once and for all.
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
        self._lock = threading.Lock()
        self._slots: OrderedDict[int, int] = OrderedDict()
        self.capacity = min(len(places), cache_bytes // shape.record_bytes)
        self._pool = torch.empty((self.capacity, shape.record_bytes), dtype=torch.uint8, device=self._device)
        self.hits = self.misses = 0

    def encodings(self, rows: Rows) -> Encoding:
        """Rows [k] int64 -> Encoding of k photos on the reader's device.

        Raises:
            IndexError: a row outside [0, n).
            GalleryVersionGoneError: the version's files were cleaned up since it was opened.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self._places)):
            raise IndexError(f"rows must lie in [0, {len(self._places)})")
        missing, records = self._from_cache(rows)
        if len(missing):
            read = self._read(rows[missing])
            present = np.setdiff1d(np.arange(len(rows)), missing)
            order = torch.from_numpy(np.argsort(np.concatenate([present, missing]))).to(self._device)
            records = torch.cat([records, read]).index_select(0, order)
            self._to_cache(rows[missing], read)
        descriptors = torch.from_numpy(self._descriptors(rows)).to(self._device)
        return dequantise(descriptors, records, self._shape, self._dtype)

    def descriptors(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Rows [k] int64 -> descriptors [k, E] float32, as the network gave them."""
        return fixed_size(self._take(np.asarray(rows, dtype=np.int64), ["descriptor"]), "descriptor")

    def warm(self) -> bool:
        """Read everything into the cache if it fits; whether it did."""
        if self.capacity < len(self._places):
            return False
        for start in range(0, len(self._places), _READ_ROWS):
            rows = np.arange(start, min(start + _READ_ROWS, len(self._places)), dtype=np.int64)
            self._to_cache(rows, self._read(rows))
        return True

    def _from_cache(self, rows: Rows) -> tuple[npt.NDArray[np.int64], Tensor]:
        """The indices in `rows` of those that the cache lacks, and the records of the others, in order."""
        with self._lock:
            slots = np.array([self._slots.get(row, -1) for row in rows.tolist()], dtype=np.int64)
            present = slots >= 0
            for row in rows[present].tolist():
                self._slots.move_to_end(row)
            source = torch.from_numpy(slots[present]).to(self._device)
            records = self._pool.index_select(0, source)
            self.hits += len(source)
            self.misses += len(rows) - len(source)
        return np.flatnonzero(~present), records

    def _to_cache(self, rows: Rows, records: Tensor) -> None:
        if not self.capacity:
            return
        with self._lock:
            kept: dict[int, int] = {}  # slot -> index in rows; a later row may push out an earlier one of the same call
            for index, row in enumerate(rows):
                if int(row) in self._slots:
                    continue
                slot = len(self._slots) if len(self._slots) < self.capacity else self._slots.popitem(last=False)[1]
                self._slots[int(row)] = slot
                kept[slot] = index
            if kept:
                target = torch.tensor(list(kept), device=self._device)
                source = torch.tensor(list(kept.values()), device=self._device)
                self._pool[target] = records[source]

    def _read(self, rows: Rows) -> Tensor:
        column = self._take(rows, ["tokens"]).column("tokens")
        return torch.from_numpy(records_of(column, self._shape)).to(self._device)

    def _take(self, rows: Rows, columns: list[str]) -> pa.Table:
        places = self._places[rows]
        try:
            # A panic in Lance's Rust code is not an Exception, hence the base class.
            return self._dataset.take(places.tolist(), columns=columns)
        except BaseException as error:
            if isinstance(error, FileNotFoundError) or "not found" in str(error).lower():
                raise GalleryVersionGoneError(
                    "this version of the gallery was cleaned up since it was opened; open the latest one"
                ) from error
            if isinstance(error, Exception) or type(error).__name__ == "PanicException":
                raise GalleryDamagedError(
                    "tokens cannot be read from the gallery; run `sketchseek gallery verify`"
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
