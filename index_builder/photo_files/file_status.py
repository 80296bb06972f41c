"""What is known of a file without reading it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from index_builder.file_times import modified_ns


@dataclass(frozen=True)
class FileStatus:
    """Of a file, wherever it lies.

    Attributes:
        size: bytes.
        modified_ns: modification time in nanoseconds since 1970.
        is_regular: it is a file, and neither a folder nor a pipe.
    """

    size: int
    modified_ns: int
    is_regular: bool = True

    @classmethod
    def of(cls, status: os.stat_result) -> FileStatus:
        """Of a file on a disk."""
        return cls(status.st_size, modified_ns(status), stat.S_ISREG(status.st_mode))
