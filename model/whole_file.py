"""Files that appear whole or not at all, even if the process is killed or the power fails while they are written.

A file is written under a temporary name beside its target, forced to disk and renamed; then the folder is forced to
disk as well, because the rename is recorded there.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIX = ".tmp"
_TEMPORARY = re.compile(rf"\..+\.[0-9a-f]{{8}}{re.escape(SUFFIX)}")
_SHOWN = 48  # characters of the target's name in the temporary one, which must not become too long


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Replace `path` by what the body writes.

    Yields:
        the temporary file to write to. It is empty, and hidden, so that no scan of the folder takes it for a photo.

    Raises:
        OSError: the file cannot be written or renamed; `path` is as it was before, and the temporary file is gone.
    """
    temporary = path.with_name(f".{path.name[:_SHOWN]}.{secrets.token_hex(4)}{SUFFIX}")
    try:
        temporary.touch(exist_ok=False)
        mode = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        if stat.S_IMODE(temporary.stat().st_mode) != mode:
            temporary.chmod(mode)  # safetensors lets nobody but the owner read its files
        force_to_disk(temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    force_to_disk(path.parent)


def write_whole(path: Path, content: bytes | str) -> None:
    """Replace a file by this content; text becomes UTF-8.

    Raises:
        OSError: as of `whole_file`.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def leftovers(folder: Path) -> list[Path]:
    """Temporary files in a folder: those of killed writers, and those being written now."""
    return [path for path in sorted(folder.glob(f"*{SUFFIX}")) if _TEMPORARY.fullmatch(path.name)]


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed writers. Call it only where nobody else is writing to the folder."""
    for path in leftovers(folder):
        path.unlink(missing_ok=True)


def force_to_disk(path: Path) -> None:
    """Force a file's content, or a folder's entries, to disk. Raises OSError where that fails."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
