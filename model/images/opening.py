"""Opens images from strangers, with typed errors and bounded memory and time.

The content tells what a file is, never its name. The header's pixel count is checked before any pixel is decoded.
"""

from __future__ import annotations

import contextlib
import io
import math
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile

from model.errors import DamagedImageError, ImageError, ImageFormatError, ImageTooLargeError
from model.images.colour_profiles import KEY, needed_profile
from model.images.containers import inspect
from model.images.formats.container import Container
from model.images.formats.endings import extra_of, is_known
from model.images.formats.signatures import sniff
from model.images.frames import better_frame, is_empty
from model.images.jpeg_xl import read_jpeg_xl
from model.images.limits import FORMATS, HEIF_AVAILABLE, ImageLimits, decoding_bytes, pixel_bytes, webp_bytes
from model.images.modes import to_rgb
from model.images.partial import load_what_is_there, whiten_below
from model.images.raw import read_raw
from model.images.silence import silenced_pillow
from model.images.sources import read_bytes, size_on_disk
from model.images.wanted import Wanted

__all__ = [
    "FORMATS",
    "HEIF_AVAILABLE",
    "ImageLimits",
    "OpenedImage",
    "open_image",
    "open_shown",
    "read_image",
    "to_rgb",
]

_BY_EXTRAS = ("RAW", "JXL")  # which Pillow does not read
_ORIENTATION = 0x0112
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
    opened = _read(source, limits or ImageLimits(), Wanted(longest_side))
    if whole and opened.shown is not None and opened.shown < 1:
        raise DamagedImageError("a part of the image is missing; send the whole file")
    return opened


def open_shown(source: Path | str | bytes | BinaryIO, limits: ImageLimits, size: int) -> Image.Image:
    """The picture as a browser shows it: mode RGB, upright, in sRGB, its longer side at most `size` pixels.

    It is made piece by piece within the turn for decoding, so the limits hold for all of it. Same errors as
    `open_image`.
    """
    return _read(source, limits, Wanted(size, as_shown=True)).image


def _read(source: Path | str | bytes | BinaryIO, limits: ImageLimits, wanted: Wanted) -> OpenedImage:
    size = size_on_disk(source)
    with limits.file_turn(min(size, limits.max_bytes)):
        data = read_bytes(source, size, limits.max_bytes)
        with silenced_pillow:
            try:
                return _decode(data, limits, wanted)
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


def _decode(data: bytes, limits: ImageLimits, wanted: Wanted) -> OpenedImage:
    known = sniff(data)
    if known is not None and known not in limits.formats and is_known(known):
        raise _unidentified(data, limits)
    if known in _BY_EXTRAS:
        return _decode_by_an_extra(data, known, limits, wanted)
    container = inspect(data)
    first = _first_picture(data, container, known, limits, wanted)
    image = first.image
    if container.animated and is_empty(image):
        with contextlib.suppress(Exception):  # decoders of damaged data raise nearly anything; the first is whole
            image = better_frame(data, first.format, limits, partial(_finished, container, wanted)) or image
    width, height = first.width, first.height
    if first.orientation >= 5:
        width, height = height, width
    return OpenedImage(_upright(image, first.orientation), width, height, first.format, first.shown)


@dataclass(frozen=True)
class _FirstPicture:
    """Pixels as they are wanted, but not turned upright yet; the original's width and height as the file has them."""

    image: Image.Image
    width: int
    height: int
    format: str
    orientation: int
    shown: float | None


def _first_picture(
    data: bytes, container: Container, known: str | None, limits: ImageLimits, wanted: Wanted
) -> _FirstPicture:
    """Decoded within its turn. The pixels of the whole are gone when it ends."""
    copies = len(data) + (0 if container.data is data else len(container.data))
    with contextlib.ExitStack() as turn:
        if container.size is not None:
            limits.check_size(*container.size)
            limits.check_passes(math.prod(container.size), container.scans)
            if known == "WEBP":  # its decoder takes the memory when it opens
                turn.enter_context(limits.turn(webp_bytes(*container.size), copies))
        image = _image_file(container.data, limits)
        name = image.format or "unknown"
        width, height = image.size
        limits.check_size(width, height)
        orientation = image.getexif().get(_ORIENTATION, 1) if name == "AVIF" else container.orientation
        wanted.draft(image)
        if name != "WEBP":
            pixels = max(width * height, math.prod(container.size or (0, 0)))
            afterwards = pixel_bytes(image) + wanted.making_bytes(image)
            needed = max(decoding_bytes(image, name, container, pixels), afterwards)
            turn.enter_context(limits.turn(needed, copies))
        shown = load_what_is_there(image, name, container)
        if name == "TIFF":  # its decoder turns the pixels upright, and swaps the size with them
            width, height = image.size
        made = whiten_below(_finished(container, wanted, image), name, shown)
    return _FirstPicture(made, width, height, name, orientation, shown)


def _finished(container: Container, wanted: Wanted, image: Image.Image) -> Image.Image:
    """Decoded pixels as they are wanted, with the profile that their colours need and nothing else of the file."""
    profile = needed_profile(image.info.get("icc_profile") or container.profile, image.mode)
    image.info = {key: value for key, value in image.info.items() if key == "transparency"}
    image.info |= {} if profile is None else {KEY: profile}
    return wanted.made(image)


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


def _decode_by_an_extra(data: bytes, name: str, limits: ImageLimits, wanted: Wanted) -> OpenedImage:
    """Formats that Pillow does not read."""
    finish = partial(_finished, Container(data), wanted)
    if name == "RAW":
        image, width, height = read_raw(
            data, limits, wanted.longest_side, lambda jpeg: _decode(jpeg, limits, wanted).image, finish
        )
        return OpenedImage(image, width, height, name)
    image, width, height = read_jpeg_xl(data, limits, finish)
    return OpenedImage(image, width, height, name)


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    if turn is not None:
        return image.transpose(turn)
    # A plain image of the same pixels does not keep the file open.
    return image._new(image.im) if isinstance(image, ImageFile.ImageFile) else image


def _unidentified(data: bytes, limits: ImageLimits) -> ImageError:
    known = sniff(data)
    if (extra := extra_of(known)) is not None:
        return ImageFormatError(extra)
    accepted = f"send one of {', '.join(limits.formats)}"
    if known is None:
        return ImageError(f"this is not an image, or it is damaged; {accepted}")
    if known in limits.formats:
        return DamagedImageError(f"this {known} image is damaged; save it again and retry")
    return ImageFormatError(f"files of format {known} are not accepted; {accepted}")
