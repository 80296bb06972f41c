"""Work in chunks that fit the device's memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from model.device_faults import free_cached_memory, is_memory_short
from model.errors import DeviceMemoryError

T = TypeVar("T")


class Chunks:
    """How much the device works on in one step. A size that did not fit once is not tried again.

    Args:
        size: at most in one step; by default as much as there is.

    Attributes:
        size: now.
    """

    def __init__(self, size: int = sys.maxsize) -> None:
        self.size = size

    def each(self, compute: Callable[[slice], T], count: int) -> list[T]:
        """The results of `compute` for slices that cover 0..count, halved whenever the memory does not hold one.

        Raises:
            DeviceMemoryError: not even one at a time fits.
        """
        parts: list[T] = []
        start = 0
        while start < count:
            tried = min(self.size, count - start)
            try:
                parts.append(compute(slice(start, start + tried)))
            except (RuntimeError, MemoryError) as error:
                if not is_memory_short(error):
                    raise
                if tried == 1:
                    raise DeviceMemoryError(
                        "The device's memory does not hold one image; free some, or use device=cpu."
                    ) from error
                self.size = (tried + 1) // 2
            else:
                start += tried
                continue
            free_cached_memory()  # outside the handler, whose traceback still holds tensors
        return parts
