"""Encodes a gallery again with another checkpoint. The old encodings stay in service until the switch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from index_builder.comparing.believing import Belief
from index_builder.comparing.difference import Difference
from index_builder.comparing.known_index import KnownIndex
from index_builder.gallery_errors import FolderAwayError, GalleryDamagedError, PhotosUnreadableError
from index_builder.ingest.build_options import BuildOptions
from index_builder.ingest.build_report import BuildReport, OnProgress
from index_builder.ingest.photo_ids import PhotoIds
from index_builder.ingest.pipeline import read_all
from index_builder.ingest.read_ahead import read_ahead
from index_builder.photo_files.file_status import FileStatus
from index_builder.photo_files.sources import source_of
from index_builder.photo_folders import PhotoFolders, Photos
from index_builder.photo_record import shown_path
from index_builder.scanning.found_files import FoundFile
from index_builder.scanning.passed_over import Report, Skipped
from index_builder.store.gallery import Gallery
from index_builder.store.layout import generations_in, lance_errors, ledger_path, write_pointer
from index_builder.store.locks import WriterLock, writer_lock
from index_builder.store.metadata import GalleryMetadata
from index_builder.store.opening_writer import check_names, create_generation, fence, fence_earlier
from index_builder.store.places import GalleryPlace, on_disk, place_of
from index_builder.store.rows import KnownPhotos
from index_builder.store.writer import GalleryWriter
from model.whole_file import remove_leftovers

if TYPE_CHECKING:
    from model.networks.network import Network

_LOOKS_AT_ONCE = 16


def rebuild_gallery(
    gallery: str | GalleryPlace,
    network: Network,
    *,
    photos: Photos | None = None,
    options: BuildOptions | None = None,
    progress: OnProgress | None = None,
) -> BuildReport:
    """Encode every photo of a gallery with `network` into a new dataset beside the old one, then switch to it.

    Readers keep what they have open. A later write removes the old dataset once it was replaced a day ago. A rebuild
    that was killed continues where it stopped if it runs again with the same checkpoint.

    Args:
        gallery: its folder.
        network: encodes the photos from now on.
        photos: where the photos are now; None takes what the gallery remembers.
        options, progress: as of `build_gallery`.

    Raises:
        FolderAwayError: a folder is not believed (`index_builder.comparing.believing`), so its photos would be lost.
        PhotosUnreadableError: photos cannot be read at the moment.
        GalleryError: see `index_builder.gallery_errors` for each kind; the old generation stays the current one.
    """
    path, options = place_of(gallery), options or BuildOptions()
    unread = _Unread(options.on_passed_over)
    report, started = BuildReport(on_passed_over=unread.note), time.monotonic()
    Gallery.open(path)
    with writer_lock(path, options.wait_s) as lock:
        if (folder := on_disk(path)) is not None:
            remove_leftovers(folder)
        old = Gallery.open(path)
        fence_earlier(old, lock)
        dataset = old.dataset()
        folders = remembered = old.metadata(dataset).folders
        if photos is not None:
            folders = PhotoFolders.of(photos).over(folders)
            check_names(path, folders, remembered)
        belief = Belief(path, folders, remembered, most_lost=options.most_lost, accept_loss=options.accept_loss)
        writer = _resume_or_create(old, GalleryMetadata.of(network, folders), lock)
        earlier = KnownIndex(KnownPhotos.read(dataset))
        writer.remove(_renamed(writer.known(), earlier))
        with Difference(writer.known(), check_contents=options.check_contents) as difference:
            belief.know(lambda: (path for path, _ in _photos(dataset)))
            files = _Files(dataset, folders, belief, report.pass_over)
            difference.add(files)
            _check_loss(belief, files.lost)
            unread.check(accepted=options.accept_loss is True)
            report.removed = writer.remove([photo for photo, _ in difference.missing()])
            read_all(
                writer,
                difference,
                folders,
                network,
                options,
                report=report,
                progress=progress,
                keep_ids=False,
                ids=PhotoIds(difference.index, earlier),
            )
            # A share may have been lost meanwhile, or hold something else by now.
            _check_loss(belief, *_not_encoded(earlier, writer.known()))
            unread.check(accepted=options.accept_loss is True)
        writer.tidy()
        lock.check()
        write_pointer(path, writer.generation, replaces=old.pointer)
        belief.write()
        report.version, report.photos, report.seconds = writer.version, len(writer), time.monotonic() - started
    return report


def _resume_or_create(old: Gallery, metadata: GalleryMetadata, lock: WriterLock) -> GalleryWriter:
    """A writer of the newest generation that was begun and not finished, or of a new one."""
    path = old.path
    generation = max([old.generation + 1, *generations_in(path)])
    if ledger_path(path, generation).is_file():
        try:
            if on_disk(path) is None:
                fence(path, generation)  # whoever began it may sleep, and others may have had the lock meanwhile
            writer = GalleryWriter(path, generation, lock)
            if writer.metadata == metadata:
                return writer
        except GalleryDamagedError:
            pass  # an attempt that was killed, or damaged since; nothing depends on it yet
    return GalleryWriter(path, create_generation(path, generation, metadata), lock)


def _renamed(photos: KnownPhotos, earlier: KnownIndex) -> list[str]:
    """Ids that the gallery gives to another path or content by now: it changed since this rebuild was killed."""
    paths, hashes, ids = (column.to_pylist() for column in (photos.paths, photos.hashes, photos.photo_ids))
    return [
        photo
        for path, content, photo in zip(paths, hashes, ids, strict=True)
        if (row := earlier.row_at(path)) < 0 or earlier.hash_of(row) != content or earlier.photo_id(row) != photo
    ]


class _Files:
    """The files of all photos of a dataset that are still there."""

    def __init__(self, dataset: Any, folders: PhotoFolders, belief: Belief, skipped: Report) -> None:
        self._dataset, self._folders, self._belief, self._skipped = dataset, folders, belief, skipped
        self.lost = list[tuple[str, bytes]]()

    def __iter__(self) -> Iterator[FoundFile]:
        at_once = _LOOKS_AT_ONCE if self._folders.in_buckets else 0  # each look is a request there
        looks = read_ahead(_photos(self._dataset), self._look, workers=at_once, ahead=4 * at_once)
        for raw_path, photo, status in looks:
            if status is None:
                self.lost.append((photo, raw_path))
            elif isinstance(status, OSError):
                self.lost.append((photo, raw_path))
                unknown = not isinstance(status, (FileNotFoundError, NotADirectoryError))
                self._skipped(Skipped(shown_path(raw_path), f"unreadable file: {status.strerror}", unknown=unknown))
            elif status.is_regular:
                yield FoundFile(raw_path, status.size, status.modified_ns)
            else:
                self._skipped(Skipped(shown_path(raw_path), "not a regular file"))

    def _look(self, known: tuple[bytes, str]) -> tuple[bytes, str, FileStatus | OSError | None]:
        """A photo's path and id with the status of its file: None in a folder that is away."""
        raw_path, photo = known
        if not self._belief.reaches(raw_path):
            return raw_path, photo, None
        try:
            source, below = source_of(self._folders, raw_path)
            return raw_path, photo, source.status(below)
        except OSError as error:
            return raw_path, photo, error


class _Unread:
    """Counts photos that cannot be read now, but may well be read later. Also tells whoever wants to hear of them."""

    def __init__(self, told: Report | None) -> None:
        self._told, self._count, self._first = told, 0, ""

    def note(self, skipped: Skipped) -> None:
        """Something was passed over."""
        if skipped.unknown:
            self._first = self._first or f"{skipped.path}: {skipped.reason}"
            self._count += 1
        if self._told is not None:
            self._told(skipped)

    def check(self, *, accepted: bool) -> None:
        """Refuse to go on without them.

        Raises:
            PhotosUnreadableError: there are any, and nobody has accepted their loss.
        """
        if self._count and not accepted:
            raise PhotosUnreadableError(
                f"photos cannot be read at the moment, {self._count} in all ({self._first}); mend that and run the "
                "same command again, which goes on where it stopped, or add --accept-loss to leave them out"
            )


def _not_encoded(earlier: KnownIndex, now: KnownPhotos) -> tuple[list[tuple[str, bytes]], list[bytes]]:
    """Photos that the old generation has and the new one lacks, and paths that have another content in the new one."""
    index, lost, changed = KnownIndex(now), list[tuple[str, bytes]](), list[bytes]()
    for row in range(len(earlier)):
        path = earlier.raw_path(row)
        place = index.row_at(path)
        if place < 0:
            lost.append((earlier.photo_id(row), path))
        elif index.hash_of(place) != earlier.hash_of(row):
            changed.append(path)
    return lost, changed


def _check_loss(belief: Belief, lost: list[tuple[str, bytes]], changed: Sequence[bytes] = ()) -> None:
    """Refuse to go on without the photos of a folder that is not believed.

    Raises:
        FolderAwayError: naming the folder. What is held is noted with the gallery, so that it may be accepted.
    """
    judged = belief.judge(lost, changed)
    if judged.held:
        belief.write_held()
        one = judged.held[0]
        raise FolderAwayError(
            f"{sum(held.photos for held in judged.held)} photos cannot be encoded again, because the folder "
            f"{one.place} {one.reason}; mount it and run the same command again, or add --accept-loss"
        )


def _photos(dataset: Any) -> Iterator[tuple[bytes, str]]:
    with lance_errors("cannot read the photos of the gallery"):
        batches = dataset.to_batches(columns=["path", "photo_id"])
    for batch in batches:
        yield from zip(batch.column("path").to_pylist(), batch.column("photo_id").to_pylist(), strict=True)
