"""Files whose content the gallery has at another path, or with another time: their photos keep id and encoding.

This comes before anything is encoded or dropped. Otherwise a photo that moved could already be gone, or its path taken,
when its file is read at the new place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from index_builder.comparing.difference import Difference
from index_builder.comparing.files_to_read import FilesToRead, FileToRead
from index_builder.ingest.build_report import BuildReport
from index_builder.ingest.decode import DecodedPhoto, Failed
from index_builder.ingest.reviewing import Review
from index_builder.store.rows import FilePlace
from index_builder.store.writer import GalleryWriter

ReadMany = Callable[[Iterable[FileToRead]], Iterator[DecodedPhoto | Failed]]
"""Reads and hashes files in the order of the jobs, without decoding any."""


class KnownContents:
    """Commits what became of photos whose files were touched or moved, and writes it in `report`.

    Files are taken in the order in which they were found. So a run that was killed and starts again gives every photo
    the path that an undisturbed one does.

    Args:
        writer: of the gallery.
        difference: what to look at.
        read: reads and hashes.
        report: gets numbers.
        commit_photos: photos per commit.
        on_read: called for every file that was read, with 1 if nothing is left to do with it, else with 0.
        review: judges what may be a loss; None believes everything.
    """

    def __init__(
        self,
        writer: GalleryWriter,
        difference: Difference,
        read: ReadMany,
        *,
        report: BuildReport,
        commit_photos: int,
        on_read: Callable[[int], None],
        review: Review | None = None,
    ) -> None:
        self._writer, self._difference, self._index, self._read = writer, difference, difference.index, read
        self._report, self._most, self._on_read, self._review = report, commit_photos, on_read, review
        self._places: list[FilePlace] = []

    def settle(self, rest: FilesToRead) -> frozenset[bytes]:
        """Do it; `rest` gets the files that are left to decode. Returns paths whose photos are held: of `rest` as well.

        Raises:
            NotBelievedError: see `Review.judge`.
        """
        with FilesToRead() as changed:
            self._compare_suspects(changed, rest)
            if self._review is not None:
                self._review.before_moves()
            for row, photo in self._claims(self._difference.new, rest):
                self._report.moved += 1
                self._place(row, photo)  # nothing lies at the new path, so this needs no more than its own commit
            self._write()
            exchanged = list(self._claims(changed, rest))
        held = self._review.judge() if self._review is not None else frozenset[bytes]()
        self._exchange(exchanged, held)
        return held

    def _compare_suspects(self, changed: FilesToRead, rest: FilesToRead) -> None:
        """Find out which files at known paths have another content by now."""
        for result in self._read(self._of_the_same_size(changed)):
            row = self._index.row_at(result.raw_path)
            if isinstance(result, DecodedPhoto) and result.content_hash == self._index.hash_of(row):
                self._report.unchanged += 1
                if self._difference.touched(result):
                    self._place(row, result)
                self._on_read(1)
                continue
            if isinstance(result, DecodedPhoto):
                changed.append(FileToRead(result.raw_path, result.size))
            else:
                rest.append(FileToRead(result.raw_path))
            if isinstance(result, DecodedPhoto) or not result.unknown:
                self._difference.mark_changed(row)
            self._on_read(0)
        self._write()

    def _of_the_same_size(self, changed: FilesToRead) -> Iterator[FileToRead]:
        """Suspects that only reading can judge; the others have changed for certain."""
        for job in self._difference.suspects:
            row = self._index.row_at(job.raw_path)
            if job.size == self._index.photos.sizes[row]:
                yield job
            else:
                self._difference.mark_changed(row)
                changed.append(job)

    def _exchange(self, exchanged: list[tuple[int, DecodedPhoto]], held: frozenset[bytes]) -> None:
        """Photos that took the paths of others: all of them in one commit, or two photos would share a path."""
        places, taken = list[FilePlace](), list[int]()
        for row, photo in exchanged:
            if photo.raw_path in held:
                self._difference.unclaim(row)
                continue
            places.append(self._now(row, photo))
            taken.append(self._index.row_at(photo.raw_path))
        lost = self._difference.drop(taken)
        if places:
            self._writer.follow(places, [self._index.photo_id(row) for row in lost])
        self._report.moved += len(places)
        self._report.removed += len(lost)

    def _claims(self, jobs: FilesToRead, rest: FilesToRead) -> Iterator[tuple[int, DecodedPhoto]]:
        """Rows of displaced photos with the files that have their contents; all other jobs go to `rest`."""
        sizes = self._difference.displaced_sizes()

        def of_those_sizes() -> Iterator[FileToRead]:
            for job in jobs:
                place = np.searchsorted(sizes, job.size)
                if place < len(sizes) and sizes[place] == job.size:
                    yield job
                else:
                    rest.append(job)

        for result in self._read(of_those_sizes()):
            row = -1
            if isinstance(result, DecodedPhoto):
                row = self._difference.claim(result.content_hash, result.raw_path)
            self._on_read(int(row >= 0))
            if row >= 0 and isinstance(result, DecodedPhoto):
                yield row, result
            else:
                rest.append(FileToRead(result.raw_path))

    def _place(self, row: int, photo: DecodedPhoto) -> None:
        self._places.append(self._now(row, photo))
        if len(self._places) >= self._most:
            self._write()

    def _write(self) -> None:
        places, self._places = self._places, []
        if places:
            self._writer.follow(places)

    def _now(self, row: int, photo: DecodedPhoto) -> FilePlace:
        return FilePlace(self._index.photo_id(row), photo.raw_path, photo.modified_ns, photo.read_ns)
