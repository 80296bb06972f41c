"""Commits to a gallery: the only code that changes one. Holds the writer lock for as long as it lives."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from index_builder.gallery_errors import GalleryError
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import PhotoFile
from index_builder.store import checked_commit as commits
from index_builder.store.checksums import Ledger
from index_builder.store.gallery import Gallery
from index_builder.store.layout import lance_errors, referenced_files
from index_builder.store.locks import WriterLock
from index_builder.store.metadata import DATE, OPTIONAL_COLUMNS, GalleryMetadata
from index_builder.store.places import GalleryPlace, on_disk
from index_builder.store.quantise import StoredTokens
from index_builder.store.rows import FilePlace, KnownPhotos, PhotoCopy, copied, placed, rows_of
from index_builder.store.tidy import (
    KEEP_VERSIONS_S,
    TIDY_AT_END,
    TIDY_EVERY,
    drop_old_generations,
    replaced_before,
    versions_to_keep,
)

_IDS_PER_DELETE = 2000


class GalleryWriter:
    """Writes one generation of a gallery; made by `open_writer`.

    Every change raises GalleryBusyError if the lock is lost, which happens in a bucket alone.

    Attributes:
        path: folder of the gallery.
        generation: that it writes.
        metadata: what the gallery is bound to.
    """

    def __init__(self, path: GalleryPlace, generation: int, lock: WriterLock) -> None:
        self.path, self.generation, self._lock = path, generation, lock
        gallery = Gallery(path, generation)
        self._place = gallery.dataset_path
        self._dataset: Any = gallery.dataset()
        self.metadata: GalleryMetadata = gallery.metadata(self._dataset)
        self._ledger = Ledger.read(gallery.ledger_path)
        self._commits = 0
        self._is_fed = self._was_fed = False
        self._tidied = self._dataset.version // TIDY_EVERY
        if self._ledger.version != self._dataset.version:
            self._record()  # the last writer was killed between a commit and its checksums

    @property
    def version(self) -> str:
        """Of the last commit."""
        return f"{self.generation}.{self._dataset.version}"

    def __len__(self) -> int:
        return int(self._dataset.count_rows())

    def known(self) -> KnownPhotos:
        """All photos of the last commit."""
        return KnownPhotos.read(self._dataset)

    def put(self, photos: Sequence[PhotoFile], ids: Sequence[str], stored: StoredTokens, *, replaces: bool) -> None:
        """Commit photos under ids. With `replaces`, the same commit removes rows of the same paths.

        Raises:
            GalleryWriteError: none of these was committed.
        """
        self._add(rows_of(photos, ids, stored, self._dataset.schema), replaces=replaces)

    @contextmanager
    def fed_by_others(self) -> Iterator[str]:
        """Let other processes write rows for `adopt`, from here to the end of the block.

        Meanwhile tidying leaves files alone that no version names. The end of the change tidies them away, for a
        process that died may have left some.

        Returns:
            the dataset's address, for those processes.
        """
        self._is_fed = self._was_fed = True
        try:
            yield str(self._place.absolute())
        finally:
            self._is_fed = False

    def adopt(self, written: Sequence[str], replaced: Sequence[bytes]) -> None:
        """Commit rows that other processes have written, and remove those of the paths `replaced` at once.

        Args:
            written: fragments, as Lance writes them as JSON.
            replaced: raw paths that the gallery has rows of, and that have a new one now.

        Raises:
            GalleryWriteError: a file is not whole, or the disk is full; none of these was committed.
        """
        with self._committing():
            self._dataset = commits.adopt(self._dataset, self._place, written, replaced)
        self._committed()

    def copy(self, copies: Sequence[PhotoCopy], *, replaces: bool) -> list[PhotoCopy]:
        """Commit photos with the encodings of others. With `replaces`, the same commit removes rows of the same paths.

        Returns:
            those that were committed: all whose source is still in the gallery.

        Raises:
            GalleryWriteError: none of these was committed.
        """
        with lance_errors(f"cannot read the photos of the gallery {self.path}"):
            places, _, found = commits.find(self._dataset, {copy.source for copy in copies})
            place_of = dict(zip(found, places.tolist(), strict=True))
            made = [copy for copy in copies if copy.source in place_of]
            sources = self._dataset.take([place_of[copy.source] for copy in made])
        if made:
            self._add(copied(sources, made), replaces=replaces)
        return made

    def follow(self, places: Sequence[FilePlace], dropped: Sequence[str] = ()) -> None:
        """Commit at once where photos' files are now, and which photos they have displaced. Ids and encodings stay."""
        by_id = {place.photo_id: place for place in places}
        with self._committing():
            self._dataset = commits.rewrite(
                self._dataset, self._place, by_id.keys(), partial(placed, places=by_id), dropped
            )
        self._committed()

    def remove(self, photo_ids: Sequence[str]) -> int:
        """Commit the removal of photos, passing over unknown ids. Returns how many were removed."""
        before = len(self)
        for start in range(0, len(photo_ids), _IDS_PER_DELETE):
            chosen = photo_ids[start : start + _IDS_PER_DELETE]
            if any(not photo.isalnum() for photo in chosen):
                raise GalleryError("photo ids are letters and digits only; take them from `gallery info` or a search")
            listed = ",".join(f"'{photo}'" for photo in chosen)
            with self._committing():
                self._dataset = commits.delete(self._dataset, self._place, f"photo_id IN ({listed})")
            self._committed()
        return before - len(self)

    def remember(self, folders: PhotoFolders) -> None:
        """Remember which photos belong to the gallery from now on."""
        self.metadata = replace(self.metadata, folders=folders)
        with self._committing():
            self._dataset.update_schema_metadata({"sketchseek": self.metadata.to_json()}, replace=True)
        self._committed()

    def undated(self) -> dict[int, pa.Table]:
        """Photos for which nobody has looked when they were taken: fragment -> table of `photo_id` and `path`."""
        if DATE not in self._dataset.schema.names:  # of an earlier release
            with self._committing():
                self._dataset.add_columns(pa.field(DATE, OPTIONAL_COLUMNS[DATE]))
            self._committed()
        with lance_errors(f"cannot read the photos of the gallery {self.path}"):
            columns = ["photo_id", "path"]
            table = self._dataset.to_table(columns=columns, filter=f"{DATE} IS NULL", with_row_address=True)
        fragments = table.column("_rowaddr").to_numpy() >> 32
        bounds = np.flatnonzero(np.diff(fragments, prepend=-1, append=-1))
        return {
            int(fragments[start]): table.slice(start, end - start).select(columns)
            for start, end in itertools.pairwise(bounds.tolist())
        }

    def write_dates(self, dates: Mapping[int, pa.Table]) -> None:
        """Commit when photos were taken: fragment -> table of `photo_id` and `taken_ns`. Only that column changes."""
        if dates:
            with self._committing():
                self._dataset = commits.write_column(self._dataset, self._place, DATE, dates)
            self._committed()

    def finish(self) -> None:
        """End a change: tidy if it pays. To tidy after every single photo would cost more with each one."""
        # A version that was replaced a day ago may wait another day. Otherwise every change would tidy, because with
        # each of them one more version comes of age.
        aged = replaced_before(self._place, time.time() - 2 * KEEP_VERSIONS_S) > 0
        if self._commits >= TIDY_AT_END or self._was_fed or self._is_due() or aged:
            self.tidy()
        drop_old_generations(self.path, KEEP_VERSIONS_S)

    def tidy(self, keep_versions_s: float = KEEP_VERSIONS_S) -> None:
        """Merge small data files, and remove versions replaced `keep_versions_s` ago with files only they used."""
        with self._committing():
            before = self._dataset.version
            commits.compact(self._dataset, self._place)
            kept = versions_to_keep(self._place, keep_versions_s)
            self._lock.check()
            # Under the lock, files that no version names are leftovers of a killed writer, unless others write for us.
            # In a bucket they may be those of a writer that has taken over since: Lance removes them a week later.
            leftovers = on_disk(self.path) is not None and not self._is_fed
            stats = self._dataset.cleanup_old_versions(retain_versions=kept, delete_unverified=leftovers)
        if self._dataset.version != before or stats.bytes_removed:
            self._record()
        self._tidied = self._dataset.version // TIDY_EVERY
        drop_old_generations(self.path, keep_versions_s)

    def _is_due(self) -> bool:
        """Whether any writers made `TIDY_EVERY` commits since the last time."""
        return bool(self._dataset.version // TIDY_EVERY > self._tidied)

    def _add(self, table: pa.Table, *, replaces: bool) -> None:
        with self._committing():
            if replaces:
                self._dataset = commits.replace(self._dataset, self._place, table, "path")
            else:
                self._dataset = commits.append(self._dataset, self._place, table)
        self._committed()

    @contextmanager
    def _committing(self) -> Iterator[None]:
        self._lock.check()
        with lance_errors(f"cannot write to the gallery {self.path}", writing=True):
            yield

    def _committed(self) -> None:
        self._record()
        self._commits += 1
        if self._is_due():
            self.tidy()

    def _record(self) -> None:
        with self._committing():
            self._ledger.record(self._place, self._dataset.version, named=partial(referenced_files, self._dataset))
