"""The formats that are read: what each is called, which endings its files have, and how it is served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True)
class ImageFormat:
    """One format.

    Attributes:
        name: Pillow's name for it.
        media_type: what a browser is told.
        endings: of its files, in lower case and with the dot; the first is given to uploads.
    """

    name: str
    media_type: str
    endings: tuple[str, ...]


KNOWN = (
    ImageFormat("JPEG", "image/jpeg", (".jpg", ".jpeg", ".jpe", ".jfif")),
    ImageFormat("PNG", "image/png", (".png",)),
    ImageFormat("WEBP", "image/webp", (".webp",)),
    ImageFormat("BMP", "image/bmp", (".bmp", ".dib")),
    ImageFormat("TIFF", "image/tiff", (".tif", ".tiff")),
    ImageFormat("GIF", "image/gif", (".gif",)),
    ImageFormat("AVIF", "image/avif", (".avif",)),
    ImageFormat("HEIF", "image/heic", (".heic", ".heif")),
)
"""Every format. HEIF needs the extra `heic`."""

ENDINGS = frozenset(ending for one in KNOWN for ending in one.endings)
HEIC_ENDINGS = frozenset(ending for one in KNOWN if one.name == "HEIF" for ending in one.endings)
ENDING_OF = {one.name: one.endings[0] for one in KNOWN}
MEDIA_TYPE_OF = {ending: one.media_type for one in KNOWN for ending in one.endings} | {".heif": "image/heif"}


def media_type_of(name: str) -> str:
    """What a browser is told of a file of this name."""
    return MEDIA_TYPE_OF.get(PurePath(name).suffix.lower(), "application/octet-stream")
