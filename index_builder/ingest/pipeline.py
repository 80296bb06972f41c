"""Files -> decoded ahead -> encoded in batches -> committed by a thread of its own, all three at the same time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from index_builder.comparing.difference import Difference
from index_builder.comparing.files_to_read import FilesToRead
from index_builder.ingest.build_options import BuildOptions
from index_builder.ingest.build_report import BuildProgress, BuildReport, OnProgress
from index_builder.ingest.decode import DecodedPhoto, Failed, decode_ahead, read_photo
from index_builder.ingest.guarded_encoding import GuardedEncoder, put_guarded
from index_builder.ingest.moves import KnownContents
from index_builder.ingest.photo_ids import PhotoIds
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import PhotoFile, shown_path
from index_builder.scanning.passed_over import Skipped
from index_builder.store.quantise import StoredTokens
from index_builder.store.rows import PhotoCopy
from index_builder.store.writer import GalleryWriter

if TYPE_CHECKING:
    from model.networks.network import Network


def read_all(
    writer: GalleryWriter,
    difference: Difference,
    folders: PhotoFolders,
    network: Network,
    options: BuildOptions,
    *,
    report: BuildReport,
    progress: OnProgress | None,
    keep_ids: bool,
    ids: PhotoIds | None = None,
) -> None:
    """Read every file of the difference, and write in `report` what became of each.

    Moved files come first. The others are decoded, encoded and committed.

    Args:
        writer: of the gallery.
        difference: what to read.
        folders: where the files lie.
        network, options, progress: as of `build_gallery`.
        report: gets numbers and skipped files.
        keep_ids: also list the ids of what was added.
        ids: gives new photos their ids; None gives them new ones.
    """
    report.unchanged += difference.unchanged
    workers = options.readers
    read = partial(read_photo, folders, preprocess=network.preprocess, limits=options.limits)
    ahead = partial(decode_ahead, workers=workers, ahead=2 * options.batch_size + workers)
    told = _Told(len(difference), options.batch_size, report, progress)
    only_hashed = partial(ahead, read=partial(read, is_known=lambda _: True))
    with FilesToRead() as jobs:
        known = KnownContents(
            writer,
            difference,
            only_hashed,
            report=report,
            commit_photos=options.commit_photos,
            on_read=told.read,
        )
        known.settle(jobs)
        is_known = difference.index.has_content
        with ThreadPoolExecutor(1, thread_name_prefix="commit") as thread:
            commits = _Commits(
                writer, difference, options, report, thread, ids=ids or PhotoIds(difference.index), keep_ids=keep_ids
            )
            batches = _Batches(commits, network, options)
            for result in ahead(jobs, read=partial(read, is_known=is_known)):
                batches.add(result)
                told.read(1)
            batches.finish()


class _Told:
    """Tells now and then where the work stands."""

    def __init__(self, total: int, every: int, report: BuildReport, progress: OnProgress | None) -> None:
        self._total, self._every, self._report, self._progress = total, every, report, progress
        self._started, self._read, self._done = time.monotonic(), 0, 0

    def read(self, done: int) -> None:
        """One more file was read; `done` is 1 if nothing is left to do with it."""
        self._read += 1
        self._done += done
        if self._progress is not None and (self._read % self._every == 0 or self._done == self._total):
            rate = self._done / max(time.monotonic() - self._started, 1e-9)
            left = (self._total - self._done) / rate if self._done else None
            self._progress(BuildProgress(self._done, self._total, len(self._report.skipped), rate, left))


@dataclass
class _Pending:
    """What goes into the next commit."""

    photos: list[DecodedPhoto] = field(default_factory=list)
    stored: list[StoredTokens] = field(default_factory=list)
    copies: list[DecodedPhoto] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.photos) + len(self.copies) + len(self.gone)


class _Batches:
    """Gathers decoded photos into batches for the network."""

    def __init__(self, commits: _Commits, network: Network, options: BuildOptions) -> None:
        self._commits = commits
        self._encoder = GuardedEncoder(network, commits.shape, options.batch_size)
        self._photos: list[DecodedPhoto] = []

    def add(self, result: DecodedPhoto | Failed) -> None:
        """One more file; encodes when a batch is full."""
        if isinstance(result, Failed) or result.tensor is None:
            self._commits.pass_over(result)
            return
        self._photos.append(result)
        if len(self._photos) >= self._encoder.batch_size:
            self._encode()

    def finish(self) -> None:
        """Encode and commit what is left."""
        if self._photos:
            self._encode()
        self._commits.finish()

    def _encode(self) -> None:
        photos, self._photos = self._photos, []
        encoded, stored, failed = self._encoder.encode(photos)
        for result in failed:
            self._commits.pass_over(result)
        self._commits.add(encoded, stored)


class _Commits:
    """Gathers encoded photos into commits; one is written while the next is gathered."""

    def __init__(
        self,
        writer: GalleryWriter,
        difference: Difference,
        options: BuildOptions,
        report: BuildReport,
        thread: ThreadPoolExecutor,
        *,
        ids: PhotoIds,
        keep_ids: bool,
    ) -> None:
        self._writer, self._difference, self._options = writer, difference, options
        self._ids, self._report, self._thread, self._keep_ids = ids, report, thread, keep_ids
        self._pending = _Pending()
        self._running: Future[None] | None = None
        self._last = time.monotonic()
        self.shape = writer.metadata.shape

    def pass_over(self, result: DecodedPhoto | Failed) -> None:
        """A file that cannot be a photo, or whose content the gallery has."""
        if isinstance(result, Failed):
            self._report.pass_over(result.skipped)
            stale = None if result.unknown else self._difference.photo_id_at(result.raw_path)
            if stale is not None:  # the photo that the gallery has of this path is no more
                self._pending.gone.append(stale)
        elif self._difference.has(result.raw_path, result.content_hash):  # it was changed, and changed back just now
            self._report.unchanged += 1
        else:
            self._pending.copies.append(result)
        self._write_if_due()

    def add(self, photos: list[DecodedPhoto], stored: list[StoredTokens]) -> None:
        """An encoded batch, its encodings in parts."""
        self._pending.photos.extend(photos)
        self._pending.stored.extend(stored)
        self._write_if_due()

    def finish(self) -> None:
        """Write the rest and wait for it."""
        self._write()
        self._wait()

    def _write_if_due(self) -> None:
        late = time.monotonic() - self._last > self._options.commit_s
        if len(self._pending) >= self._options.commit_photos or (late and len(self._pending)):
            self._write()

    def _write(self) -> None:
        self._wait()
        pending, self._pending = self._pending, _Pending()
        self._last = time.monotonic()
        if len(pending):
            self._running = self._thread.submit(self._commit, pending)

    def _wait(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            running.result()

    def _commit(self, pending: _Pending) -> None:
        if pending.gone:
            self._report.removed += self._writer.remove(pending.gone)
        if pending.photos:
            ids = [self._ids.of(photo) for photo in pending.photos]
            stored = StoredTokens.concatenate(pending.stored)
            replaces = self._replaced(pending.photos) > 0
            photos, failed = put_guarded(self._writer, pending.photos, ids, stored, replaces=replaces)
            for one in failed:
                self._report.pass_over(one.skipped)
            self._count(photos)
        if pending.copies:
            self._copy(pending.copies)

    def _copy(self, photos: list[DecodedPhoto]) -> None:
        """Commit photos of contents that the gallery has already: the encoding of a content is always the same."""
        source_of = self._difference.source_of
        copies = [PhotoCopy(source_of(photo.content_hash), self._ids.of(photo), photo) for photo in photos]
        made = self._writer.copy(copies, replaces=self._replaced(photos) > 0)
        self._count([copy.file for copy in made])
        for copy in copies:
            if copy not in made:
                reason = "it changed while it was read; the next sync takes it"
                self._report.pass_over(Skipped(shown_path(copy.file.raw_path), reason, unknown=True))

    def _replaced(self, photos: Sequence[PhotoFile]) -> int:
        """How many photos take the place of others at their paths."""
        return sum(self._difference.photo_id_at(photo.raw_path) is not None for photo in photos)

    def _count(self, photos: Sequence[PhotoFile]) -> None:
        replaced = self._replaced(photos)
        self._report.added += len(photos) - replaced
        self._report.changed += replaced
        if self._keep_ids:
            self._report.added_ids.extend(self._ids.of(photo) for photo in photos)
