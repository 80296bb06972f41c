"""Photos' records kept in host or device memory: as many as fit, the least recently used go first."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.device_faults import free_cached_memory, is_memory_short

Rows = npt.NDArray[np.int64]

_SHARE = 2  # of a GPU's free memory; the version that is served keeps its pool until the next one is warm
_log = logging.getLogger(__name__)


class TokenPool:
    """Records by row; safe to use from several threads.

    On a GPU it takes at most half of the memory that is free, and less, down to nothing, where that is not to be had.
    One warning says so.

    Args:
        count: most records.
        record_bytes: R, of one.
        device: where they are kept.

    Attributes:
        capacity: how many records there is room for.
        hits, misses: of all rows asked for.
    """

    def __init__(self, count: int, record_bytes: int, device: torch.device) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._slots: OrderedDict[int, int] = OrderedDict()
        self._pool = _allocated(count, record_bytes, device)
        self.capacity = len(self._pool)
        self.hits = self.misses = 0

    def get(self, rows: Rows) -> tuple[Rows, Tensor]:
        """The indices in `rows` of those that are not here, and the records of the others, in order."""
        with self._lock:
            slots = np.array([self._slots.get(row, -1) for row in rows.tolist()], dtype=np.int64)
            present = slots >= 0
            for row in rows[present].tolist():
                self._slots.move_to_end(row)
            records = self._pool.index_select(0, on_device(slots[present], self._device))
            self.hits += len(records)
            self.misses += len(rows) - len(records)
        return np.flatnonzero(~present), records

    def put(self, rows: Rows, records: Tensor) -> None:
        """Keep the records [k, R] of `rows` [k]."""
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
                target, source = (np.array(list(some)) for some in (kept, kept.values()))
                self._pool[on_device(target, self._device)] = records[on_device(source, self._device)]


def on_device(values: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """An array as a tensor there. On the way to a GPU it lies in pinned memory, so that nothing waits for the copy."""
    tensor = torch.from_numpy(values)
    if device.type != "cuda":
        return tensor.to(device)
    try:
        tensor = tensor.pin_memory()
    except RuntimeError:  # the system lets no more memory be pinned
        return tensor.to(device)
    # PyTorch keeps the pinned memory until the copy is done.
    return tensor.to(device, non_blocking=True)


def _allocated(count: int, record_bytes: int, device: torch.device) -> Tensor:
    fitting = count if device.type != "cuda" else min(count, _free_bytes(device) // _SHARE // record_bytes)
    while True:
        try:
            pool = torch.empty((fitting, record_bytes), dtype=torch.uint8, device=device)
        except (RuntimeError, MemoryError) as error:
            if not fitting or not is_memory_short(error):
                raise
            fitting //= 2
        else:
            break
    if fitting < count:
        _log.warning(
            "the memory of %s has room for the tokens of %d of %d photos; the others are read from disk",
            *(device, fitting, count),
        )
    return pool


def _free_bytes(device: torch.device) -> int:
    """What a GPU has to give, once PyTorch gave back what it can. The rest of what it holds is for recordings alone."""
    free_cached_memory()
    return int(torch.cuda.mem_get_info(device)[0])
