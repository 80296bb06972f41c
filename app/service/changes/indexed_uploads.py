"""Stored uploads become photos of the gallery, once each; runs on the thread for changes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from app.logs import get_logger
from app.service.changes.jobs import Upload
from app.service.changes.upload_notes import forget, noted
from app.service.files import photo_files as files
from index_builder import BuildOptions, BuildReport, Gallery, Skipped, add_photos, remove_photos
from index_builder.comparing.believing import Belief
from index_builder.comparing.known_index import KnownIndex
from index_builder.gallery_errors import FolderAwayError
from index_builder.ingest.named_folders import named_folders
from index_builder.photo_files.sources import is_gone
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import PhotoRecord, shown_path
from index_builder.reading.photos_of_content import photos_of_content
from index_builder.store.places import GalleryPlace
from index_builder.store.rows import KnownPhotos
from model.errors import SketchseekError
from model.networks.network import Network

_log = get_logger("app.service.changes.indexed_uploads")


def index_uploads(
    uploads: Sequence[Upload],
    gallery: GalleryPlace,
    said: PhotoFolders,
    network: Network,
    options: BuildOptions,
) -> BuildReport:
    """Add stored uploads to the gallery and record in each what became of it. No file stays that is no photo.

    A content that the gallery has by now, or that comes twice, becomes one photo: other uploads may have been indexed
    since these were stored.

    Args:
        uploads: that were stored.
        gallery: its folder.
        said: what the settings say of the photos.
        network, options: as of `add_photos`.

    Raises:
        GalleryError: nothing was added, and the files still lie where they were stored.
    """
    folders, _ = named_folders(gallery, said)
    _leave_out_known(uploads, gallery, folders)
    waiting = {one.stored.raw_path: one for one in uploads if one.stored is not None}
    if not waiting:
        _settle_twins(uploads)
        return _unchanged(gallery)
    reasons: dict[str, str] = {}

    def note(skipped: Skipped) -> None:
        reasons[skipped.path] = skipped.reason

    report = add_photos(
        gallery,
        said,
        [os.fsdecode(raw_path) for raw_path in waiting],
        network,
        options=replace(options, on_passed_over=note),
    )
    found = {photo.raw_path: photo for photo in _photos(gallery, waiting.values())}
    for raw_path, upload in waiting.items():
        photo = found.get(raw_path)
        if photo is not None:
            upload.photo_id = photo.photo_id
            upload.settle()
            continue
        reason = reasons.get(shown_path(raw_path), "its file is gone")
        _log.warning("an upload could not be indexed", path=shown_path(raw_path), reason=reason)
        # What stands in brackets is of an exception, which is for the log.
        upload.refuse("not_indexed", f"The photo could not be added to the gallery: {reason.partition(' (')[0]}.")
    _settle_twins(uploads)
    return report


def _settle_twins(uploads: Sequence[Upload]) -> None:
    """What became of a file became of others of its content as well."""
    for upload in uploads:
        if (first := upload.first) is None:
            continue
        if first.code is not None:
            upload.refuse(first.code, first.detail or "")
        else:
            upload.photo_id, upload.path, upload.known = first.photo_id, first.path, True


def refuse_pending(uploads: Sequence[Upload], code: str) -> None:
    """Nothing became of the files that were neither known nor refused: a change failed as a whole."""
    for upload in uploads:
        if not upload.known and upload.code is None:
            upload.refuse(code, "The change of the gallery failed.")


def adopt_uploads(gallery: GalleryPlace, said: PhotoFolders, network: Network, options: BuildOptions) -> BuildReport:
    """Add uploads that were stored but not indexed when the service was ended, where their folder is there.

    Files of refused ones are removed, unless a sync has made photos of them.

    Args:
        gallery: its folder.
        said: what the settings say of the photos.
        network, options: as of `add_photos`.
    """
    folders, _ = named_folders(gallery, said)
    belief = Belief(gallery, folders, folders)
    left, ended = list[str](), list[GalleryPlace]()
    for note, one in noted(gallery).items():
        path = one.raw_path
        try:
            belief.check_reachable([path])
            folders.folder_of(path)
            is_there = not is_gone(folders, path)
        except FolderAwayError:
            continue  # a start at which it is back takes the file
        except FileNotFoundError:
            _log.warning("the folder of a stored upload does not belong to the gallery any more", path=shown_path(path))
            is_there = False
        if one.is_refused and is_there:
            if not _is_photo(gallery, path) and not _removed(folders, path):
                continue  # the next start tries again
            is_there = False
        ended.append(note)
        if is_there:
            left.append(os.fsdecode(path))
    report = add_photos(gallery, said, left, network, options=options) if left else _unchanged(gallery)
    for note in ended:
        forget(note)
    return report


def _is_photo(gallery: GalleryPlace, raw_path: bytes) -> bool:
    return KnownIndex(KnownPhotos.read(Gallery.open(gallery).dataset())).row_at(raw_path) >= 0


def _removed(folders: PhotoFolders, raw_path: bytes) -> bool:
    try:
        files.StoredFile(folders, raw_path).remove()
    except SketchseekError:
        return False
    return True


def _leave_out_known(uploads: Sequence[Upload], gallery: GalleryPlace, folders: PhotoFolders) -> None:
    """Delete stored files whose contents are photos already, or come twice."""
    waiting = [one for one in uploads if one.stored is not None]
    photos = _photos(gallery, waiting)
    first_of: dict[bytes, Upload] = {}
    for upload in waiting:
        if upload.stored is None:
            continue
        raw_path = upload.stored.raw_path
        equal = [photo for photo in photos if photo.content_hash == upload.content_hash.hex()]
        others = [photo for photo in equal if photo.raw_path != raw_path and files.is_there(folders, photo)]
        first = first_of.setdefault(upload.content_hash, upload)
        if others:
            # A sync may have been faster: then this file is a photo as well, of which one is too many.
            own = [photo.photo_id for photo in equal if photo.raw_path == raw_path]
            if own:
                remove_photos(gallery, own)
                photos = [photo for photo in photos if photo.photo_id not in own]
            upload.discard()
            upload.is_there(others[0])
        elif first is not upload:
            upload.discard()
            upload.first = first


def _unchanged(gallery: GalleryPlace) -> BuildReport:
    opened = Gallery.open(gallery)
    dataset = opened.dataset()
    return BuildReport(version=f"{opened.generation}.{dataset.version}", photos=dataset.count_rows())


def _photos(gallery: GalleryPlace, uploads: Iterable[Upload]) -> list[PhotoRecord]:
    return photos_of_content(gallery, {one.content_hash for one in uploads})
