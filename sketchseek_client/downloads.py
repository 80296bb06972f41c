"""A file that is downloaded piece by piece: it appears under its name whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def download(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` where the block ends without an error."""
    whole = Path(path)
    part = whole.with_name(f"{whole.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(whole)
    finally:
        part.unlink(missing_ok=True)
