"""Why a file did not become a photo, for the person whose file it is; a limit names the option that lets it in."""

from __future__ import annotations

from model.errors import ImageError, ImageTooLargeError
from model.images.formats.endings import KNOWN, missing_extra
from model.images.formats.signatures import sniff

_OPTIONS = {
    "image_too_large": "--max-pixels (SKETCHSEEK_MAX_PIXELS)",
    "image_file_too_large": "--max-image-bytes (SKETCHSEEK_MAX_IMAGE_BYTES)",
    "image_memory": "--max-image-memory-bytes (SKETCHSEEK_MAX_IMAGE_MEMORY_BYTES)",
}


def reason_of(error: ImageError) -> str:
    """What is wrong with the file, and what to do."""
    if not isinstance(error, ImageTooLargeError):
        return str(error)
    return f"{error.fact}; a larger {_OPTIONS[error.code]} lets it in" if error.settable else error.fact


def needed_extra(data: bytes) -> str | None:
    """What to install so that a file of this content can be read, whatever its name ends in; None if nothing."""
    found = sniff(data)
    return next((missing_extra(one.endings[0]) for one in KNOWN if one.name == found), None)
