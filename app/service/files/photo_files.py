"""Files of the gallery's root and nowhere else: opened by a row's path, stored under safe names, removed.

Paths come from the gallery's own rows, never from a request. Even so, each one is resolved and must lie inside the
root, so that neither `..` nor a symbolic link leads outside. In a bucket there is nothing to resolve: a name is a name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from app.service_errors import BusyError, RequestError
from index_builder.photo_files.bucket import Bucket, BucketFile
from index_builder.photo_files.file_status import FileStatus
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_places import BucketFolder
from index_builder.photo_record import PhotoRecord, from_ns
from model.images.formats.endings import ending_for
from model.images.formats.signatures import HEAD_BYTES, sniff
from model.images.opening import FORMATS
from model.whole_file import write_whole

_CHUNK = 256 * 1024
_AGAIN_S = 5  # seconds after which a bucket that does not answer is worth another try
_SAME_TIME = timedelta(milliseconds=1)


def _gone() -> RequestError:
    return RequestError("photo_gone", "The photo's file is not there any more; the gallery has not noticed yet.", 404)


def open_photo(folders: PhotoFolders, photo: PhotoRecord) -> BinaryIO:
    """The photo's file, opened for reading; the caller closes it.

    Only pictures are served, whatever the file has become and whatever folder a foreign gallery names as its root.

    Raises:
        RequestError: `photo_gone`: there is no regular file, it lies outside the root, or it is no longer a picture.
        BusyError: `photos_unreachable`: the bucket does not answer.
    """
    if (bucket := bucket_of(folders, photo.raw_path)) is not None:
        return _open_object(*bucket)
    path = _absolute(folders, photo)
    real = os.path.realpath(path)
    if not folders.is_inside(real):
        raise _gone()
    try:
        # Without O_NONBLOCK, a named pipe in the folder would block this thread for ever.
        handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise _gone() from None
    # The file may have been swapped between the check and the opening: the open file must be the one checked.
    if not stat.S_ISREG(os.fstat(handle).st_mode) or not _same_file(handle, real) or os.path.realpath(path) != real:
        os.close(handle)
        raise _gone()
    if sniff(os.pread(handle, HEAD_BYTES, 0)) not in FORMATS:
        os.close(handle)
        raise _gone()
    return os.fdopen(handle, "rb")


def _open_object(bucket: Bucket, name: bytes) -> BinaryIO:
    try:
        with bucket_errors():
            file = bucket.open(name)
            if format_of(file) in FORMATS:
                return file
            file.close()
    except FileNotFoundError:
        pass
    raise _gone()


@contextmanager
def bucket_errors(*, writing: bool = False) -> Iterator[None]:
    """What a bucket or share refuses or does not answer, as an answer of ours. Lets FileNotFoundError through."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if writing and isinstance(error, PermissionError):
            raise _not_writable(error) from None
        text = "The storage of this photo does not answer at the moment; try again later."
        raise BusyError("photos_unreachable", text, _AGAIN_S) from None


def is_there(folders: PhotoFolders, photo: PhotoRecord) -> bool:
    """Whether the photo's file is there and has the content that the gallery read."""
    try:
        with open_photo(folders, photo) as file:
            if is_unchanged(file, photo):
                return True
            if size_of(file) != photo.size:
                return False
            digest = hashlib.sha256()
            for chunk in chunks_of(file):
                digest.update(chunk)
            return digest.hexdigest() == photo.content_hash
    except (RequestError, OSError):
        return False


def is_unchanged(file: BinaryIO, photo: PhotoRecord) -> bool:
    """Whether size and time say that the file is still the one that the gallery read."""
    return _looks_unchanged(_status(file), photo)


def format_of(file: BinaryIO) -> str | None:
    """The format that an open file seems to be of, by Pillow's name."""
    return sniff(file.peek(HEAD_BYTES) if isinstance(file, BucketFile) else os.pread(file.fileno(), HEAD_BYTES, 0))


def size_of(file: BinaryIO) -> int:
    """Bytes of an open file."""
    return _status(file).size


def chunks_of(file: BinaryIO) -> Iterator[bytes]:
    """The file's content in pieces, at most as many bytes as it had at first; closes it at the end."""
    with file:
        left = size_of(file)
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk


def safe_name(name: str, image_format: str) -> str:
    """A safe file name that still hints at the original: `<stem>-<16 hex digits><extension of the format>`.

    Args:
        name: as the client sent it. Letters, digits, `-` and `_` of its last part are kept, 60 at most.
        image_format: Pillow's name for what the content really is.
    """
    stem = re.split(r"[/\\]", name)[-1].rpartition(".")[0] or name
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-")[:60] or "photo"
    return f"{stem}-{secrets.token_hex(8)}{ending_for(image_format, name)}"


@dataclass(frozen=True)
class StoredFile:
    """An upload that was written.

    Attributes:
        folders: of the photos.
        raw_path: of the file, as the gallery writes it.
    """

    folders: PhotoFolders
    raw_path: bytes

    def remove(self) -> None:
        """Delete the file. One that is not there is no error.

        Raises:
            RequestError: `photos_read_only`.
            BusyError: `photos_unreachable`: the bucket does not answer.
        """
        if (bucket := bucket_of(self.folders, self.raw_path)) is not None:
            with suppress(FileNotFoundError), bucket_errors(writing=True):
                bucket[0].delete(bucket[1])
            return
        try:
            Path(os.fsdecode(self.folders.absolute(self.raw_path))).unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise _not_writable(error) from None


def store(folders: PhotoFolders, raw_path: bytes, data: bytes) -> StoredFile:
    """Write an upload; it appears under its name whole or not at all.

    Raises:
        RequestError: `photos_read_only`: nothing can be written there; `disk_full`.
        BusyError: `photos_unreachable`: the bucket does not answer.
    """
    stored = StoredFile(folders, raw_path)
    if (bucket := bucket_of(folders, raw_path)) is not None:
        with bucket_errors(writing=True):
            bucket[0].put(bucket[1], data)
        return stored
    file = Path(os.fsdecode(folders.absolute(raw_path)))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not folders.is_inside(os.fsencode(file.parent.resolve())):
            raise RequestError("photos_read_only", "The folder for uploads leads out of the photos' folder.", 409)
        write_whole(file, data)
    except OSError as error:
        raise _not_writable(error) from None
    return stored


def remove(folders: PhotoFolders, photo: PhotoRecord) -> None:
    """Delete the photo's file. A file that is already gone is no error.

    Raises:
        RequestError: `photos_read_only`; `photo_gone`: its folder leads outside the root, or another picture took its
            place, which nobody asked to delete.
        BusyError: `photos_unreachable`: the bucket does not answer.
    """
    if (bucket := bucket_of(folders, photo.raw_path)) is not None:
        _remove_object(*bucket, photo)
        return
    path = _absolute(folders, photo)
    # The folder is resolved, the last part is not: for a symbolic link, the link itself is deleted.
    folder = os.path.realpath(os.path.dirname(path))  # noqa: PTH120 - pathlib has no paths in bytes
    if not folders.is_inside(folder + b"/"):
        raise _gone()
    target = os.path.join(folder, os.path.basename(path))  # noqa: PTH118, PTH119
    try:
        if _is_another(target, photo):
            raise _gone()
        os.unlink(target)  # noqa: PTH108
    except FileNotFoundError:
        return
    except OSError as error:
        raise _not_writable(error) from None


def _remove_object(bucket: Bucket, name: bytes, photo: PhotoRecord) -> None:
    with suppress(FileNotFoundError), bucket_errors(writing=True):
        status = bucket.status(name)
        if status.size != photo.size:
            raise _gone()
        if not _looks_unchanged(status, photo):
            with bucket.open(name) as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != photo.content_hash:
                    raise _gone()
        bucket.delete(name)


def bucket_of(folders: PhotoFolders, raw_path: bytes) -> tuple[Bucket, bytes] | None:
    """Where a file lies in a bucket, and its name there; None for one on a disk, or in none of the folders."""
    try:
        folder, below = folders.folder_of(raw_path)
    except FileNotFoundError:
        return None
    return (Bucket(folder.path), below) if isinstance(folder.path, BucketFolder) else None


def _status(file: BinaryIO) -> FileStatus:
    return file.status if isinstance(file, BucketFile) else FileStatus.of(os.fstat(file.fileno()))


def _absolute(folders: PhotoFolders, photo: PhotoRecord) -> bytes:
    try:
        return folders.absolute(photo.raw_path)
    except FileNotFoundError:
        raise _gone() from None


def _looks_unchanged(now: FileStatus, photo: PhotoRecord) -> bool:
    modified = from_ns(now.modified_ns)
    return now.size == photo.size and abs(modified - photo.modified) < _SAME_TIME


def _is_another(target: bytes, photo: PhotoRecord) -> bool:
    """Whether the file there has other content than the photo. For a link, only the link would be deleted."""
    found = os.lstat(target)
    if not stat.S_ISREG(found.st_mode) or _looks_unchanged(FileStatus.of(found), photo):
        return False
    if found.st_size != photo.size:
        return True  # known without reading what may be gigabytes
    with os.fdopen(os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() != photo.content_hash


def _same_file(handle: int, real: bytes) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(real))
    except OSError:
        return False


def is_full_disk(error: OSError) -> bool:
    """Whether the disk was full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _not_writable(error: OSError) -> RequestError:
    if is_full_disk(error):
        return RequestError("disk_full", "There is no room left for this photo.", 507)
    return RequestError("photos_read_only", "The photos' folder cannot be written by this service.", 409)
