"""Addresses from which anybody may read a photo in a bucket for a while, signed with the service's own credentials."""

from __future__ import annotations

from urllib.parse import urlsplit

from app.service.files.photo_files import bucket_errors, bucket_of
from index_builder.photo_files.bucket import Bucket
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_places import BucketFolder
from index_builder.photo_record import PhotoRecord


def signed_address(folders: PhotoFolders, photo: PhotoRecord, seconds: int) -> str | None:
    """Where anybody may read a photo in a bucket for so many seconds; None for one on a disk. Nobody looks at the file.

    Raises:
        BusyError: `photos_unreachable`: no credentials to sign with.
    """
    if (bucket := bucket_of(folders, photo.raw_path)) is None:
        return None
    with bucket_errors():
        return bucket[0].signed(bucket[1], seconds)


def signed_origins(folders: PhotoFolders) -> list[str]:
    """The origins of signed addresses of photos, such as "https://bucket.s3.eu-central-1.amazonaws.com".

    Raises:
        BusyError: `photos_unreachable`: no credentials to sign with.
    """
    places = [one.path for one in folders.in_buckets if isinstance(one.path, BucketFolder)]
    with bucket_errors():
        parts = [urlsplit(Bucket(place).signed(b"photo", 1)) for place in places]
    return list(dict.fromkeys(f"{one.scheme}://{one.netloc}" for one in parts))
