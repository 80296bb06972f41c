"""Files that are named on the command line."""

from __future__ import annotations

from pathlib import Path

from model.errors import ImageError


def readable(file: Path) -> bytes:
    """The bytes of a picture's file.

    Raises:
        ImageError: there is no such file, or it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {file}: {error.strerror}; check the path") from None
