"""One writer at a time: a lock on a file that the system releases by itself when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from index_builder.errors import GalleryBusyError, GalleryWriteError

LOCK_NAME = "writer.lock"
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
        os.close(handle)  # releases the lock as well
