"""Which files may become photos: by their names, and where these do not tell, by a look at the file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from index_builder.file_times import modified_ns
from index_builder.photo_files.bucket import Bucket
from index_builder.photo_files.file_status import FileStatus
from index_builder.photo_record import shown_path
from index_builder.scanning.passed_over import Kind, Report, Skipped
from model.images.formats.endings import ENDINGS, ImageFormat, missing_extra
from model.images.formats.signatures import HEAD_BYTES, format_at, format_of, is_picture

NOT_A_PHOTO = "not a photo, by its name's ending"
A_FOLDERS_MARK = "an empty object that stands for a folder"
_ENDINGS = frozenset(map(str.encode, ENDINGS))


@dataclass(frozen=True)
class FoundFile:
    """A file that looks like a photo.

    Attributes:
        raw_path: as the file system names it, see `index_builder.photo_folders`.
        size: bytes.
        modified_ns: modification time in nanoseconds since 1970.
    """

    raw_path: bytes
    size: int
    modified_ns: int


@cache  # of the endings of photos alone
def _needed_extra(ending: bytes) -> str | None:
    return missing_extra(os.fsdecode(ending))


def ending_of(raw_path: bytes) -> bytes:
    """The ending of a file's name in lower case, with its dot; b"" for a name without one or all ending."""
    name = raw_path.rpartition(b"/")[2]
    dot = name.rfind(b".")
    return name[dot:].lower() if dot > 0 else b""


def may_be_photo(raw_path: bytes, place: bytes) -> bool:
    """Whether the file at `place` may become a photo, or may have been one: a name without an ending does not tell."""
    ending = ending_of(raw_path)
    return ending in _ENDINGS or (not ending and (not os.path.lexists(place) or is_picture(place)))


def judge_file(place: bytes, raw_path: bytes, skipped: Report) -> FoundFile | None:
    """The file if it may become a photo, or None after reporting why not. No pipe is opened, which would block."""
    ending = ending_of(raw_path)
    reason, kind, unknown = "", Kind.FAULT, False
    if ending and ending not in _ENDINGS:  # without a look at the file: there may be a sidecar for every photo
        skipped(Skipped(shown_path(raw_path), NOT_A_PHOTO, Kind.NO_PHOTO))
        return None
    try:
        status = os.stat(place)  # noqa: PTH116 - bytes
    except FileNotFoundError:
        # One that was listed a moment ago and is gone may have gone with its share: the next look decides.
        unknown = not os.path.islink(place)  # noqa: PTH114 - bytes
        reason = "unreadable file: it vanished while its folder was read" if unknown else "a link that leads nowhere"
    except OSError as error:
        reason, unknown = f"unreadable file: {error.strerror}", True
    else:
        if not stat.S_ISREG(status.st_mode):
            reason = "not a regular file"
        elif (needed := _needed_extra(ending)) is not None:
            reason, unknown = needed, True  # whoever installed anew without an extra did not delete photos
        elif not ending and (why := _why_no_picture(lambda: format_at(place))) is not None:
            reason, kind, unknown = why
        elif status.st_size == 0:
            reason = "empty file"
        else:
            return FoundFile(raw_path, status.st_size, modified_ns(status))
    skipped(Skipped(shown_path(raw_path), reason, kind, unknown))
    return None


def judge_object(raw_path: bytes, status: FileStatus, bucket: Bucket, name: bytes, skipped: Report) -> FoundFile | None:
    """As `judge_file`, of an object that was listed.

    Args:
        raw_path, status: of the object.
        bucket, name: where it lies: a name without an ending takes a look at its first bytes.
        skipped: called if it is passed over.
    """
    ending = ending_of(raw_path)
    why: tuple[str, Kind, bool] | None = None
    if ending and ending not in _ENDINGS:
        why = NOT_A_PHOTO, Kind.NO_PHOTO, False
    elif (needed := _needed_extra(ending)) is not None:
        why = needed, Kind.FAULT, True
    elif status.size == 0:
        why = ("empty file", Kind.FAULT, False) if ending else (A_FOLDERS_MARK, Kind.RULE, False)
    elif not ending:
        why = _why_no_picture(lambda: format_of(bucket.head(name, HEAD_BYTES)))
    if why is None:
        return FoundFile(raw_path, status.size, status.modified_ns)
    skipped(Skipped(shown_path(raw_path), *why))
    return None


def _why_no_picture(look: Callable[[], ImageFormat | None]) -> tuple[str, Kind, bool] | None:
    """Why a file without an ending is no photo, by its first bytes: as a `Skipped` says it, or None if it is one."""
    try:
        found = look()
    except OSError as error:
        return f"unreadable file: {error.strerror}", Kind.FAULT, True
    if found is None:
        return NOT_A_PHOTO, Kind.NO_PHOTO, False
    needed = missing_extra(found.endings[0])
    return None if needed is None else (needed, Kind.FAULT, True)
