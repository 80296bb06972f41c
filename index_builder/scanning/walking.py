"""What every walk over folders shares: which folder a path leads to, what an entry is, and in which order to enter.

Two walks must agree by which link a folder elsewhere is reached, or its photos would have two paths.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
Identity = tuple[int, int]
"""Device and number of a folder, whatever path leads to it. Some shares number nothing: then the number is 0."""


def identity_of(folder: Path) -> Identity | None:
    """Of the folder that a path leads to; None where it leads nowhere or cannot be asked."""
    try:
        status = os.stat(folder)  # noqa: PTH116 - as everywhere that compares identities
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_folder(entry: os.DirEntry[bytes]) -> bool:
    """Whether an entry is a folder or a link to one. A link that cannot be followed is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_link(entry: os.DirEntry[bytes]) -> bool:
    """Whether an entry is a link. One that a share says nothing of is none."""
    try:
        return entry.is_symlink()
    except OSError:
        return False


class Waiting(Generic[T]):
    """Folders that a walk has yet to enter: by path, and links last, so that a photo gets its real path if it has one.

    What is added while one of the iterators runs takes its place in the order.
    """

    def __init__(self) -> None:
        self._real: list[tuple[bytes, int, T]] = []
        self._links: list[tuple[bytes, int, T]] = []
        self._added = 0

    def add(self, raw_path: bytes, folder: T, *, is_link: bool = False) -> None:
        """One more folder."""
        self._added += 1  # decides between equal paths, as folders need not compare
        heapq.heappush(self._links if is_link else self._real, (raw_path, self._added, folder))

    def real(self) -> Iterator[T]:
        """Those that need no link, in order; afterwards only links wait."""
        while self._real:
            yield heapq.heappop(self._real)[-1]

    def all(self) -> Iterator[T]:
        """All of them, in order. What lies below one link comes before the next."""
        while self._real or self._links:
            yield heapq.heappop(self._real or self._links)[-1]
