"""One writer at a time, to a gallery and to its recall cache.

On disk, these are locks that the system releases when their holder dies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from index_builder.gallery_errors import GalleryBusyError, GalleryWriteError
from index_builder.object_storage.bucket_path import BucketPath
from index_builder.store.bucket_lock import bucket_lock
from index_builder.store.places import GalleryPlace

LOCK_NAME = "writer.lock"
CACHE_LOCK_NAME = "recall.lock"


@dataclass(frozen=True)
class WriterLock:
    """The lock of a gallery while it is held.

    Attributes:
        check: raises GalleryBusyError if it is held no more, which happens in a bucket alone.
        taken_over: whether an earlier holder may believe that it holds it still.
        fenced: says that no earlier holder can commit any more. Until then, the next holder takes over as well.
    """

    check: Callable[[], None] = lambda: None
    taken_over: bool = False
    fenced: Callable[[], None] = lambda: None


@contextmanager
def writer_lock(gallery: GalleryPlace, wait_s: float = 0.0) -> Iterator[WriterLock]:
    """Hold the gallery's writer lock; readers need none.

    Args:
        gallery: folder of the gallery, which must exist if it is on disk.
        wait_s: seconds to wait for another writer; 0 gives up at once, infinity waits for as long as it takes.

    Raises:
        GalleryBusyError: another writer, in this process or any other, still held it after `wait_s`.
        GalleryWriteError: the lock file cannot be made.
    """
    if isinstance(gallery, BucketPath):
        with bucket_lock(gallery / LOCK_NAME, wait_s) as held:
            yield WriterLock(held.check, held.taken_over, held.fenced)
        return
    lock = _lock(gallery / LOCK_NAME)
    try:
        lock.acquire(wait_s)
    except TimeoutError as error:
        raise GalleryBusyError(
            f"another command is writing to the gallery {gallery}; try again when it is done, or wait with --wait"
        ) from error
    except OSError as error:
        raise GalleryWriteError(
            f"cannot write to the gallery {gallery}: {error.strerror}; check its permissions and the disk"
        ) from error
    try:
        yield WriterLock()
    finally:
        lock.release()


@contextmanager
def cache_lock(gallery: Path, wait_s: float = 0.0) -> Iterator[bool]:
    """Hold the lock of the gallery's recall cache.

    Yields:
        whether nobody else can be storing an index now, so that files without a note are leftovers of killed writers.
        Where nothing can be locked, everybody goes on and gets False.

    Raises:
        TimeoutError: another holder, in this process or any other, still had it after `wait_s`.
    """
    lock = _lock(gallery / CACHE_LOCK_NAME)
    try:
        lock.acquire(wait_s)
    except TimeoutError:
        raise
    except OSError:
        pass
    try:
        yield lock.is_locked
    finally:
        lock.release()


def _lock(path: Path) -> FileLock:
    # Without `fallback_to_soft`, a file system that cannot lock is an error, not a lock that outlives its holder.
    return FileLock(path, thread_local=False, fallback_to_soft=False)
