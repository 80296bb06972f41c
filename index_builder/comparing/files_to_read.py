"""Files that may have become photos, or other ones: what a comparison hands to the threads that read."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_HEADER = struct.Struct("<IQ")


@dataclass(frozen=True)
class FileToRead:
    """Its path as the gallery writes it, and its size in bytes, if that matters."""

    raw_path: bytes
    size: int = 0


class FilesToRead:
    """Files to read, spooled to disk; iterates as often as wanted. Leaving it as a context manager frees the space."""

    def __init__(self) -> None:
        self._spool: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._count = 0
        self._reading = False

    def __enter__(self) -> FilesToRead:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._count

    def append(self, file: FileToRead) -> None:
        """Add a file."""
        if self._reading:
            self._spool.seek(0, os.SEEK_END)
            self._reading = False
        self._spool.write(_HEADER.pack(len(file.raw_path), file.size) + file.raw_path)
        self._count += 1

    def __iter__(self) -> Iterator[FileToRead]:
        self._spool.seek(0)
        self._reading = True
        for _ in range(self._count):
            path, size = _HEADER.unpack(self._spool.read(_HEADER.size))
            yield FileToRead(self._spool.read(path), size)

    def close(self) -> None:
        """Give the disk space back."""
        self._spool.close()
