"""What a stranger's image may cost: pixels, bytes, memory, formats.

Memory per pixel was measured with Pillow 13 and pillow-heif 1.8 on 16-megapixel images (peak of the process over its
state before opening): PNG, BMP and baseline JPEG 4.0 bytes, GIF 1.0, progressive 4:4:4 JPEG 9.9 (6.0 with a draft
size), TIFF 4.1, WebP 15.9 to 18.2, AVIF 9.4, HEIF 7.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image

from model.errors import ConfigurationError, DamagedImageError, ImageTooLargeError
from model.images.formats.container import Container
from model.images.formats.endings import KNOWN

try:
    import pillow_heif
except ImportError:
    HEIF_AVAILABLE = False
else:
    # Only the image itself: a thumbnail may show something else.
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    HEIF_AVAILABLE = True

FORMATS: tuple[str, ...] = (
    *("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"),
    *(one.name for one in KNOWN if one.extra and one.is_available),
)
"""Formats that are read by default, by Pillow's names where it has one."""

WEBP_BYTES = 17  # per pixel
_MODE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}  # per pixel in memory; others take 4
# Pillow refuses more than this by itself (twice Image.MAX_IMAGE_PIXELS).
_PILLOW_MAX_PIXELS = 178_956_970
_MAX_SCANNED_PIXELS = 600_000_000  # pixels times passes of a progressive JPEG


@dataclass(frozen=True)
class ImageLimits:
    """What a stranger's image may cost.

    Attributes:
        max_pixels: width times height that the header may declare; at most 178 956 970.
        max_side: width and height, in pixels, that the header may declare.
        max_bytes: size of the encoded file.
        max_memory: bytes that decoding may take, as estimated from the header; a progressive JPEG takes 10 per pixel, a
            WebP 18, most others 4.
        formats: allow-list by Pillow's names, a subset of `FORMATS`.
    """

    max_pixels: int = 64_000_000
    max_side: int = 65_535
    max_bytes: int = 100_000_000
    max_memory: int = 260_000_000
    formats: tuple[str, ...] = FORMATS

    def __post_init__(self) -> None:
        if min(self.max_pixels, self.max_side, self.max_bytes, self.max_memory) < 1:
            raise ConfigurationError(f"image limits must be positive; got {self}")
        if self.max_pixels > _PILLOW_MAX_PIXELS:
            raise ConfigurationError(f"max_pixels can be at most {_PILLOW_MAX_PIXELS}; got {self.max_pixels}")
        if unknown := sorted(set(self.formats) - set(FORMATS)):
            raise ConfigurationError(f"unknown image formats {', '.join(unknown)}; choose from {', '.join(FORMATS)}")

    def check_size(self, width: int, height: int) -> None:
        """Raises ImageTooLargeError, or DamagedImageError if a side has no pixels."""
        if width < 1 or height < 1:
            raise DamagedImageError("the image has no pixels; save it again and retry")
        if width * height > self.max_pixels or max(width, height) > self.max_side:
            raise ImageTooLargeError(
                f"the image has {width} x {height} pixels; allowed are {self.max_pixels} in all and {self.max_side} on "
                "a side: send a smaller one"
            )

    def check_memory(self, needed: float) -> None:
        """Raises ImageTooLargeError where decoding would take more than `needed` bytes."""
        if needed > self.max_memory:
            raise ImageTooLargeError(
                f"decoding the image takes about {needed / 1e6:.0f} MB, more than the {self.max_memory / 1e6:.0f} "
                "allowed; send a smaller one, or a plain JPEG",
                code="image_memory",
            )


def decoding_bytes(image: Image.Image, name: str, container: Container, pixels: int) -> float:
    """Estimated peak memory of decoding an opened image of this format and number of pixels, in bytes.

    Raises:
        ImageTooLargeError: a JPEG of so many passes that decoding it would take seconds.
    """
    result = _MODE_BYTES.get(image.mode, 4) * math.prod(image.size)  # a JPEG's after draft
    if name == "WEBP":
        return WEBP_BYTES * pixels
    if name in ("AVIF", "HEIF"):
        return 12 * pixels
    if name == "GIF":
        return 2 * pixels
    if name == "JPEG" and container.scans > 1:
        if container.scans * pixels > _MAX_SCANNED_PIXELS:
            raise ImageTooLargeError(
                f"the image stores {pixels} pixels in {container.scans} passes; send a smaller one, or a plain JPEG",
                code="image_memory",
            )
        return result + 2 * container.components * pixels
    if name == "TIFF":
        return _tiff_bytes(image, result)
    return result


def _tiff_bytes(image: Image.Image, result: float) -> float:
    tags = image.tag_v2  # type: ignore[attr-defined]
    samples = tags.get(277, 1) * max(tags.get(258, (1,))) / 8
    block = tags.get(322, image.width) * tags.get(323, min(tags.get(278, image.height), image.height)) * samples
    turned = 2 if tags.get(274, 1) != 1 else 1
    return turned * result + (0 if image.info.get("compression") == "raw" else block)
