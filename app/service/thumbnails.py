"""Small versions of photos, made on demand and kept in bounded memory."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict

from PIL import Image

from app.metrics import Metrics
from app.service.photo_files import is_unchanged, open_photo
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import PhotoRecord
from model.images.opening import ImageLimits, open_image, to_rgb

MEDIA_TYPE = "image/webp"
_QUALITY = 80


class Thumbnails:
    """Makes and keeps thumbnails. Safe to use from several threads.

    Args:
        size: longer side in pixels. Smaller photos are not enlarged.
        capacity: bytes kept. The least recently used thumbnails go first.
        limits: what decoding a photo may cost.
        metrics: shows the memory held.
    """

    def __init__(self, size: int, capacity: int, limits: ImageLimits, metrics: Metrics) -> None:
        self._size = size
        self._capacity = capacity
        self._limits = limits
        self._metrics = metrics
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def etag(self, photo: PhotoRecord) -> str:
        """Changes with the photo's content and with the thumbnail's size."""
        return f'"{photo.content_hash[:32]}-{self._size}"'

    def get(self, folders: PhotoFolders, photo: PhotoRecord) -> tuple[bytes, bool]:
        """The thumbnail as WebP, and whether it may be cached: not if the file changed since the gallery read it.

        Raises:
            RequestError: `photo_gone`.
            ImageError: the file can no longer be decoded.
        """
        with self._lock:
            if (known := self._kept.get(photo.photo_id)) is not None:
                self._kept.move_to_end(photo.photo_id)
                return known, True
        with open_photo(folders, photo) as file:
            unchanged = is_unchanged(file, photo)
            image = to_rgb(open_image(file, self._limits, self._size))
        image.thumbnail((self._size, self._size), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=_QUALITY, method=2)
        data = buffer.getvalue()
        if unchanged:
            self._keep(photo.photo_id, data)
        return data, unchanged

    def _keep(self, photo_id: str, data: bytes) -> None:
        with self._lock:
            if len(data) > self._capacity or photo_id in self._kept:
                return
            self._kept[photo_id] = data
            self._bytes += len(data)
            while self._bytes > self._capacity:
                self._bytes -= len(self._kept.popitem(last=False)[1])
            self._metrics.thumbnail_bytes.set(self._bytes)
