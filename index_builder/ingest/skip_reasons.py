"""Why a file did not become a photo, for the person whose file it is; a limit names the option that lets it in."""

from __future__ import annotations

from model.errors import ImageError, ImageTooLargeError

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
