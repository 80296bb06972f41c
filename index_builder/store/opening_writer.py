"""Opens a gallery for writing: one writer at a time, bound to one checkpoint and to the photos it remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from index_builder.gallery_errors import GalleryError, GalleryMismatchError, GalleryNotFoundError, GalleryWriteError
from index_builder.photo_folders import PhotoFolders
from index_builder.store.checksums import Ledger
from index_builder.store.gallery import Gallery
from index_builder.store.layout import (
    POINTER,
    away,
    dataset_path,
    generations_in,
    lance_errors,
    latest_commit,
    ledger_path,
    write_pointer,
)
from index_builder.store.locks import WriterLock, writer_lock
from index_builder.store.metadata import FORMAT, GalleryMetadata
from index_builder.store.places import GalleryPlace, on_disk, place_of, remove_folder
from index_builder.store.processor import check_processor
from index_builder.store.writer import GalleryWriter
from model.networks.network import CheckpointIdentity
from model.whole_file import remove_leftovers

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def open_writer(
    path: str | GalleryPlace,
    metadata: GalleryMetadata | None = None,
    *,
    before: PhotoFolders | None = None,
    wait_s: float = 0.0,
    moved: bool = False,
) -> Iterator[GalleryWriter]:
    """Write to a gallery, one writer at a time.

    Args:
        path: folder of the gallery.
        metadata: what it must be bound to; a gallery that does not exist is then made. None takes what is there.
        before: what the gallery remembered of its photos when `metadata` was made; None if there was no gallery.
        wait_s: seconds to wait for another writer.
        moved: accept that `metadata` lacks a folder of photos that the gallery remembers, or names one otherwise.

    Raises:
        GalleryNotFoundError: no gallery there, and no metadata to make one, or there was one a moment ago.
        FoldersChangedError: the gallery remembers something else than `before` by now.
        GalleryMismatchError: bound to another checkpoint or another folder.
        GalleryBusyError: another writer is at work.
        GalleryWriteError: the disk is full or not writable.
        GalleryAwayError: the object storage does not answer.
    """
    path = place_of(path)
    if (metadata is None or before is not None) and not has_pointer(path):
        Gallery.open(path)  # raises an error that says what is missing
        raise GalleryNotFoundError(f"there is no gallery at {path}")
    if (folder := on_disk(path)) is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GalleryWriteError(
                f"cannot make the folder {path}: {error.strerror}; choose another --gallery"
            ) from error
    with writer_lock(path, wait_s) as lock:
        if folder is not None:
            remove_leftovers(folder)
        if metadata is not None and before is None and not has_pointer(path):
            generation = create_generation(path, 1, metadata)
            lock.check()
            write_pointer(path, generation, replaces="nothing")
            lock.fenced()  # a dataset that was made just now is known to nobody else
            opened = Gallery.open(path)
        else:
            opened = Gallery.open(path)
            fence_earlier(opened, lock)
        writer = GalleryWriter(path, opened.generation, lock)
        bound = None if metadata is None else _bound(writer, metadata, before, moved=moved)
        # From now on, the release that made it must not write to it; and it has an identity.
        if opened.format < FORMAT or not opened.has_identity:
            write_pointer(path, opened.generation, replaces=opened.pointer)
        if bound is not None and bound.to_stored() != writer.metadata.folders.to_stored():
            writer.remember(bound)
        yield writer


class FoldersChangedError(GalleryError):
    """Another command has changed meanwhile which photos belong to the gallery: what was found out no longer holds."""


def starts_over(change: Callable[P, T]) -> Callable[P, T]:
    """A change of a gallery that begins again if another command changed meanwhile which photos belong to it."""

    @wraps(change)
    def until_it_holds(*arguments: P.args, **options: P.kwargs) -> T:
        while True:
            try:
                return change(*arguments, **options)
            except FoldersChangedError:
                continue

    return until_it_holds


def _bound(
    writer: GalleryWriter, metadata: GalleryMetadata, before: PhotoFolders | None, *, moved: bool
) -> PhotoFolders:
    """Which photos belong to the gallery from now on, if it is bound to `metadata`. Nothing is written."""
    if before is not None and writer.metadata.folders != before:
        raise FoldersChangedError
    writer.metadata.check(
        CheckpointIdentity(metadata.checkpoint, metadata.checkpoint_sha256), preprocess=metadata.preprocess
    )
    old, new = writer.metadata.folders, metadata.folders.over(writer.metadata.folders)
    if {one.path for one in old.folders} - {one.path for one in new.folders} and not moved:
        raise GalleryMismatchError(
            f"the gallery {writer.path} holds the photos of {old}, not of {new}; choose another --gallery, or add "
            "--moved if it is the same folder at a new place"
        )
    if not moved:
        check_names(writer.path, new, old)
    return new


def check_names(gallery: GalleryPlace, folders: PhotoFolders, remembered: PhotoFolders) -> None:
    """Refuse a folder under another name than before: every photo in it would get another path and other tags.

    Raises:
        GalleryMismatchError: naming the folder.
    """
    for was, now in folders.renamed(remembered):
        raise GalleryMismatchError(
            f"the gallery {gallery} knows the folder {now.path} as {was.name!r}, not as {now.name!r}; leave the name "
            "out, or run `sketchseek gallery sync` with --moved to rename it"
        )


def has_pointer(path: GalleryPlace) -> bool:
    """Whether there is a gallery at `path`, even a damaged one.

    Raises:
        GalleryAwayError: the object storage does not answer.
    """
    try:
        return (path / POINTER).is_file()
    except OSError as error:
        raise away(path, error) from error


def fence_earlier(opened: Gallery, lock: WriterLock) -> None:
    """Fence the current generation where the lock was taken over.

    An unfinished generation is fenced by whoever goes on in it.
    """
    if lock.taken_over:
        fence(opened.path, opened.generation)
        lock.fenced()


def fence(path: GalleryPlace, generation: int) -> None:
    """Keep an earlier writer, which may only have slept, from committing what it has begun.

    Lance lets appends of two writers follow each other. Nothing follows a commit that restores a version, if it was
    begun before that. A commit that came in between would be undone by it, so that one is restored then.
    """
    check_processor()
    place = dataset_path(path, generation)
    with lance_errors(f"cannot write to the gallery {path}", writing=True):
        import lance

        restored = latest_commit(place)
        while True:
            last = latest_commit(place)
            dataset = lance.dataset(str(place), version=restored)
            dataset.restore()  # type: ignore[no-untyped-call]
            if dataset.version == last + 1:
                return
            restored = dataset.version - 1


def create_generation(path: GalleryPlace, generation: int, metadata: GalleryMetadata) -> int:
    """Make an empty dataset of a generation, in place of what a killed attempt left.

    In a bucket, what lies there may belong to a writer that has taken over from this one. So it is left alone, and a
    later generation is made. Of two that make the same one, Lance lets one succeed.

    Returns:
        the generation that was made.
    """
    check_processor()
    with lance_errors(f"cannot write to the gallery {path}", writing=True):
        import lance

        if on_disk(path) is None:
            generation = max([generation, *(made + 1 for made in generations_in(path))])
        else:
            remove_folder(dataset_path(path, generation))
            ledger_path(path, generation).unlink(missing_ok=True)
        place = dataset_path(path, generation)
        lance.write_dataset(metadata.schema().empty_table(), str(place), mode="create")
        Ledger(ledger_path(path, generation)).record(place, latest_commit(place))
    return generation
