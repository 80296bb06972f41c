"""A photo's file while it is read as a whole, to be made smaller or drawn on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from app.service.files.photo_files import bucket_errors, open_photo
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import PhotoRecord


@contextmanager
def photo_to_read(folders: PhotoFolders, photo: PhotoRecord) -> Iterator[BinaryIO]:
    """The photo's file, to be read inside the block. A bucket or share may fail in the middle of that as well.

    Raises:
        RequestError: as `open_photo`.
        BusyError: `photos_unreachable`.
    """
    with open_photo(folders, photo) as file, bucket_errors():
        yield file
