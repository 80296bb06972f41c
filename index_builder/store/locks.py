"""One writer at a time, and who is storing search indices: locks that the system releases when their holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from index_builder.gallery_errors import GalleryBusyError, GalleryWriteError

LOCK_NAME = "writer.lock"
STORING_NAME = "recall.lock"  # a file: network file systems lock no folders between machines
_POLL_S = 0.05


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
    try:
        handle = os.open(gallery / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise GalleryWriteError(
            f"cannot write to the gallery {gallery}: {error.strerror}; check its permissions and the disk"
        ) from error
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            if time.monotonic() >= deadline:
                raise GalleryBusyError(
                    f"another command is writing to the gallery {gallery}; try again when it is done, or "
                    "wait with --wait"
                )
            time.sleep(_POLL_S)
        yield
    finally:
        _flocked(handle, fcntl.LOCK_UN)  # a process that was forked meanwhile would keep the lock beyond the next line
        os.close(handle)


@contextmanager
def storing(gallery: Path) -> Iterator[Callable[[], bool]]:
    """Let others know, for as long as this lasts, that files in the recall cache may be about to get their note.

    Gives what tells, at the end, whether nobody else is storing: then files without one are leftovers of killed
    writers, whose locks died with them. Of several who end together one finds itself alone, for asking gives up one's
    own share. Where nothing can be locked, everybody goes on, and nobody is ever known to be alone.
    """
    try:
        handle = os.open(gallery / STORING_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        yield lambda: False
        return

    def alone() -> bool:
        return held and _flocked(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    held = _flocked(handle, fcntl.LOCK_SH)
    try:
        yield alone
    finally:
        _flocked(handle, fcntl.LOCK_UN)  # a process that was forked meanwhile would keep the lock beyond the next line
        os.close(handle)


def _flocked(handle: int, operation: int) -> bool:
    try:
        fcntl.flock(handle, operation)
    except OSError:
        return False
    return True
