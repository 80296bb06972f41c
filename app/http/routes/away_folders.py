"""What is said of a photo whose folder is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.service.service import Service
from app.service_errors import RequestError
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import PhotoRecord


@contextmanager
def away_explained(service: Service, folders: PhotoFolders, record: PhotoRecord) -> Iterator[None]:
    """Say of a photo whose file is not there that its folder is away, if that is known.

    Raises:
        RequestError: `photo_gone`, with the reason.
    """
    try:
        yield
    except RequestError as error:
        if error.code != "photo_gone" or not service.held.keeps(folders, record.raw_path):
            raise
        raise RequestError(
            "photo_gone", "The folder of this photo is not there at the moment; the photo shows again when it is.", 404
        ) from None
