"""Files -> decoded ahead -> encoded in batches -> committed: each by threads of its own, all at the same time."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING

from index_builder.comparing.difference import Difference
from index_builder.comparing.files_to_read import FilesToRead, FileToRead
from index_builder.ingest.build_options import BuildOptions
from index_builder.ingest.build_report import BuildProgress, BuildReport, OnProgress
from index_builder.ingest.commits import Commits
from index_builder.ingest.decode import DecodedPhoto, Failed, read_photo
from index_builder.ingest.encoding_engine import EncodingEngine, EncodingTask
from index_builder.ingest.encoding_thread import encoding_thread
from index_builder.ingest.guarded_encoding import Encoded, GuardedEncoder
from index_builder.ingest.moves import KnownContents
from index_builder.ingest.photo_ids import PhotoIds
from index_builder.ingest.read_ahead import DecodingProcesses, read_ahead, read_ahead_in_chunks
from index_builder.ingest.reviewing import Review
from index_builder.photo_files.sources import is_gone
from index_builder.photo_folders import PhotoFolders
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
    review: Review | None = None,
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
        review: judges what may be a loss; None believes everything.

    Raises:
        NotBelievedError: see `Review.judge`; moved files are written by then, and nothing else is.
    """
    if review is not None:
        review.before_reading()
    report.unchanged += difference.unchanged
    workers, batch_size = options.readers_of(folders), options.batch_for(network.device)
    read = partial(read_photo, folders, preprocess=network.preprocess, limits=options.limits)
    ahead = partial(read_ahead, workers=workers, ahead=2 * batch_size + workers)
    told = _Told(len(difference), batch_size, report, progress)
    only_hashed = partial(ahead, read=partial(read, is_known=lambda _: True))
    with FilesToRead() as jobs:
        known = KnownContents(
            writer,
            difference,
            only_hashed,
            report=report,
            commit_photos=options.commit_photos,
            on_read=told.read,
            review=review,
        )
        held = known.settle(jobs)
        is_known = difference.index.has_content
        with ExitStack() as stack:
            thread = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="commit"))
            commits = Commits(
                writer,
                difference,
                options,
                report,
                thread,
                ids=ids or PhotoIds(difference.index),
                keep_ids=keep_ids,
                is_gone=partial(is_gone, folders),
            )
            wanted = (job for job in jobs if job.raw_path not in held)
            if options.engine is not None and ids is None:
                with writer.fed_by_others() as dataset:
                    task = EncodingTask(
                        network,
                        folders,
                        dataset=dataset,
                        shape=commits.shape,
                        known=difference.index.contents,
                        limits=options.limits,
                        batch_size=options.batch_size,
                    )
                    _encode_elsewhere(options.engine, wanted, task, commits, told)
                return
            encoder = stack.enter_context(GuardedEncoder(network, commits.shape, batch_size))
            encoding = stack.enter_context(encoding_thread(network.device))
            if len(jobs) >= batch_size:  # it takes seconds on a GPU; meanwhile the first photos are read
                encoding.submit(encoder.prepare)
            batches = _Batches(commits, encoder, encoding)
            if processes := options.processes_for(len(jobs)):
                decoding = stack.enter_context(
                    DecodingProcesses(folders, network.preprocess, options.limits, processes)
                )
                results = read_ahead_in_chunks(
                    wanted,
                    partial(decoding.read_many, is_known=is_known),
                    workers=processes,
                    ahead=2 * batch_size,
                    give_up=decoding.give_up,
                )
            else:
                results = ahead(wanted, read=partial(read, is_known=is_known))
            for result in results:
                batches.add(result)
                told.read(1)
            batches.finish()


def _encode_elsewhere(
    engine: EncodingEngine, wanted: Iterable[FileToRead], task: EncodingTask, commits: Commits, told: _Told
) -> None:
    """Let the engine read, encode and write; commit what it gives back."""
    with closing(engine.encode(wanted, task)) as results:
        for encoded in results:
            for result in encoded.passed_over:
                commits.pass_over(result)
            commits.add_written(encoded)
            for _ in range(len(encoded)):
                told.read(1)
    commits.finish()


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


class _Batches:
    """Gathers decoded photos into batches; one is encoded while the next is gathered."""

    def __init__(self, commits: Commits, encoder: GuardedEncoder, thread: ThreadPoolExecutor) -> None:
        self._commits, self._encoder, self._thread = commits, encoder, thread
        self._photos: list[DecodedPhoto] = []
        self._running: Future[Encoded] | None = None

    def add(self, result: DecodedPhoto | Failed) -> None:
        """One more file; encodes when a batch is full."""
        if isinstance(result, Failed) or result.pixels is None:
            self._commits.pass_over(result)
            return
        self._photos.append(result)
        while len(self._photos) >= self._encoder.batch_size:
            self._encode()

    def finish(self) -> None:
        """Encode and commit what is left."""
        while self._photos:
            self._encode()
        self._take()
        self._commits.finish()

    def _encode(self) -> None:
        self._take()
        size = self._encoder.batch_size  # smaller by now if the memory was too small for the batch before
        photos, self._photos = self._photos[:size], self._photos[size:]
        self._running = self._thread.submit(self._encoder.encode, photos)

    def _take(self) -> None:
        """Hand on the batch that is being encoded."""
        if self._running is None:
            return
        running, self._running = self._running, None
        encoded = running.result()
        for result in encoded.failed:
            self._commits.pass_over(result)
        self._commits.add(encoded.photos, encoded.stored)
