"""What every walk over a container gives, and the error for one that makes no sense."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from model.errors import DamagedImageError

MAX_CHUNKS = 200_000
"""Of PNG and WebP: 100 MB in PNG chunks of 512 bytes."""


@dataclass(frozen=True)
class Container:
    """What the decoder gets, and what the walk found.

    Attributes:
        data: the file without what decoding its first picture does not need.
        orientation: EXIF orientation 1..8 that the decoder does not see (1 where the decoder applies it by itself).
        size: width and height in pixels where they are known before a decoder opens the file (of AVIF's largest frame).
        scans: passes over a JPEG's coefficients; 1 where it is decoded as it streams in.
        samples: of a JPEG, per pixel: 3 with full colour, 1.5 where two rows and two columns share theirs, 1 in grey.
        profile: the ICC profile, which the decoder does not see; None where there is none, or where it finds it itself.
        animated: whether further frames follow.
        shown: of a file that ends early and was made whole, about the share of rows that is there; None for others.
    """

    data: bytes
    orientation: int = 1
    size: tuple[int, int] | None = None
    scans: int = 1
    samples: float = 3.0
    profile: bytes | None = None
    animated: bool = False
    shown: float | None = None


def damaged(what: str) -> DamagedImageError:
    """The error for a container that makes no sense."""
    return DamagedImageError(f"the image is damaged or made to harm ({what}); save it again and retry")


def exif_orientation(exif: bytes) -> int:
    """Orientation 1..8 of a TIFF-structured EXIF block; 1 where it is absent or senseless."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    try:
        if order is None:
            return 1
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(min(count, 512)):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, start + 2 + 12 * entry)
            if tag == 0x0112:
                return int(value) if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
