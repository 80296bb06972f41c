"""One writer at a time, to a gallery and to its recall cache: locks that the system releases when their holder dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from index_builder.gallery_errors import GalleryBusyError, GalleryWriteError

LOCK_NAME = "writer.lock"
CACHE_LOCK_NAME = "recall.lock"


@contextmanager
def writer_lock(gallery: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the gallery's writer lock; readers need none.

    Args:
        gallery: folder of the gallery, which must exist.
        wait_s: seconds to wait for another writer; 0 gives up at once, infinity waits for as long as it takes.

    Raises:
        GalleryBusyError: another writer, in this process or any other, still held it after `wait_s`.
        GalleryWriteError: the lock file cannot be made.
    """
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
        yield
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
