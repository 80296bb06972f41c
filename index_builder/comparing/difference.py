"""What a folder has and its gallery lacks, and the other way round, in bounded memory.

Files are streamed. What must be read is spooled to an unnamed temporary file, and the gallery is held as a few arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from index_builder.comparing.files_to_read import FilesToRead, FileToRead
from index_builder.comparing.known_index import KnownIndex, PathIndex, Rows
from index_builder.file_times import may_hide_a_change
from index_builder.photo_record import PhotoFile
from index_builder.scanning.found_files import FoundFile
from index_builder.store.rows import KnownPhotos

_LOOKUP = 4096


class Difference:
    """Compares a stream of found files with what a gallery has. Leaving it as a context manager frees its disk space.

    A photo is *displaced* if its file is gone from its path, or has another content by now. A file with the content of
    a displaced photo is that photo, moved.

    Args:
        known: what the gallery has.
        check_contents: compare contents even where size and modification time are the same.
        is_gone: whether the file of a path that was not found is really gone, and not only unknown; None lets no
            photo move.
        lets_move: whether the photo of a path may have moved to another path; None allows all.

    Attributes:
        index: finds what the gallery has.
        new: files at paths that the gallery does not have.
        suspects: files at paths that it has, which may have changed.
        unchanged: number of files that are as the gallery has them.
    """

    def __init__(
        self,
        known: KnownPhotos,
        *,
        check_contents: bool = False,
        is_gone: Callable[[bytes], bool] | None = None,
        lets_move: Callable[[bytes, bytes], bool] | None = None,
    ) -> None:
        self.index = KnownIndex(known)
        self._known, self._check, self._is_gone, self._lets_move = known, check_contents, is_gone, lets_move
        self._seen = np.zeros(len(known), dtype=bool)
        self._aside = np.zeros(len(known), dtype=bool)
        self._changed = np.zeros(len(known), dtype=bool)
        self._hidden = np.zeros(len(known), dtype=bool)
        self._moved = np.zeros(len(known), dtype=bool)
        self._dropped = np.zeros(len(known), dtype=bool)
        self._queues: dict[bytes, list[int]] = {}
        self.new, self.suspects = FilesToRead(), FilesToRead()
        self.unchanged = 0

    def __enter__(self) -> Difference:
        return self

    def __exit__(self, *_: object) -> None:
        self.new.close()
        self.suspects.close()

    def __len__(self) -> int:
        """Files to read."""
        return len(self.new) + len(self.suspects)

    def add(self, files: Iterable[FoundFile]) -> None:
        """Compare files; a path that comes twice counts once for what the gallery has."""
        for chunk in batched_files(files):
            for file, row in zip(chunk, self.index.rows_at([file.raw_path for file in chunk]), strict=True):
                if row < 0:
                    self.new.append(FileToRead(file.raw_path, file.size))
                    continue
                if self._seen[row] or self._aside[row]:
                    continue
                self._seen[row] = True
                if self._same(file, int(row)):
                    self.unchanged += 1
                else:
                    self.suspects.append(FileToRead(file.raw_path, file.size))

    def add_again(self, files: Iterable[FoundFile]) -> None:
        """Compare files of a second look; those that the first one found are passed over."""
        self.add(self.unseen(files))

    def unseen(self, files: Iterable[FoundFile]) -> Iterator[FoundFile]:
        """Those of some files that were not found before."""
        found = PathIndex((job.raw_path for job in self.new), len(self.new))
        for chunk in batched_files(files):
            paths = [file.raw_path for file in chunk]
            known = self.index.rows_at(paths)
            seen = (found.rows_at(paths) >= 0) | ((known >= 0) & (self._seen[known] | self._aside[known]))
            yield from (file for file, before in zip(chunk, seen, strict=True) if not before)

    def leave_alone(self, elsewhere: Callable[[bytes], bool]) -> None:
        """Do not miss photos that are not looked for. They may have moved, if `is_gone` says so. Call this first."""
        self._aside[:] = [elsewhere(path.as_py()) for path in self._known.paths]

    def spare(self, could_be_there: Callable[[bytes], bool]) -> None:
        """Do not take photos for moved that were not found, but that could not be looked for either."""
        rows = np.flatnonzero(~self._seen & ~self._aside)
        self._hidden[rows] = [could_be_there(path) for path in self._known.paths.take(rows).to_pylist()]

    def any_missing(self) -> bool:
        """Whether the gallery has photos that the folder does not."""
        return bool(np.any(~self._seen & ~self._aside & ~self._moved))

    def missing(self) -> list[tuple[str, bytes]]:
        """Photo ids and paths that the gallery has and the folder does not, without those that moved."""
        rows = np.flatnonzero(~self._seen & ~self._aside & ~self._moved)
        ids, paths = self._known.photo_ids.take(rows), self._known.paths.take(rows)
        return list(zip(ids.to_pylist(), paths.to_pylist(), strict=True))

    def changed(self) -> list[bytes]:
        """Paths whose files have other contents by now, without those whose photos moved."""
        paths: list[bytes] = self._known.paths.take(np.flatnonzero(self._changed & ~self._moved)).to_pylist()
        return paths

    def keep(self, raw_paths: Iterable[bytes]) -> None:
        """Take the photos of some paths for unchanged, whatever their files hold now."""
        rows = self.index.rows_at(list(raw_paths))
        self._changed[rows], self._hidden[rows] = False, True

    def missing_of(self, sizes: npt.NDArray[np.int64]) -> set[str]:
        """Of the missing photos, ids of those that have one of these sizes."""
        rows = np.flatnonzero(~self._seen & ~self._aside & ~self._moved & np.isin(self._known.sizes, sizes))
        return set(self._known.photo_ids.take(rows).to_pylist())

    def row_at(self, raw_path: bytes) -> int:
        """The gallery's row that is still at this path, or -1."""
        row = self.index.row_at(raw_path)
        return -1 if row < 0 or self._moved[row] or self._dropped[row] else row

    def photo_id_at(self, raw_path: bytes) -> str | None:
        """The id of the photo that the gallery still has at this path, or None."""
        row = self.row_at(raw_path)
        return None if row < 0 else self.index.photo_id(row)

    def has(self, raw_path: bytes, content_hash: bytes) -> bool:
        """Whether the gallery still has a photo of this path and content."""
        row = self.row_at(raw_path)
        return row >= 0 and self.index.hash_of(row) == content_hash

    def touched(self, photo: PhotoFile) -> bool:
        """Whether the gallery should keep the times of a photo whose content is as it was.

        That is so if its modification time differs, or if only this reading was late enough for its time to tell the
        next change. Otherwise the photo would be read again at every comparison.
        """
        row = self.row_at(photo.raw_path)
        if row < 0:
            return False
        modified, read = int(self._known.modified_ns[row]), int(self._known.read_ns[row])
        return modified != photo.modified_ns or (
            may_hide_a_change(modified, read) and not may_hide_a_change(photo.modified_ns, photo.read_ns)
        )

    def mark_changed(self, row: int) -> None:
        """The file of a row has another content by now."""
        self._changed[row] = True

    def displaced_sizes(self) -> npt.NDArray[np.int64]:
        """Sizes of all displaced photos' files, sorted: a file of any other size is none of them."""
        return np.unique(self._known.sizes[self._displaced(slice(None))])

    def claim(self, content_hash: bytes, raw_path: bytes) -> int:
        """A displaced row of this content (the first by path) that may have moved to a path, or -1.

        It counts as moved from now on.
        """
        queue = self._queues.get(content_hash)
        if queue is None:
            rows = self.index.rows_of(content_hash)
            rows = rows[self._displaced(rows)]
            queue = sorted(rows.tolist(), key=self.index.raw_path, reverse=True)
            if len(queue) > 1:
                self._queues[content_hash] = queue
        for place in range(len(queue) - 1, -1, -1):  # most often the last one, which is cheap to take away
            row, path = queue[place], self.index.raw_path(queue[place])
            if not self._changed[row] and (self._is_gone is None or not self._is_gone(path)):
                del queue[place]
            elif self._lets_move is None or self._lets_move(path, raw_path):
                del queue[place]
                self._moved[row] = True
                return row
        return -1

    def claim_late(self, content_hash: bytes, raw_path: bytes, is_gone: Callable[[bytes], bool]) -> int:
        """A row of this content whose file was found and is gone by now, moved to a path, or -1."""
        rows = self.index.rows_of(content_hash)
        for row in rows[self._seen[rows] & ~self._changed[rows] & ~self._moved[rows]].tolist():
            path = self.index.raw_path(row)
            if is_gone(path) and (self._lets_move is None or self._lets_move(path, raw_path)):
                self._moved[row] = True
                return int(row)
        return -1

    def unclaim(self, row: int) -> None:
        """A claimed row has not moved after all. What became of it is for the next comparison."""
        self._moved[row], self._hidden[row] = False, True

    def drop(self, rows: Iterable[int]) -> list[int]:
        """Those of some rows that have not moved. Others have taken their paths, so these photos are no more."""
        lost = [row for row in rows if not self._moved[row]]
        self._dropped[lost] = True
        return lost

    def source_of(self, content_hash: bytes) -> str:
        """The id of a photo of this content, one that stays in the gallery if there is any."""
        rows = self.index.rows_of(content_hash)
        staying = rows[self._moved[rows] | self._aside[rows] | (self._seen[rows] & ~self._changed[rows])]
        return self.index.photo_id(int((staying if len(staying) else rows)[0]))

    def _displaced(self, rows: Rows | slice) -> npt.NDArray[np.bool_]:
        if self._is_gone is None:
            return np.zeros_like(self._seen[rows])
        return (~self._seen[rows] | self._changed[rows]) & ~self._hidden[rows] & ~self._moved[rows]

    def _same(self, file: FoundFile, row: int) -> bool:
        known = self._known
        return (
            not self._check
            and file.size == known.sizes[row]
            and file.modified_ns == known.modified_ns[row]
            and not may_hide_a_change(file.modified_ns, int(known.read_ns[row]))
        )


def batched_files(files: Iterable[FoundFile]) -> Iterator[tuple[FoundFile, ...]]:
    """The stream in batches, each looked up at once."""
    iterator = iter(files)
    while piece := tuple(file for _, file in zip(range(_LOOKUP), iterator, strict=False)):
        yield piece
