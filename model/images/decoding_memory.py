"""Memory that all threads share while they decode: a large photo waits for its turn, small ones have room of their own.

Without it, as many giants as there are threads would be in memory at the same time.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from model.errors import ConfigurationError, DecodingTimeoutError
from model.images.default_limits import SHARED_BYTES

_SMALL = 32  # what takes up to this part of the whole waits for no giant


class DecodingMemory:
    """Turns for threads that decode photos. Safe to use from several threads.

    Four rooms share the whole: small files (1/16), large files (1/8), small pictures (1/16) and large ones (3/4). A
    thread takes its turn for the file first and for the pixels after that, never the other way round, so threads never
    wait for each other in a circle. Whoever waits for a room is served in the order of arrival. A file that is larger
    than its room is held and decoded while no other large photo is; so is a picture that is larger than its own.

    Args:
        total: bytes that files and pixels take together at most; more only while one photo is decoded whose pixels take
            more than 3/4 of it, or 1/2 while a quarter is lent.

    Raises:
        ConfigurationError: `total` is not positive.
    """

    def __init__(self, total: int = SHARED_BYTES) -> None:
        if total < 1:
            raise ConfigurationError(f"memory for decoding must be positive; got {total}")
        self.total = total
        self._small = total // _SMALL
        self._small_files, self._files = _Room(total // 16), _Room(total // 8)
        self._small_pixels, self._pixels = _Room(total // 16), _Room(total * 3 // 4)
        self._thread = threading.local()

    @contextmanager
    def file(self, size: int, until: float | None = None) -> Iterator[None]:
        """Hold a file of `size` bytes in memory, once there is room. Not inside `pixels`.

        Raises:
            DecodingTimeoutError: `until`, a moment of `time.monotonic`, passed before.
        """
        taken = 2 * size  # as it lies on disk, and as the decoder gets it
        if not taken:  # in memory already: whoever holds a turn must not wait for another one
            yield
            return
        with (self._small_files if taken <= self._small else self._files).turn(taken, until):
            if taken <= self._files.total:
                yield
                return
            with self._pixels.turn(self._pixels.total, until):  # no other large picture beside it
                self._thread.alone = True
                try:
                    yield
                finally:
                    self._thread.alone = False

    @contextmanager
    def pixels(self, size: float, until: float | None = None) -> Iterator[None]:
        """Decode a photo that takes `size` bytes, once there is room. Raises as `file`."""
        if getattr(self._thread, "alone", False):
            yield
            return
        with (self._small_pixels if size <= self._small else self._pixels).turn(size, until):
            yield

    @contextmanager
    def lend(self, size: int) -> Iterator[None]:
        """Have less room for large pictures, by `size` bytes that other processes may take meanwhile.

        It waits until there is room. A picture that is larger than what is left is decoded while no other large one is.
        """
        with self._pixels.turn(size, None):
            self._pixels.grow(-size)
        try:
            yield
        finally:
            self._pixels.grow(size)

    def __reduce__(self) -> tuple[type[DecodingMemory], tuple[int]]:
        """Another process has memory of its own."""
        return type(self), (self.total,)


class _Room:
    """Room of `total` bytes, given in the order of asking; what is larger gets all of it."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._taken = 0.0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, size: float, until: float | None) -> Iterator[None]:
        self._enter(size, until)
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()

    def grow(self, size: int) -> None:
        """Have `size` bytes more, or less."""
        with self._changed:
            self.total += size
            self._changed.notify_all()

    def _enter(self, size: float, until: float | None) -> None:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                if not self._changed.wait_for(
                    lambda: self._waiting[0] is ticket and (not self._taken or self._taken + size <= self.total),
                    None if until is None else max(0.0, until - time.monotonic()),
                ):
                    raise DecodingTimeoutError("other photos are being decoded; try again later")
                self._taken += size
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()


SHARED = DecodingMemory()
"""Of this process, where nobody gives another."""

UNSHARED = DecodingMemory(sys.maxsize)
"""In which nobody ever waits."""
