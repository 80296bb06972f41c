"""Memory that all threads share while they decode: a large photo waits for its turn, small ones pass.

Without it, as many giants as there are threads would be in memory at the same time.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from model.errors import ConfigurationError
from model.images.default_limits import SHARED_BYTES

_SMALL = 32  # what takes less than this part of the whole passes without waiting
_FILES = 4  # part of the whole that files may take


class DecodingMemory:
    """Turns for threads that decode photos. Safe to use from several threads.

    A thread takes its turn for the file first and for the pixels after that, never the other way round, so threads
    never wait for each other in a circle. Whoever waits is served in the order of arrival. A photo that is larger than
    the whole runs alone.

    Args:
        total: bytes that files and pixels may take together. What is smaller than 1/32 of it is not counted, so each
            thread may take that much more.

    Raises:
        ConfigurationError: `total` is not positive.
    """

    def __init__(self, total: int = SHARED_BYTES) -> None:
        if total < 1:
            raise ConfigurationError(f"memory for decoding must be positive; got {total}")
        self.total = total
        self._files = _Turns(total // _FILES, total // _SMALL)
        self._pixels = _Turns(total - total // _FILES, total // _SMALL)

    @contextmanager
    def file(self, size: int) -> Iterator[None]:
        """Hold a file of `size` bytes in memory, once there is room. Not inside `pixels`."""
        with self._files.turn(2 * size):  # as it lies on disk, and as the decoder gets it
            yield

    @contextmanager
    def pixels(self, size: float) -> Iterator[None]:
        """Decode a photo that takes `size` bytes, once there is room."""
        with self._pixels.turn(size):
            yield


class _Turns:
    """Room of `total` bytes, given in the order of asking; up to `free` bytes are always given."""

    def __init__(self, total: int, free: int) -> None:
        self._total, self._free = total, free
        self._taken = 0.0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, size: float) -> Iterator[None]:
        if size <= self._free:
            yield
            return
        self._enter(size)
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()

    def _enter(self, size: float) -> None:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(
                    lambda: self._waiting[0] is ticket and (not self._taken or self._taken + size <= self._total)
                )
                self._taken += size
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()


SHARED = DecodingMemory()
"""Of this process, where nobody gives another."""

UNSHARED = DecodingMemory(sys.maxsize)
"""In which nobody ever waits."""
