"""What the gallery knows of one photo, and how its id, its path and its tags are written down."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

ID_BYTES = 16
NO_DATE = -(2**63)
"""In place of a date taken: the file was looked at, and says none."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CAMERAS_EPOCH = _EPOCH.replace(tzinfo=None)
_ID = re.compile("[a-z2-7]{26}")  # 16 bytes in base 32 without padding


@dataclass(frozen=True)
class PhotoFile:
    """A photo's file as it was read: what its row in the gallery is made of.

    Attributes:
        raw_path: as the gallery writes it, see `index_builder.photo_folders`.
        content_hash: SHA-256 of the file.
        size: in bytes.
        modified_ns, read_ns: when the file was modified, and when it was read.
        width, height: of the photo in pixels, upright.
        incomplete: the file ends early, so a part of the picture may be missing.
        taken_ns: the date taken that the file says, in nanoseconds since 1970 by the camera's clock; or `NO_DATE`.
    """

    raw_path: bytes
    content_hash: bytes
    size: int
    modified_ns: int
    read_ns: int
    width: int
    height: int
    incomplete: bool = field(default=False, kw_only=True)
    taken_ns: int = field(default=NO_DATE, kw_only=True)


class PhotoRecord(NamedTuple):
    """One photo of a gallery. What is seldom asked for is made when it is: a search makes twenty records.

    Attributes:
        photo_id: opaque, safe in a URL; stands for one content, and stays when the file moves.
        raw_path: below the photos' folder, as the file system names it; `PhotoFolders.absolute` opens the file.
        tags: the folders of the path, outermost first, in composed Unicode.
        width, height: in pixels, after the photo is turned upright.
        digest: SHA-256 of the file.
        size: of the file, in bytes.
        modified_ns, added_ns, taken_ns: `modified`, `added` and `taken` in nanoseconds since 1970.
    """

    photo_id: str
    raw_path: bytes
    tags: tuple[str, ...]
    width: int
    height: int
    digest: bytes
    size: int
    modified_ns: int
    added_ns: int
    taken_ns: int

    @property
    def path(self) -> str:
        """The path as text for people and JSON; bytes that are not UTF-8 are shown as `\\xff`."""
        return shown_path(self.raw_path)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return self.digest.hex()

    @property
    def modified(self) -> datetime:
        """The file's modification time when it was read."""
        return from_ns(self.modified_ns)

    @property
    def added(self) -> datetime:
        """When its row was committed."""
        return from_ns(self.added_ns)

    @property
    def taken(self) -> datetime:
        """When the photo was taken, by the camera's clock and without a zone; `modified` in UTC where the file says
        nothing."""
        return _CAMERAS_EPOCH + timedelta(microseconds=self.taken_ns // 1000)


def photo_id(raw_path: bytes, content_hash: bytes, taken: Callable[[str], bool] | None = None) -> str:
    """An id for a new photo: 26 lower-case letters and digits. A photo keeps it when its file moves.

    Args:
        raw_path: where its file lies, relative to the root.
        content_hash: SHA-256 of the file.
        taken: whether another photo has this id. One has if it once lay at this path with this content, and moved.

    Returns:
        a function of path and content alone, or the next id that follows from them and is not taken.
    """
    for attempt in itertools.count():
        again = attempt.to_bytes(4, "big") if attempt else b""
        digest = hashlib.blake2b(raw_path + b"\0" + content_hash + again, digest_size=ID_BYTES).digest()
        name = base64.b32encode(digest).decode("ascii").rstrip("=").lower()
        if taken is None or not taken(name):
            return name
    raise AssertionError("unreachable")


def is_photo_id(text: str) -> bool:
    """Whether a text looks as an id does."""
    return _ID.fullmatch(text) is not None


def shown_path(raw_path: bytes) -> str:
    """A path as valid text: bytes that are not UTF-8 become `\\xff`, and nothing else changes."""
    return raw_path.decode("utf-8", errors="backslashreplace")


def composed(text: str) -> str:
    """Text in composed Unicode (NFC), the form that names are compared in: a Mac writes the same word decomposed."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def tags_of(raw_path: bytes) -> list[str]:
    """The folders of a path that contain a photo, outermost first, each once, in composed Unicode."""
    return composed_tags(shown_path(part) for part in raw_path.split(b"/")[:-1])


def composed_tags(tags: Iterable[str]) -> list[str]:
    """Tags in composed Unicode, each once; galleries of older versions hold them as the file system wrote them."""
    return list(dict.fromkeys(map(composed, tags)))


def from_ns(nanoseconds: int) -> datetime:
    """A time in nanoseconds since 1970 as a datetime in UTC, rounded down, so that no day becomes the next one."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
