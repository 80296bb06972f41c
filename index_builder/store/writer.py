"""Commits to a gallery: the only code that changes one. Holds the writer lock for as long as it lives."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from index_builder.gallery_errors import GalleryError, GalleryMismatchError, GalleryNotFoundError, GalleryWriteError
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import PhotoFile, photo_id
from index_builder.store import checked_commit as commits
from index_builder.store.checksums import Ledger
from index_builder.store.gallery import Gallery
from index_builder.store.layout import POINTER, dataset_path, lance_errors, latest_commit, ledger_path, write_pointer
from index_builder.store.locks import writer_lock
from index_builder.store.metadata import GalleryMetadata
from index_builder.store.quantise import StoredTokens
from index_builder.store.rows import KnownPhotos, rows_of
from index_builder.store.tidy import (
    KEEP_VERSIONS_S,
    TIDY_AT_END,
    TIDY_EVERY,
    drop_old_generations,
    replaced_before,
    versions_to_keep,
)
from model.networks.network import CheckpointIdentity
from model.whole_file import remove_leftovers

_IDS_PER_DELETE = 2000


class GalleryWriter:
    """Writes one generation of a gallery; made by `open_writer`.

    Attributes:
        path: folder of the gallery.
        generation: that it writes.
        metadata: what the gallery is bound to.
    """

    def __init__(self, path: Path, generation: int) -> None:
        self.path, self.generation = path, generation
        gallery = Gallery(path, generation)
        self._place = gallery.dataset_path
        self._dataset: Any = gallery.dataset()
        self.metadata: GalleryMetadata = gallery.metadata(self._dataset)
        self._ledger = Ledger.read(gallery.ledger_path)
        self._commits = 0
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
        columns = ["path", "size", "modified_ns", "read_ns", "content_hash", "photo_id"]
        with lance_errors(f"cannot read the photos of the gallery {self.path}"):
            table = self._dataset.to_table(columns=columns)
        sizes, modified, read = (table.column(name).to_numpy() for name in columns[1:4])
        paths, hashes, ids = (table.column(name) for name in ("path", "content_hash", "photo_id"))
        return KnownPhotos(paths, sizes, modified, read, hashes, ids)

    def put(self, photos: Sequence[PhotoFile], stored: StoredTokens, *, replaces: bool) -> None:
        """Commit photos. With `replaces`, the same commit removes rows of the same paths.

        Raises:
            GalleryWriteError: none of these was committed.
        """
        table = rows_of(photos, stored, self.metadata.schema())
        if replaces:
            self._replace(table)
        else:
            with self._committing():
                self._dataset = commits.append(self._dataset, self._place, table)
        self._committed()

    def touch(self, photos: Sequence[PhotoFile]) -> None:
        """Commit new modification times of photos whose content is the same as before."""
        times = {photo.raw_path: photo for photo in photos}
        listed = ",".join(f"'{photo_id(photo.raw_path, photo.content_hash)}'" for photo in photos)
        with lance_errors(f"cannot read the photos of the gallery {self.path}"):
            table = self._dataset.to_table(filter=f"photo_id IN ({listed})")
        found = [times[path] for path in table.column("path").to_pylist()]
        for name in ("modified_ns", "read_ns"):
            values = pa.array([getattr(photo, name) for photo in found], type=pa.int64())
            table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), values)
        if len(table):
            self._replace(table)
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

    def finish(self) -> None:
        """End a change: tidy if it pays. To tidy after every single photo would cost more with each one."""
        # A version that was replaced a day ago may wait another day. Otherwise every change would tidy, because with
        # each of them one more version comes of age.
        aged = replaced_before(self._place, time.time() - 2 * KEEP_VERSIONS_S) > 0
        if self._commits >= TIDY_AT_END or self._is_due() or aged:
            self.tidy()
        drop_old_generations(self.path, KEEP_VERSIONS_S)

    def tidy(self, keep_versions_s: float = KEEP_VERSIONS_S) -> None:
        """Merge small data files, and remove versions replaced `keep_versions_s` ago with files only they used."""
        with self._committing():
            before = self._dataset.version
            commits.compact(self._dataset, self._place)
            kept = versions_to_keep(self._place, keep_versions_s)
            # Nobody else writes under the lock, so files that no version names are leftovers of a killed writer.
            stats = self._dataset.cleanup_old_versions(retain_versions=kept, delete_unverified=True)
        if self._dataset.version != before or stats.bytes_removed:
            self._record()
        self._tidied = self._dataset.version // TIDY_EVERY
        drop_old_generations(self.path, keep_versions_s)

    def _is_due(self) -> bool:
        """Whether any writers made `TIDY_EVERY` commits since the last time."""
        return bool(self._dataset.version // TIDY_EVERY > self._tidied)

    def _replace(self, table: pa.Table) -> None:
        with self._committing():
            self._dataset = commits.replace(self._dataset, self._place, table, "path")

    @contextmanager
    def _committing(self) -> Iterator[None]:
        with lance_errors(f"cannot write to the gallery {self.path}", writing=True):
            yield

    def _committed(self) -> None:
        self._record()
        self._commits += 1
        if self._is_due():
            self.tidy()

    def _record(self) -> None:
        with self._committing():
            self._ledger.record(self._place, self._dataset.version)


@contextmanager
def open_writer(
    path: str | Path, metadata: GalleryMetadata | None = None, *, wait_s: float = 0.0, moved: bool = False
) -> Iterator[GalleryWriter]:
    """Write to a gallery, one writer at a time.

    Args:
        path: folder of the gallery.
        metadata: what it must be bound to; a gallery that does not exist is then made. None takes what is there.
        wait_s: seconds to wait for another writer.
        moved: accept that `metadata` lacks a folder of photos that the gallery remembers.

    Raises:
        GalleryNotFoundError: no gallery there, and no metadata to make one.
        GalleryMismatchError: bound to another checkpoint or another folder.
        GalleryBusyError: another writer is at work.
        GalleryWriteError: the disk is full or not writable.
    """
    path = Path(path)
    if metadata is None and not (path / POINTER).is_file():
        Gallery.open(path)  # raises an error that says what is missing
        raise GalleryNotFoundError(f"there is no gallery at {path}")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GalleryWriteError(f"cannot make the folder {path}: {error.strerror}; choose another --gallery") from error
    with writer_lock(path, wait_s):
        remove_leftovers(path)
        if metadata is not None and not (path / POINTER).exists():
            create_generation(path, 1, metadata)
            write_pointer(path, 1)
        writer = GalleryWriter(path, Gallery.open(path).generation)
        if metadata is not None:
            _bind(writer, metadata, moved=moved)
        yield writer


def _bind(writer: GalleryWriter, metadata: GalleryMetadata, *, moved: bool) -> None:
    """Check that the gallery is bound to `metadata`, and remember which photos belong to it from now on."""
    writer.metadata.check(
        CheckpointIdentity(metadata.checkpoint, metadata.checkpoint_sha256), preprocess=metadata.preprocess
    )
    old, new = writer.metadata.folders, metadata.folders.over(writer.metadata.folders)
    if {one.path for one in old.folders} - {one.path for one in new.folders} and not moved:
        raise GalleryMismatchError(
            f"the gallery {writer.path} holds the photos of {old}, not of {new}; choose another --gallery, or add "
            "--moved if it is the same folder at a new place"
        )
    if new.to_stored() != old.to_stored():
        writer.remember(new)


def create_generation(path: Path, generation: int, metadata: GalleryMetadata) -> None:
    """Make an empty dataset of a generation, replacing what a killed attempt left there."""
    place = dataset_path(path, generation)
    with lance_errors(f"cannot write to the gallery {path}", writing=True):
        import lance

        if place.exists():
            shutil.rmtree(place)
        lance.write_dataset(metadata.schema().empty_table(), str(place), mode="create")
        Ledger(ledger_path(path, generation)).record(place, latest_commit(place))
