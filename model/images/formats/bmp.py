"""BMP: a bound on run-length coding, which Pillow decodes slowly (Windows' BITMAPINFOHEADER)."""

from __future__ import annotations

import struct

from model.errors import ImageFormatError
from model.images.formats.container import Container

_MAX_RLE_BYTES = 2_000_000


def walk_bmp(data: bytes) -> Container:
    """The file as it is."""
    (header,) = struct.unpack_from("<I", data, 14)
    if header >= 40:
        width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
        if compression in (1, 2) and (len(data) > _MAX_RLE_BYTES or abs(width * height) > 2 * _MAX_RLE_BYTES):
            raise ImageFormatError("run-length coded BMP files are read up to 2 MB only; save it as PNG and retry")
    return Container(data)
