"""Where an image comes from: a path, bytes or an open file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from model.errors import ImageError, ImageTooLargeError


def size_on_disk(source: Path | str | bytes | BinaryIO) -> int:
    """Bytes of a file that is not in memory yet; 0 where that is unknown."""
    try:
        if isinstance(source, (str, Path)):
            return os.stat(source).st_size  # noqa: PTH116 - also of text
        if isinstance(size := getattr(source, "size", None), int):  # a file that lies elsewhere, and knows
            return size
        if not isinstance(source, (bytes, bytearray, memoryview)):
            return os.fstat(source.fileno()).st_size
    except (OSError, ValueError, AttributeError):
        pass  # reading says what is wrong
    return 0


def read_bytes(source: Path | str | bytes | BinaryIO, size: int, max_bytes: int) -> bytes:
    """The content of a source of `size` bytes (0: unknown).

    Raises:
        ImageError: empty, or it cannot be read.
        ImageTooLargeError: more than `max_bytes`.
    """
    most = min(size, max_bytes) + 1 if size else max_bytes + 1  # reading takes so much memory at once
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, (str, Path)):
        try:
            with Path(source).open("rb") as file:
                data = file.read(most)
        except (OSError, ValueError) as error:  # ValueError: a name with a null character
            reason = getattr(error, "strerror", None) or error
            raise ImageError(f"the image file {source} cannot be read: {reason}") from error
    else:
        data = source.read(most)
    if not data:
        raise ImageError("the image is empty; send a file with content")
    if len(data) > max_bytes:
        raise ImageTooLargeError(f"the image is larger than the {max_bytes} bytes allowed", "image_file_too_large")
    return data
