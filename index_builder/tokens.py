"""Reads the candidates' tokens: from a bounded cache in host or device memory, else from the dataset."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from index_builder.errors import GalleryDamagedError, GalleryVersionGoneError
from index_builder.quantise import TokenShape, dequantise
from model.types import Encoding

Rows = npt.NDArray[np.int64]
COLUMNS = ("descriptor", "tokens", "token_scales", "positions")
_DTYPES = (torch.float32, torch.int8, torch.float32, torch.int32)
_READ_ROWS = 4096  # rows per read while warming, so that memory stays bounded


class TokenReader:
    """Encodings of a gallery version's photos by row; safe to use from several threads.

    Args:
        dataset: the Lance dataset of one version.
        places: [n] int64, where each row stands in the dataset's own order.
        shape: of every photo's tokens.
        device, dtype: of the encodings given out.
        cache_bytes: most that the cache may take on `device`; 0 turns it off. It holds tokens as stored, so that int8
            and not floats take the room. Where all photos fit, `warm` reads them once and for all.
    """

    def __init__(
        self,
        dataset: Any,
        places: Rows,
        shape: TokenShape,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        cache_bytes: int = 0,
    ) -> None:
        self._dataset, self._places, self._shape = dataset, places, shape
        self._device, self._dtype = torch.device(device), dtype
        self._lock = threading.Lock()
        self._slots: OrderedDict[int, int] = OrderedDict()
        self.capacity = min(len(places), cache_bytes // shape.bytes_per_photo)
        self._pools = self._empty(self.capacity)
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
        values = self._empty(len(rows))
        missing = self._from_cache(rows, values)
        if len(missing):
            read = self._read(rows[missing])
            index = torch.from_numpy(missing).to(self._device)
            for value, new in zip(values, read, strict=True):
                value[index] = new
            self._to_cache(rows[missing], read)
        descriptor, tokens, scales, positions = values
        shape = self._shape
        return dequantise(descriptor, tokens.view(-1, shape.tokens, shape.width), scales, positions, self._dtype)

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

    def _empty(self, count: int) -> list[Tensor]:
        shape = self._shape
        widths = (shape.descriptor, shape.tokens * shape.width, shape.tokens, shape.tokens - 1)
        return [
            torch.empty((count, width), dtype=dtype, device=self._device)
            for width, dtype in zip(widths, _DTYPES, strict=True)
        ]

    def _from_cache(self, rows: Rows, values: list[Tensor]) -> npt.NDArray[np.int64]:
        """Fill `values` where the cache has the row; the indices in `rows` of those it has not."""
        with self._lock:
            slots = np.array([self._slots.get(int(row), -1) for row in rows], dtype=np.int64)
            (present,) = np.nonzero(slots >= 0)
            for row in rows[present]:
                self._slots.move_to_end(int(row))
            if len(present):
                target = torch.from_numpy(present).to(self._device)
                source = torch.from_numpy(slots[present]).to(self._device)
                for value, pool in zip(values, self._pools, strict=True):
                    value[target] = pool[source]
            self.hits += len(present)
            self.misses += len(rows) - len(present)
        return np.nonzero(slots < 0)[0]

    def _to_cache(self, rows: Rows, values: list[Tensor]) -> None:
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
                for pool, value in zip(self._pools, values, strict=True):
                    pool[target] = value[source]

    def _read(self, rows: Rows) -> list[Tensor]:
        table = self._take(rows, list(COLUMNS))
        arrays = [fixed_size(table, name) for name in COLUMNS]
        arrays[3] = arrays[3].astype(np.int32)
        return [torch.tensor(array, device=self._device) for array in arrays]

    def _take(self, rows: Rows, columns: list[str]) -> pa.Table:
        places = self._places[rows]
        try:
            # Lance panics of its Rust side are no Exception, hence the base class.
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
