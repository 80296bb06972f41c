"""What a folder has and its gallery lacks, and the other way round, in bounded memory.

Files are streamed. What must be read is spooled to an unnamed temporary file, and the gallery is held as a few arrays.
"""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from index_builder.file_times import may_hide_a_change
from index_builder.ingest.decode import Job
from index_builder.ingest.scan import FoundFile
from index_builder.photo_record import PhotoFile
from index_builder.store.rows import KnownPhotos

_HASH_BYTES = 16
_LOOKUP = 4096
_HEADER = struct.Struct("<IB")


class JobList:
    """Files to read, spooled to disk; iterates as often as wanted."""

    def __init__(self) -> None:
        self._file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, job: Job) -> None:
        """Add a file."""
        known = job.known_hash or b""
        self._file.write(_HEADER.pack(len(job.raw_path), len(known)) + job.raw_path + known)
        self._count += 1

    def __iter__(self) -> Iterator[Job]:
        self._file.seek(0)
        for _ in range(self._count):
            path, known = _HEADER.unpack(self._file.read(_HEADER.size))
            yield Job(self._file.read(path), self._file.read(known) or None)

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()


class Difference:
    """Compares a stream of found files with what a gallery has. Leaving it as a context manager frees its disk space.

    Args:
        known: what the gallery has.
        check_contents: compare contents even where size and modification time are the same.

    Attributes:
        jobs: files that are new, or may have changed.
        unchanged: number of files that are as the gallery has them.
    """

    def __init__(self, known: KnownPhotos, *, check_contents: bool = False) -> None:
        self._known, self._check = known, check_contents
        keys = np.fromiter((_key(path.as_py()) for path in known.paths), dtype=f"S{_HASH_BYTES}", count=len(known))
        self._order = np.argsort(keys)
        self._keys = keys[self._order]
        self._seen = np.zeros(len(known), dtype=bool)
        self.jobs = JobList()
        self.unchanged = 0

    def __enter__(self) -> Difference:
        return self

    def __exit__(self, *_: object) -> None:
        self.jobs.close()

    def add(self, files: Iterable[FoundFile]) -> None:
        """Compare files; a path that comes twice counts once for what the gallery has."""
        for chunk in batched_files(files):
            for file, row in zip(chunk, self._find([file.raw_path for file in chunk]), strict=True):
                if row < 0:
                    self.jobs.append(Job(file.raw_path))
                    continue
                if self._seen[row]:
                    continue
                self._seen[row] = True
                if self._same(file, int(row)):
                    self.unchanged += 1
                else:
                    self.jobs.append(Job(file.raw_path, self._known.hashes[int(row)].as_py()))

    def missing(self) -> list[tuple[str, bytes]]:
        """Photo ids and paths that the gallery has and the folder does not."""
        rows = np.flatnonzero(~self._seen)
        ids, paths = self._known.photo_ids.take(rows), self._known.paths.take(rows)
        return list(zip(ids.to_pylist(), paths.to_pylist(), strict=True))

    def photo_id_of(self, raw_path: bytes) -> str | None:
        """The id under which the gallery has this path, or None."""
        row = int(self._find([raw_path])[0])
        return None if row < 0 else str(self._known.photo_ids[row].as_py())

    def touched(self, photo: PhotoFile) -> bool:
        """Whether the gallery should keep the times of a photo whose content is as it was.

        That is so if its modification time differs, or if only this reading was late enough for its time to tell the
        next change. Otherwise the photo would be read again at every comparison.
        """
        row = int(self._find([photo.raw_path])[0])
        if row < 0:
            return False
        modified, read = int(self._known.modified_ns[row]), int(self._known.read_ns[row])
        return modified != photo.modified_ns or (
            may_hide_a_change(modified, read) and not may_hide_a_change(photo.modified_ns, photo.read_ns)
        )

    def _same(self, file: FoundFile, row: int) -> bool:
        known = self._known
        return (
            not self._check
            and file.size == known.sizes[row]
            and file.modified_ns == known.modified_ns[row]
            and not may_hide_a_change(file.modified_ns, int(known.read_ns[row]))
        )

    def _find(self, paths: list[bytes]) -> npt.NDArray[np.int64]:
        """Rows of paths in the gallery, -1 where it has none."""
        if not len(self._keys):
            return np.full(len(paths), -1, dtype=np.int64)
        keys = np.array([_key(path) for path in paths], dtype=self._keys.dtype)
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        found: npt.NDArray[np.int64] = np.where(self._keys[places] == keys, self._order[places], -1)
        return found


def batched_files(files: Iterable[FoundFile]) -> Iterator[tuple[FoundFile, ...]]:
    """The stream in batches, each looked up at once."""
    iterator = iter(files)
    while piece := tuple(file for _, file in zip(range(_LOOKUP), iterator, strict=False)):
        yield piece


def _key(raw_path: bytes) -> bytes:
    """A fixed-size stand-in for a path; 128 bits, so that no two paths share one."""
    return hashlib.blake2b(raw_path, digest_size=_HASH_BYTES).digest()
