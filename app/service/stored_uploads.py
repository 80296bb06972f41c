"""An uploaded file becomes a photo in the photos' folder, or is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

from app.service import photo_files as files
from app.service.change_jobs import Upload
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import photo_id, shown_path
from model.errors import ImageError
from model.images.limits import ImageLimits
from model.images.opening import read_image

_LONGEST_NAME = 120


def store_upload(
    name: str | None, data: bytes, folders: PhotoFolders, folder: Path, limits: ImageLimits
) -> tuple[Upload, Path | None]:
    """Check an uploaded file and store it; runs on a thread for images.

    Args:
        name: of the file, as the client sent it.
        data: its content.
        folders: of the photos.
        folder: where uploads go, inside one of them.
        limits: of images.

    Returns:
        What became of the file, and where it lies; None where it was refused.

    Raises:
        RequestError: as `app.service.photo_files.store`.
    """
    shown = _shown(name)
    if not data:
        return Upload(shown, code="empty_file", detail="The file is empty."), None
    try:
        opened = read_image(data, limits, longest_side=64)
    except ImageError as error:
        return Upload(shown, code=error.code, detail=str(error)), None
    path = files.store(folder, folders, files.safe_name(name or "", opened.format), data)
    raw = folders.relative(path)
    identity = photo_id(raw, hashlib.sha256(data).digest())
    return Upload(shown, path=shown_path(raw), photo_id=identity), path


def _shown(name: str | None) -> str:
    """A client's file name, short and without control characters."""
    return "".join(character for character in name or "" if character.isprintable())[-_LONGEST_NAME:]
