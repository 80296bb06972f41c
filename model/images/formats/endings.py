"""The formats that are read: what each is called, which endings its files have, and how it is served."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath


@dataclass(frozen=True)
class ImageFormat:
    """One format.

    Attributes:
        name: Pillow's name for it.
        media_type: what a browser is told.
        endings: of its files, in lower case and with the dot; the first is given to uploads.
        title: what people call it.
        extra: of this package, that reads it; "" where nothing more is needed.
        package: that the extra installs, by the name it is imported under.
    """

    name: str
    media_type: str
    endings: tuple[str, ...]
    title: str = ""
    extra: str = ""
    package: str = ""

    @property
    def is_available(self) -> bool:
        """Whether this installation reads it."""
        return not self.package or _is_installed(self.package)


@cache
def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


_RAW_ENDINGS = (
    ".dng", ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".sr2", ".srf", ".raf", ".orf", ".rw2", ".rwl", ".pef",
    ".srw", ".x3f", ".3fr", ".fff", ".iiq", ".erf", ".mrw", ".kdc", ".dcr", ".mef", ".mos",
)  # fmt: skip

KNOWN = (
    ImageFormat("JPEG", "image/jpeg", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")),
    ImageFormat("PNG", "image/png", (".png",)),
    ImageFormat("WEBP", "image/webp", (".webp",)),
    ImageFormat("BMP", "image/bmp", (".bmp", ".dib")),
    ImageFormat("TIFF", "image/tiff", (".tif", ".tiff")),
    ImageFormat("GIF", "image/gif", (".gif",)),
    ImageFormat("AVIF", "image/avif", (".avif",)),
    ImageFormat("HEIF", "image/heic", (".heic", ".heif"), "HEIC", "heic", "pillow_heif"),
    ImageFormat("JXL", "image/jxl", (".jxl",), "JPEG XL", "jxl", "pylibjxl"),
    ImageFormat("RAW", "image/x-dcraw", _RAW_ENDINGS, "RAW", "raw", "rawpy"),
)
"""Every format."""

ENDINGS = frozenset(ending for one in KNOWN for ending in one.endings)
ENDING_OF = {one.name: one.endings[0] for one in KNOWN}
MEDIA_TYPE_OF = {ending: one.media_type for one in KNOWN for ending in one.endings} | {
    ".heif": "image/heif",
    ".dng": "image/x-adobe-dng",
}


def media_type_of(name: str, image_format: str | None = None) -> str:
    """What a browser is told of a file of this content; its name says more of some, and all where nothing else does.

    Args:
        name: of the file.
        image_format: Pillow's name for what the first bytes are, which of most RAW files is "TIFF".
    """
    ending = PurePath(name).suffix.lower()
    by_name = MEDIA_TYPE_OF.get(ending, "application/octet-stream")
    if image_format == "TIFF" and ending in _RAW_ENDINGS:
        return by_name
    known = next((one for one in KNOWN if one.name == image_format), None)
    return by_name if known is None or ending in known.endings else known.media_type


def ending_for(image_format: str, name: str) -> str:
    """The ending that an upload of this format gets; a RAW keeps the one of its maker."""
    sent = PurePath(name).suffix.lower()
    return sent if image_format == "RAW" and sent in _RAW_ENDINGS else ENDING_OF.get(image_format, ".img")


def is_known(name: str) -> bool:
    """Whether `name` is one of these formats, whether or not this installation reads it."""
    return any(one.name == name for one in KNOWN)


def extra_of(name: str | None) -> str | None:
    """What to install so that files of this format can be read; None if nothing is missing."""
    return next((_needed(one) for one in KNOWN if one.name == name and not one.is_available), None)


def missing_extra(ending: str) -> str | None:
    """What to install so that files of this ending can be read; None if nothing is missing."""
    return next((_needed(one) for one in KNOWN if ending in one.endings and not one.is_available), None)


def _needed(one: ImageFormat) -> str:
    return f"{one.title} needs an extra: pip install 'sketchseek[{one.extra}]'"
