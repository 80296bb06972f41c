"""Opens images from strangers, with typed errors and bounded memory and time.

The content tells what a file is, never its name. The header's pixel count is checked before any pixel is decoded.
"""

from __future__ import annotations

import contextlib
import io
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile

from model.errors import DamagedImageError, ImageError, ImageFormatError, ImageTooLargeError
from model.images.colour_profiles import KEY, needed_profile
from model.images.containers import inspect
from model.images.formats.container import Container
from model.images.formats.signatures import sniff
from model.images.frames import better_frame, is_empty
from model.images.jpeg_xl import read_jpeg_xl
from model.images.limits import FORMATS, HEIF_AVAILABLE, ImageLimits, decoding_bytes, webp_bytes
from model.images.modes import full_scale, sixteen_to_8_bits, to_rgb
from model.images.partial import load_what_is_there, whiten_below
from model.images.raw import read_raw
from model.images.silence import silenced_pillow
from model.images.sources import read_bytes, size_on_disk

__all__ = ["FORMATS", "HEIF_AVAILABLE", "ImageLimits", "OpenedImage", "open_image", "read_image", "to_rgb"]

_SMALL_PIXELS = 4_000_000  # below, all pixels are kept: exactness is cheap
_BY_EXTRAS = ("RAW", "JXL")  # which Pillow does not read
_ORIENTATION = 0x0112
_REDUCIBLE = ("L", "RGB", "CMYK", "YCbCr", "RGBX", "I", "F")  # without a copy on the way
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class OpenedImage:
    """A decoded image and what its file said.

    Attributes:
        image: upright pixels, in the file's own mode and colours (see `photo_rgb` and `to_rgb`); smaller than the
            original where `longest_side` allowed it.
        width, height: of the original in pixels, upright (EXIF orientation applied).
        format: Pillow's name, such as "JPEG".
        shown: of a file that ends early, the share of its rows that is there; None for a whole file.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    shown: float | None = None

    @property
    def incomplete(self) -> bool:
        """Whether the file ends early, so that a part of the picture may be missing."""
        return self.shown is not None


def open_image(
    source: Path | str | bytes | BinaryIO,
    limits: ImageLimits | None = None,
    longest_side: int | None = None,
    *,
    whole: bool = False,
) -> Image.Image:
    """The upright image in the file's own mode; `read_image` also tells the original's size and format.

    Args:
        source: a path, the file's bytes, or a binary file (read from its current position).
        limits: what it may cost; None takes the defaults.
        longest_side: what the caller will scale it to, in pixels; JPEGs are then decoded at 1/2, 1/4 or 1/8 of their
            size if that leaves at least twice as many. None decodes all pixels.
        whole: refuse a file of which a part of the picture is missing; else that part is opened which is there.

    Raises:
        ImageError: empty, or no image.
        DamagedImageError: damaged, or less than a tenth of its rows is there.
        ImageFormatError: an image, but of a format that is not on the allow-list.
        ImageTooLargeError: too many bytes or pixels; nothing was decoded.
    """
    return read_image(source, limits, longest_side, whole=whole).image


def read_image(
    source: Path | str | bytes | BinaryIO,
    limits: ImageLimits | None = None,
    longest_side: int | None = None,
    *,
    whole: bool = False,
) -> OpenedImage:
    """`open_image`, with the original's upright size and its format. Same arguments, same errors."""
    limits = limits or ImageLimits()
    size = size_on_disk(source)
    with limits.together.file(min(size, limits.max_bytes)):
        data = read_bytes(source, size, limits.max_bytes)
        with silenced_pillow:
            try:
                opened = _decode(data, limits, longest_side)
            except ImageError:
                raise
            except Image.DecompressionBombError as error:  # of Pillow's WebP alone, whose limit nobody sets
                raise ImageTooLargeError(
                    "the image has more pixels than any WebP that can be read", settable=False
                ) from error
            except MemoryError as error:
                raise ImageTooLargeError(
                    "the image needs more memory than there is", "image_memory", settable=False
                ) from error
            except Exception as error:  # decoders of damaged data raise nearly anything
                raise DamagedImageError("the image is damaged or truncated; save it again and retry") from error
    if whole and opened.shown is not None and opened.shown < 1:
        raise DamagedImageError("a part of the image is missing; send the whole file")
    return opened


def _decode(data: bytes, limits: ImageLimits, longest_side: int | None) -> OpenedImage:
    if (known := sniff(data)) in FORMATS and known not in limits.formats:
        raise _unidentified(data, limits)
    if known in _BY_EXTRAS and known in limits.formats:
        return _decode_by_an_extra(data, known, limits, longest_side)
    container = inspect(data)
    copies = len(data) + (0 if container.data is data else len(container.data))
    with contextlib.ExitStack() as turn:
        if container.size is not None:
            limits.check_size(*container.size)
            limits.check_passes(math.prod(container.size), container.scans)
            if known == "WEBP":  # its decoder takes the memory when it opens
                turn.enter_context(_turn(limits, webp_bytes(*container.size), copies))
        image = _image_file(container.data, limits)
        name = image.format or "unknown"
        limits.check_size(*image.size)
        orientation = container.orientation
        if name == "AVIF":
            orientation = image.getexif().get(_ORIENTATION, 1)
        width, height = image.size
        if longest_side is not None:
            image.draft(None, (2 * longest_side, 2 * longest_side))
        if name != "WEBP":
            pixels = max(width * height, math.prod(container.size or (0, 0)))
            turn.enter_context(_turn(limits, decoding_bytes(image, name, container, pixels), copies))
        shown = load_what_is_there(image, name, container)
        image = _frame_to_show(image, container, data, limits)
        profile = needed_profile(image.info.get("icc_profile") or container.profile, image.mode)
        if name == "TIFF":  # its decoder turns the pixels upright, and swaps the size with them
            width, height = image.size
        image.info = {key: value for key, value in image.info.items() if key == "transparency"}
        result = _reduced(image, longest_side)
        whiten_below(result, name, shown)
        result = _upright(result, orientation)
        result.info |= {} if profile is None else {KEY: profile}
    if orientation >= 5:
        width, height = height, width
    return OpenedImage(result, width, height, name, shown)


def _turn(limits: ImageLimits, decoding: float, copies: int) -> contextlib.AbstractContextManager[None]:
    """The turn to decode an image that takes so many bytes beside its file; ImageTooLargeError if that is too much."""
    limits.check_memory(decoding + copies)
    return limits.together.pixels(decoding)


def _image_file(data: bytes, limits: ImageLimits) -> Image.Image:
    """As `Image.open`, without Pillow's own limit on pixels: ours was checked, and can be set.

    Pillow's limit belongs to the whole process, so raising it would raise it for a host application too.
    """
    for name in limits.formats:
        if name in _BY_EXTRAS:
            continue
        if name not in Image.OPEN:
            Image.init()
        factory, accepts = Image.OPEN[name]
        if accepts is not None and accepts(data[:16]) is not True:
            continue
        with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):  # not of this format
            return factory(io.BytesIO(data), "")
    raise _unidentified(data, limits)


def _decode_by_an_extra(data: bytes, name: str, limits: ImageLimits, longest_side: int | None) -> OpenedImage:
    """Formats that Pillow does not read."""
    if name == "RAW":
        image, width, height = read_raw(
            data, limits, longest_side, lambda jpeg: _decode(jpeg, limits, longest_side).image
        )
    else:
        image = read_jpeg_xl(data, limits)
        width, height = image.size
    profile = image.info.get(KEY) or needed_profile(image.info.get("icc_profile"), image.mode)
    image.info = {}
    image = _reduced(image, longest_side)
    image.info |= {} if profile is None else {KEY: profile}
    return OpenedImage(image, width, height, name)


def _frame_to_show(first: Image.Image, container: Container, data: bytes, limits: ImageLimits) -> Image.Image:
    """The first frame of an animation, or one of the next if it is empty; the first too where they are damaged."""
    if not container.animated or not is_empty(first):
        return first
    try:
        return better_frame(data, first.format or "", limits) or first
    except Exception:  # decoders of damaged data raise nearly anything, and the first frame is whole
        return first


def _reduced(image: Image.Image, longest_side: int | None) -> Image.Image:
    """A large image's pixels averaged in blocks, so that twice `longest_side` is left; stripwise to save memory."""
    if longest_side is None or math.prod(image.size) <= _SMALL_PIXELS:
        return image
    factor = max(image.size) // (2 * longest_side)
    if factor < 2:
        return image
    if image.mode in _REDUCIBLE and "transparency" not in image.info:
        return image.reduce(factor)
    result: Image.Image | None = None
    white = full_scale(image) if image.mode.startswith("I;16") else 0
    strip = factor * max(1, 2**20 // (image.width * factor))
    for top in range(0, image.height, strip):
        part = image.crop((0, top, image.width, min(top + strip, image.height)))
        part = (sixteen_to_8_bits(part, white) if white else _reducible(part)).reduce(factor)
        if result is None:
            result = Image.new(part.mode, (part.width, -(-image.height // factor)))
        result.paste(part, (0, top // factor))
    return result or image


def _reducible(image: Image.Image) -> Image.Image:
    if image.mode in ("P", "PA", "LA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return to_rgb(image)


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    if turn is not None:
        return image.transpose(turn)
    # A plain image of the same pixels does not keep the file open.
    return image._new(image.im) if isinstance(image, ImageFile.ImageFile) else image


def _unidentified(data: bytes, limits: ImageLimits) -> ImageError:
    known = sniff(data)
    accepted = f"send one of {', '.join(limits.formats)}"
    if known is None:
        return ImageError(f"this is not an image, or it is damaged; {accepted}")
    if known in limits.formats:
        return DamagedImageError(f"this {known} image is damaged; save it again and retry")
    return ImageFormatError(f"files of format {known} are not accepted; {accepted}")
