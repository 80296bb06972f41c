"""Decoded and encoded photos -> commits, by a thread of its own: one is written while the next is gathered."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from index_builder.comparing.difference import Difference
from index_builder.ingest.build_options import BuildOptions
from index_builder.ingest.build_report import BuildReport
from index_builder.ingest.decode import DecodedPhoto, Failed
from index_builder.ingest.encoding_engine import EncodedElsewhere
from index_builder.ingest.guarded_encoding import put_guarded
from index_builder.ingest.photo_ids import PhotoIds
from index_builder.photo_record import PhotoFile, shown_path
from index_builder.scanning.passed_over import Skipped
from index_builder.store.quantise import StoredTokens
from index_builder.store.rows import FilePlace, PhotoCopy
from index_builder.store.writer import GalleryWriter

_MOST_BEHIND = 8  # times the photos of a commit that may wait while another one is written


@dataclass
class _Pending:
    """What goes into the next commit."""

    photos: list[DecodedPhoto] = field(default_factory=list)
    stored: list[StoredTokens] = field(default_factory=list)
    copies: list[DecodedPhoto] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    elsewhere: list[EncodedElsewhere] = field(default_factory=list)

    def __len__(self) -> int:
        elsewhere = sum(len(one.photos) for one in self.elsewhere)
        return len(self.photos) + len(self.copies) + len(self.gone) + elsewhere


class Commits:
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
        is_gone: Callable[[bytes], bool],
    ) -> None:
        self._writer, self._difference, self._options, self._is_gone = writer, difference, options, is_gone
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

    def add_written(self, encoded: EncodedElsewhere) -> None:
        """Photos whose rows are written; what was passed over beside them is not looked at."""
        if encoded.photos:
            self._pending.elsewhere.append(encoded)
            self._write_if_due()

    def finish(self) -> None:
        """Write the rest and wait for it."""
        self._write()
        self._wait()

    def _write_if_due(self) -> None:
        most, waiting = self._options.commit_photos, len(self._pending)
        late = time.monotonic() - self._last > self._options.commit_s
        busy = self._running is not None and not self._running.done()
        # Whoever encodes does not wait for the disk, as long as what waits does not grow without end.
        if waiting >= most * _MOST_BEHIND or (not busy and (waiting >= most or (late and waiting))):
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
        if pending.elsewhere:
            self._adopt(pending.elsewhere)
        if pending.copies:
            self._copy(pending.copies)

    def _adopt(self, encoded: list[EncodedElsewhere]) -> None:
        photos = [photo for one in encoded for photo in one.photos]
        replaced = [photo.raw_path for photo in photos if self._difference.photo_id_at(photo.raw_path) is not None]
        self._writer.adopt([fragment for one in encoded for fragment in one.fragments], replaced)
        self._count(photos)

    def _copy(self, photos: list[DecodedPhoto]) -> None:
        """Commit photos of contents that the gallery has already: the encoding of a content is always the same.

        One whose file was found and is gone by now has moved while this change went on.
        """
        photos = [photo for photo in photos if not self._has_moved(photo)]
        source_of = self._difference.source_of
        copies = [PhotoCopy(source_of(photo.content_hash), self._ids.of(photo), photo) for photo in photos]
        made = self._writer.copy(copies, replaces=self._replaced(photos) > 0)
        self._count([copy.file for copy in made])
        for copy in copies:
            if copy not in made:
                reason = "it changed while it was read; the next sync takes it"
                self._report.pass_over(Skipped(shown_path(copy.file.raw_path), reason, unknown=True))

    def _has_moved(self, photo: DecodedPhoto) -> bool:
        if self._difference.row_at(photo.raw_path) >= 0:  # what lies at a known path is a matter of exchanges
            return False
        row = self._difference.claim_late(photo.content_hash, photo.raw_path, self._is_gone)
        if row < 0:
            return False
        place = FilePlace(self._difference.index.photo_id(row), photo.raw_path, photo.modified_ns, photo.read_ns)
        self._writer.follow([place])
        self._report.moved += 1
        self._report.unchanged -= 1
        return True

    def _replaced(self, photos: Sequence[PhotoFile]) -> int:
        """How many photos take the place of others at their paths."""
        return sum(self._difference.photo_id_at(photo.raw_path) is not None for photo in photos)

    def _count(self, photos: Sequence[PhotoFile]) -> None:
        replaced = self._replaced(photos)
        self._report.added += len(photos) - replaced
        self._report.changed += replaced
        if self._keep_ids:
            self._report.added_ids.extend(self._ids.of(photo) for photo in photos)
