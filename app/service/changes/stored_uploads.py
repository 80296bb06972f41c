"""An uploaded file becomes a photo in the photos' folder, or is refused."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence

from app.service.changes.jobs import Upload
from app.service.changes.upload_notes import note
from app.service.files import photo_files as files
from app.service_errors import RequestError
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import PhotoRecord, photo_id, shown_path
from index_builder.store.places import GalleryPlace
from model.errors import ImageError
from model.images.limits import ImageLimits
from model.images.opening import read_image

_LONGEST_NAME = 120


def store_upload(
    name: str | None,
    data: bytes,
    folders: PhotoFolders,
    folder: str,
    gallery: GalleryPlace,
    *,
    limits: ImageLimits,
    photos_of: Callable[[bytes], Sequence[PhotoRecord]],
) -> Upload:
    """Check an uploaded file and store it, unless the gallery has its content; runs on a thread for images.

    Args:
        name: of the file, as the client sent it.
        data: its content.
        folders: of the photos.
        folder: where uploads go, inside the first of them.
        gallery: its folder, for a note as long as the file is not indexed.
        limits: of images.
        photos_of: the gallery's photos of a content, by its SHA-256.

    Returns:
        what became of the file: stored, known or refused.

    Raises:
        BusyError: `photos_unreachable`: the bucket does not answer. Nothing is left behind there, as far as it can be
            told.
    """
    upload = Upload(_shown(name), content_hash=hashlib.sha256(data).digest())
    if not data:
        upload.refuse("empty_file", "The file is empty.")
        return upload
    for photo in photos_of(upload.content_hash):
        if files.is_there(folders, photo):
            upload.is_there(photo)
            return upload
    try:
        opened = read_image(data, limits, longest_side=64)
        raw = folders.upload_path(f"{folder}/{files.safe_name(name or '', opened.format)}")
        upload.note, upload.stored = note(gallery, raw), files.StoredFile(folders, raw)
        files.store(folders, raw, data)
    except (ImageError, RequestError) as error:
        upload.stored = None  # nothing was written
        upload.refuse(error.code, str(error))
        return upload
    except BaseException:
        upload.discard()  # an object may be there although nobody has heard so
        raise
    upload.path, upload.photo_id = shown_path(raw), photo_id(raw, upload.content_hash)
    return upload


class ArrivingUploads:
    """The uploads of one request while threads store them.

    Attributes:
        uploads: those that were stored, known or refused by now.
    """

    def __init__(self) -> None:
        self.uploads: list[Upload] = []
        self._lock = threading.Lock()
        self._is_called_off = False

    def add(self, upload: Upload) -> None:
        """One has come to its end. It is discarded if the request was called off meanwhile."""
        with self._lock:
            self.uploads.append(upload)
            if not self._is_called_off:
                return
        upload.discard()

    def call_off(self) -> None:
        """Discard all, those that a thread is still storing as well."""
        with self._lock:
            self._is_called_off = True
            uploads = list(self.uploads)
        for upload in uploads:
            upload.discard()


def _shown(name: str | None) -> str:
    """A client's file name, short and without control characters."""
    return "".join(character for character in name or "" if character.isprintable())[-_LONGEST_NAME:]
