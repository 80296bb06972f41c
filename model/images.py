"""Opening images of strangers: typed errors, bounded memory and time.

Everything is judged by content, never by a file's name, and the header's pixel count is checked before a pixel is
decoded.
"""

from __future__ import annotations

import io
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from model.errors import ConfigurationError, ImageError, ImageFormatError, ImageTooLargeError

try:
    import pillow_heif
except ImportError:
    HEIF_AVAILABLE = False
else:
    pillow_heif.register_heif_opener()
    HEIF_AVAILABLE = True

FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF") + (("HEIF",) if HEIF_AVAILABLE else ())
"""Formats that are read by default, by Pillow's names."""

# Pillow refuses more than this by itself (twice Image.MAX_IMAGE_PIXELS).
_PILLOW_MAX_PIXELS = 178_956_970


@dataclass(frozen=True)
class ImageLimits:
    """What a stranger's image may cost.

    Attributes:
        max_pixels: width times height that the header may declare; at most 178 956 970.
        max_bytes: size of the encoded file.
        formats: allow-list by Pillow's names, a subset of `FORMATS`.
    """

    max_pixels: int = 64_000_000
    max_bytes: int = 100_000_000
    formats: tuple[str, ...] = FORMATS

    def __post_init__(self) -> None:
        if not 0 < self.max_pixels <= _PILLOW_MAX_PIXELS or self.max_bytes <= 0:
            raise ConfigurationError(
                f"image limits must be positive and max_pixels at most {_PILLOW_MAX_PIXELS}; got {self}"
            )
        if unknown := sorted(set(self.formats) - set(FORMATS)):
            raise ConfigurationError(f"unknown image formats {', '.join(unknown)}; choose from {', '.join(FORMATS)}")


@dataclass(frozen=True)
class OpenedImage:
    """A decoded image and what its file said.

    Attributes:
        image: upright pixels, in the file's own mode (see `to_rgb`); smaller than the original where `longest_side`
            allowed it.
        width, height: of the original in pixels, upright (EXIF orientation applied).
        format: Pillow's name, such as "JPEG".
    """

    image: Image.Image
    width: int
    height: int
    format: str


def open_image(
    source: Path | str | bytes | BinaryIO, limits: ImageLimits | None = None, longest_side: int | None = None
) -> Image.Image:
    """The upright image in the file's own mode; `read_image` also tells the original's size and format.

    Args:
        source: a path, the file's bytes, or a binary file (read from its current position).
        limits: what it may cost; None takes the defaults.
        longest_side: what the caller will scale it to, in pixels; JPEGs are then decoded at 1/2, 1/4 or 1/8 of their
            size if that leaves at least twice as many. None decodes all pixels.

    Raises:
        ImageError: unreadable, empty, truncated or damaged.
        ImageFormatError: an image, but of a format that is not on the allow-list.
        ImageTooLargeError: too many bytes or pixels; nothing was decoded.
    """
    return read_image(source, limits, longest_side).image


def read_image(
    source: Path | str | bytes | BinaryIO, limits: ImageLimits | None = None, longest_side: int | None = None
) -> OpenedImage:
    """`open_image`, with the original's upright size and its format. Same arguments, same errors."""
    limits = limits or ImageLimits()
    data = _read_bytes(source, limits.max_bytes)
    with _silenced_pillow:
        try:
            return _decode(data, limits, longest_side)
        except ImageError:
            raise
        except Image.DecompressionBombError as error:
            raise ImageTooLargeError(
                f"the image has more pixels than the {limits.max_pixels} allowed; send a smaller one"
            ) from error
        except MemoryError as error:
            raise ImageTooLargeError("the image needs more memory than there is; send a smaller one") from error
        except Exception as error:  # decoders of damaged data raise nearly anything
            raise ImageError("the image is damaged or truncated; save it again and retry") from error


def _decode(data: bytes, limits: ImageLimits, longest_side: int | None) -> OpenedImage:
    try:
        image = Image.open(io.BytesIO(data), formats=limits.formats)
    except UnidentifiedImageError:
        raise _unidentified(data, limits) from None
    name = image.format or "unknown"
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError("the image has no pixels; save it again and retry")
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"the image has {width} x {height} pixels, more than the {limits.max_pixels} allowed; send a smaller one"
        )
    if longest_side is not None:
        image.draft(None, (2 * longest_side, 2 * longest_side))
    image.load()
    orientation = image.getexif().get(0x0112, 1)
    upright = ImageOps.exif_transpose(image)
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    still = upright.copy() if upright is image else upright
    return OpenedImage(still, width, height, name)


def _unidentified(data: bytes, limits: ImageLimits) -> ImageError:
    try:
        other = Image.open(io.BytesIO(data)).format
    except Exception:
        return ImageError("this is not an image, or it is damaged; send one of " + ", ".join(limits.formats))
    return ImageFormatError(f"images of format {other} are not accepted; send one of {', '.join(limits.formats)}")


def _read_bytes(source: Path | str | bytes | BinaryIO, max_bytes: int) -> bytes:
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, (str, Path)):
        try:
            with Path(source).open("rb") as file:
                data = file.read(max_bytes + 1)
        except OSError as error:
            raise ImageError(f"the image file {source} cannot be read: {error.strerror or error}") from error
    else:
        data = source.read(max_bytes + 1)
    if not data:
        raise ImageError("the image is empty; send a file with content")
    if len(data) > max_bytes:
        raise ImageTooLargeError(f"the image is larger than the {max_bytes} bytes allowed; send a smaller one")
    return data


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB: transparency on white, high bit depths scaled to 8 bits, colour profiles ignored.

    Values beyond 8 bits: "I;16" counts as 0..65535; "I" and "F" as the narrowest of [0, 1] (F only), [0, 255] and
    [0, 65535] that holds them, else they are stretched from minimum to maximum; NaN and infinities count as 0.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        return Image.fromarray(_to_8_bits(np.asarray(image, dtype=np.float64), image.mode == "F")).convert("RGB")
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    if image.has_transparency_data:
        with _silenced_pillow:
            rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")


def _to_8_bits(values: np.ndarray, floating: bool) -> np.ndarray:
    values = np.where(np.isfinite(values), values, 0.0)
    low, high = float(values.min()), float(values.max())
    if floating and low >= 0 and high <= 1:
        values = values * 255
    elif low >= 0 and high <= 255:
        pass
    elif low >= 0 and high <= 65535:
        values = values / 257
    else:
        values = (values / 2 - low / 2) / max(high / 2 - low / 2, 1e-12) * 255
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # noqa: S101  (None only for inPlace=True)
    return converted


class _Silence:
    """No warning of Pillow's leaves a `with` block of this, in any thread.

    `warnings.catch_warnings` alone restores filters in the wrong order when threads overlap, so the first one in opens
    it and the last one out closes it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._context: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._context = warnings.catch_warnings()
                self._context.__enter__()
                warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\.")
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._context is not None:
                self._context.__exit__(None, None, None)
                self._context = None


_silenced_pillow = _Silence()
