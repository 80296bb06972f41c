"""Files -> decoded ahead -> encoded in batches -> committed by a thread of its own, all three at the same time."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from index_builder.ingest.build_options import BuildOptions, default_workers
from index_builder.ingest.build_report import BuildProgress, BuildReport, OnProgress
from index_builder.ingest.decode import DecodedPhoto, Failed, decode_ahead, read_photo
from index_builder.ingest.difference import Difference
from index_builder.ingest.guarded_encoding import GuardedEncoder, put_guarded
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import photo_id
from index_builder.store.quantise import StoredTokens
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
) -> None:
    """Decode, encode and commit every file of the difference, and write in `report` what became of each.

    Args:
        writer: of the gallery.
        difference: what to read.
        folders: where the files lie.
        network, options, progress: as of `build_gallery`.
        report: gets numbers and skipped files.
        keep_ids: also list the ids of what was added.
    """
    report.unchanged += difference.unchanged
    workers = options.workers if options.workers is not None else default_workers()
    read = partial(read_photo, folders, preprocess=network.preprocess, limits=options.limits)
    started, total, done = time.monotonic(), len(difference.jobs), 0
    with ThreadPoolExecutor(1, thread_name_prefix="commit") as thread:
        batches = _Batches(_Commits(writer, difference, options, report, thread, keep_ids=keep_ids), network, options)
        for result in decode_ahead(difference.jobs, read, workers=workers, ahead=2 * options.batch_size + workers):
            batches.add(result)
            done += 1
            if progress is not None and (done % options.batch_size == 0 or done == total):
                rate = done / max(time.monotonic() - started, 1e-9)
                progress(BuildProgress(done, total, len(report.skipped), rate, (total - done) / rate))
        batches.finish()


@dataclass
class _Pending:
    """What goes into the next commit."""

    photos: list[DecodedPhoto] = field(default_factory=list)
    stored: list[StoredTokens] = field(default_factory=list)
    touched: list[DecodedPhoto] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.photos) + len(self.touched) + len(self.gone)


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
        keep_ids: bool,
    ) -> None:
        self._writer, self._difference, self._options = writer, difference, options
        self._report, self._thread, self._keep_ids = report, thread, keep_ids
        self._pending = _Pending()
        self._running: Future[None] | None = None
        self._last = time.monotonic()
        self.shape = writer.metadata.shape

    def pass_over(self, result: DecodedPhoto | Failed) -> None:
        """A file that cannot be a photo, or whose content is as it was."""
        if isinstance(result, Failed):
            self._report.pass_over(result.skipped)
            stale = None if result.unknown else self._difference.photo_id_of(result.raw_path)
            if stale is not None:  # the photo that the gallery has of this path is no more
                self._pending.gone.append(stale)
        else:
            self._report.unchanged += 1
            if self._difference.touched(result):
                self._pending.touched.append(result)
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
        if pending.touched:
            self._writer.touch(pending.touched)
        if pending.photos:
            replaces = any(self._difference.photo_id_of(photo.raw_path) is not None for photo in pending.photos)
            stored = StoredTokens.concatenate(pending.stored)
            photos, failed = put_guarded(self._writer, pending.photos, stored, replaces=replaces)
            for one in failed:
                self._report.pass_over(one.skipped)
            changed = sum(self._difference.photo_id_of(photo.raw_path) is not None for photo in photos)
            self._report.added += len(photos) - changed
            self._report.changed += changed
            if self._keep_ids:
                self._report.added_ids.extend(photo_id(photo.raw_path, photo.content_hash) for photo in photos)
