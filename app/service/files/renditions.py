"""Smaller versions of photos, made on demand and kept in bounded memory: thumbnails, and pictures for a screen."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from prometheus_client import Gauge

from app.bounded_cache import BoundedCache
from app.service.files.photo_files import is_unchanged
from app.service.files.reading import photo_to_read
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import PhotoRecord
from model.images.opening import ImageLimits, open_shown

MEDIA_TYPE = "image/webp"
_QUALITY = 80
_MAKING = 2
"""Goes up when the same file gives another picture, so that browsers ask for it again."""


def rendition(source: Path | bytes | BinaryIO, limits: ImageLimits, size: int) -> bytes:
    """A picture as a browser shows it, as WebP: upright, in sRGB, its longer side at most `size` pixels.

    Raises:
        ImageError: the picture cannot be decoded, or not within the limits.
    """
    buffer = io.BytesIO()
    open_shown(source, limits, size).save(buffer, "WEBP", quality=_QUALITY, method=2)
    return buffer.getvalue()


class Renditions:
    """Makes and keeps renditions of one size. Safe to use from several threads.

    Args:
        size: longer side in pixels. Smaller photos are not enlarged.
        capacity: bytes kept. The least recently used ones go first.
        limits: what decoding a photo may cost.
        held: shows the memory held.
    """

    def __init__(self, size: int, capacity: int, limits: ImageLimits, held: Gauge) -> None:
        self._size = size
        self._limits = limits
        self._held = held
        self._kept: BoundedCache[str, bytes] = BoundedCache(capacity)

    def etag(self, photo: PhotoRecord) -> str:
        """Changes with the photo's content, with the size, and with the way pictures are made."""
        return f'"{photo.content_hash[:32]}-{self._size}-{_MAKING}"'

    def get(self, folders: PhotoFolders, photo: PhotoRecord, until: float) -> tuple[bytes, bool]:
        """The rendition as WebP, and whether it may be cached: not if the file changed since the gallery read it.

        Args:
            folders: where the photo lies.
            photo: which one.
            until: the moment of `time.monotonic` until which it may wait for other photos.

        Raises:
            RequestError: `photo_gone`.
            BusyError: `photos_unreachable`.
            DecodingTimeoutError: other photos took the memory for decoding until then.
            ImageError: the file can no longer be decoded.
        """
        if (known := self._kept.get(photo.photo_id)) is not None:
            return known, True
        with photo_to_read(folders, photo) as file:
            unchanged = is_unchanged(file, photo)
            data = rendition(file, replace(self._limits, wait_until=until), self._size)
        if unchanged:
            self._kept.keep(photo.photo_id, data, len(data))
            self._held.set(self._kept.held)
        return data, unchanged
