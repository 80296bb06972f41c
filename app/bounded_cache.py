"""Values in bounded memory, of which the least recently used go first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class BoundedCache(Generic[Key, Value]):
    """Values by key. Safe to use from several threads.

    Args:
        capacity: bytes kept at most; 0 keeps none.

    Attributes:
        capacity: the same.
        held: bytes kept now.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.held = capacity, 0
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """The value, or None; used last now."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def keep(self, key: Key, value: Value, size: int) -> None:
        """Keep a value of `size` bytes, unless there is one, or it is larger than all that may be kept."""
        with self._lock:
            if size > self.capacity or key in self._kept:
                return
            self._kept[key] = value, size
            self.held += size
            while self.held > self.capacity:
                self.held -= self._kept.popitem(last=False)[1][1]
