"""Reads when photos were taken, for galleries of releases that did not: from their files' heads, without decoding."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from index_builder.ingest.decode import taken_ns_of
from index_builder.photo_files.sources import source_of
from index_builder.photo_folders import PhotoFolders
from index_builder.store.metadata import DATE
from index_builder.store.writer import GalleryWriter

_FRAGMENTS_PER_COMMIT = 16  # 65 536 photos at most


def fill_dates(writer: GalleryWriter, folders: PhotoFolders, reaches: Callable[[bytes], bool], *, workers: int) -> None:
    """Commit the date taken of every photo for which nobody has looked. A gallery that has all dates costs one query.

    Args:
        writer: of the gallery.
        folders: where the files lie.
        reaches: whether the folder of a path is there. Files that cannot be read are looked at again the next time.
        workers: threads that read.
    """

    def look(raw_path: bytes) -> int | None:
        return _stated(folders, raw_path) if reaches(raw_path) else None

    undated = list(writer.undated().items())
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="dates") as threads:
        for start in range(0, len(undated), _FRAGMENTS_PER_COMMIT):
            found: dict[int, pa.Table] = {}
            for fragment, photos in undated[start : start + _FRAGMENTS_PER_COMMIT]:
                dates = pa.array(threads.map(look, photos.column("path").to_pylist()), type=pa.int64())
                table = pa.table({"photo_id": photos.column("photo_id"), DATE: dates}).drop_null()
                if len(table):
                    found[fragment] = table
            writer.write_dates(found)


def _stated(folders: PhotoFolders, raw_path: bytes) -> int | None:
    """As `PhotoFile.taken_ns`; None where the file cannot be read, or lies in none of the folders."""
    try:
        source, below = source_of(folders, raw_path)
        file = source.open_parts(below)
        if file is None:
            return None
        with file:
            return taken_ns_of(file)
    except OSError:
        return None
