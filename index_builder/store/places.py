"""Where a gallery lies: a folder on disk, or a path in a bucket, and what differs between the two."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from index_builder.object_storage.addresses import is_address
from index_builder.object_storage.bucket_path import BucketPath, Seen
from model.whole_file import write_whole

GalleryPlace = Path | BucketPath
"""A gallery's folder, or a file or folder in it."""


@dataclass(frozen=True)
class Found:
    """A file that was listed.

    Attributes:
        name: path relative to the folder that was listed.
        size: in bytes.
        modified: when it was written, in seconds since 1970.
        e_tag: changes with its content; "" on disk.
    """

    name: str
    size: int
    modified: float
    e_tag: str = ""


def place_of(gallery: str | GalleryPlace) -> GalleryPlace:
    """The place that somebody named: a path on disk, or an address such as `s3://bucket/path`.

    Raises:
        GalleryError: an address that names no bucket.
    """
    if isinstance(gallery, str) and is_address(gallery):
        return BucketPath.parse(gallery)
    return gallery if isinstance(gallery, BucketPath) else Path(gallery)


Replaces = Seen | Literal["nothing", "anything"]
"""What a write may replace. On disk that is always anything, because a writer there cannot lose its lock."""


def read_file(place: GalleryPlace) -> tuple[bytes, Replaces]:
    """Content of a small file, and what `replace_file` may replace afterwards.

    Raises:
        OSError: it cannot be read.
    """
    return place.read_seen() if isinstance(place, BucketPath) else (place.read_bytes(), "anything")


def replace_file(place: GalleryPlace, content: bytes, *, replaces: Replaces = "anything") -> Replaces:
    """Make or replace a small file as a whole.

    Args:
        place: of the file.
        content: all of it.
        replaces: what `read_file` gave. In a bucket, nothing else is replaced.

    Returns:
        what a next call may replace.

    Raises:
        StaleObjectError: something else is there.
        OSError: it cannot be written.
    """
    if isinstance(place, BucketPath):
        return place.write(content, replaces=replaces)
    write_whole(place, content)
    return "anything"


def files_below(folder: GalleryPlace) -> Iterator[Found]:
    """Every file in a folder and the folders in it, in no order.

    Raises:
        OSError: a bucket cannot be listed. On disk, folders that cannot be read are passed over.
    """
    if isinstance(folder, BucketPath):
        for name, status in folder.files():
            yield Found(name, status.st_size, status.st_mtime, status.e_tag)
        return
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            try:
                seen = path.stat()
            except FileNotFoundError:  # it was listed, and is gone by now
                continue
            yield Found(path.relative_to(folder).as_posix(), seen.st_size, seen.st_mtime)


def names_in(folder: GalleryPlace) -> list[str]:
    """Names of what lies directly in a folder; [] where there is none."""
    try:
        return [entry.name for entry in folder.iterdir()]
    except FileNotFoundError:
        return []


def remove_folder(folder: GalleryPlace, *, missing_ok: bool = True) -> None:
    """Remove a folder with all in it.

    Raises:
        OSError: something in it cannot be removed, or it is missing and `missing_ok` is False.
    """
    if isinstance(folder, BucketPath):
        for name, _ in list(folder.files()):
            (folder / name).unlink(missing_ok=True)
    elif folder.exists() or not missing_ok:
        shutil.rmtree(folder)


def pieces(place: GalleryPlace, size: int) -> Iterator[bytes]:
    """Content of a file in pieces, of `size` bytes on disk. Raises OSError where it cannot be read."""
    if isinstance(place, BucketPath):
        yield from place.chunks()
        return
    with place.open("rb") as file:
        while piece := file.read(size):
            yield piece


def end_of(place: GalleryPlace, length: int) -> bytes:
    """The last bytes of a file. Raises OSError where it cannot be read."""
    size = place.stat().st_size
    start = max(0, size - length)
    if isinstance(place, BucketPath):
        return place.read_range(start, size - start)
    with place.open("rb") as file:
        file.seek(start)
        return file.read()


def on_disk(place: GalleryPlace) -> Path | None:
    """The path, if the place is on disk."""
    return place if isinstance(place, Path) else None
