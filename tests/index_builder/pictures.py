"""Photos for tests: small, quick to write, and each with its own colours."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image


def photo_bytes(seed: int, kind: str = "JPEG", size: tuple[int, int] = (24, 16)) -> bytes:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    small.resize(size).save(buffer, kind)
    return buffer.getvalue()


def write_photo(path: Path, seed: int, kind: str = "JPEG", size: tuple[int, int] = (24, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(photo_bytes(seed, kind, size))
    # As old as a photo usually is: files of the last two seconds are compared by content.
    os.utime(path, ns=(10**18 + seed, 10**18 + seed))
