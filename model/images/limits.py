"""What an image may cost: pixels, bytes, memory, formats.

docs/decisions.md has the measured memory per format and the command that measured it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from PIL import Image

from model.errors import ConfigurationError, DamagedImageError, ImageTooLargeError
from model.images import default_limits
from model.images.decoding_memory import SHARED, DecodingMemory
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

MAX_SIDE = 65_535
"""Pixels on a side of any image, whatever the limits: JPEG itself knows no more."""

_PIXEL_BYTES = {"WEBP": 18, "AVIF": 12, "HEIF": 12, "GIF": 2}
_MODE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}  # per pixel in memory; others take 4
_MAX_PASSES = 12  # over the largest image that is allowed; over a smaller one accordingly more


@dataclass(frozen=True)
class ImageLimits:
    """What an image may cost.

    Attributes:
        max_pixels: width times height that the header may declare.
        max_bytes: size of the encoded file.
        max_memory: bytes that decoding may take, with the file, as estimated from the header.
        formats: allow-list by Pillow's names, a subset of `FORMATS`.
        together: the memory that all threads share which decode; `UNSHARED` lets each go at once.
        wait_until: the moment of `time.monotonic` until which a thread waits for its turn; None: as long as it takes.
    """

    max_pixels: int = default_limits.PIXELS
    max_bytes: int = default_limits.FILE_BYTES
    max_memory: int = default_limits.MEMORY_BYTES
    formats: tuple[str, ...] = FORMATS
    together: DecodingMemory = field(default=SHARED, compare=False, repr=False)
    wait_until: float | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if min(self.max_pixels, self.max_bytes, self.max_memory) < 1:
            raise ConfigurationError(f"image limits must be positive; got {self}")
        if unknown := sorted(set(self.formats) - set(FORMATS)):
            raise ConfigurationError(f"unknown image formats {', '.join(unknown)}; choose from {', '.join(FORMATS)}")

    def check_size(self, width: int, height: int) -> None:
        """Raises ImageTooLargeError, or DamagedImageError if a side has no pixels."""
        if width < 1 or height < 1:
            raise DamagedImageError("the image has no pixels; save it again and retry")
        if width * height > self.max_pixels:
            raise ImageTooLargeError(f"the image has {width} x {height} pixels; allowed are {self.max_pixels}")
        if max(width, height) > MAX_SIDE:
            raise ImageTooLargeError(
                f"the image has {width} x {height} pixels; no side may have more than {MAX_SIDE}", settable=False
            )

    def check_memory(self, needed: float) -> None:
        """Raises ImageTooLargeError if decoding takes more than is allowed; it takes `needed` bytes."""
        if needed > self.max_memory:
            raise ImageTooLargeError(
                f"decoding the image takes about {needed / 1e6:.0f} MB, more than the {self.max_memory / 1e6:.0f} "
                "allowed",
                "image_memory",
            )

    @contextmanager
    def turn(self, decoding: float, copies: int = 0) -> Iterator[None]:
        """The turn to decode an image that takes so many bytes beside `copies` of its file.

        Raises:
            ImageTooLargeError: that is more than is allowed.
            DecodingTimeoutError: `wait_until` passed.
        """
        self.check_memory(decoding + copies)
        with self.together.pixels(decoding, self.wait_until):
            yield

    def file_turn(self, size: int) -> AbstractContextManager[None]:
        """The turn to hold a file of `size` bytes in memory; not inside `turn`."""
        return self.together.file(size, self.wait_until)

    def check_passes(self, pixels: int, passes: int) -> None:
        """Raises ImageTooLargeError for a JPEG of so many passes that decoding it would take long."""
        if pixels * passes > _MAX_PASSES * self.max_pixels:
            raise ImageTooLargeError(
                f"the image stores {pixels} pixels in {passes} passes; allowed are {_MAX_PASSES * self.max_pixels} "
                "pixels, all passes together"
            )


SKETCH_FORMATS = tuple(name for name in FORMATS if name not in ("JXL", "RAW"))
"""Of what anybody sends: neither camera files, nor files whose decoder nothing can end."""


def decoding_bytes(image: Image.Image, name: str, container: Container, pixels: int) -> float:
    """Estimated peak memory of decoding an opened image of this format and number of pixels, in bytes.

    The file itself is not counted.
    """
    if name in _PIXEL_BYTES:
        return _PIXEL_BYTES[name] * pixels
    result = pixel_bytes(image)  # a JPEG's after draft
    if name == "JPEG" and container.scans > 1:
        return result + 2 * container.samples * pixels
    if name == "TIFF":
        return _tiff_bytes(image, result)
    return result


def pixel_bytes(image: Image.Image) -> float:
    """Of the decoded pixels alone."""
    return _MODE_BYTES.get(image.mode, 4) * math.prod(image.size)


def webp_bytes(width: int, height: int) -> float:
    """Of a WebP, before its decoder opens it."""
    return _PIXEL_BYTES["WEBP"] * width * height


def _tiff_bytes(image: Image.Image, result: float) -> float:
    tags = image.tag_v2  # type: ignore[attr-defined]
    samples = tags.get(277, 1) * max(tags.get(258, (1,))) / 8
    block = tags.get(322, image.width) * tags.get(323, min(tags.get(278, image.height), image.height)) * samples
    turned = 2 if tags.get(274, 1) != 1 else 1
    return turned * result + (0 if image.info.get("compression") == "raw" else block)
