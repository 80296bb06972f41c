"""A ZIP archive that is made while it is sent: no more than one piece of one file is in memory."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Generator
from datetime import datetime
from pathlib import PurePosixPath
from typing import IO, BinaryIO, cast
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from app.service.files.photo_files import chunks_of, size_of

_READABLE = 0o644 << 16
_FIRST, _LAST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)  # what the format can say
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')  # on Windows; the slashes everywhere
_LONGEST = 150  # characters of a stem, since some systems bound the whole path
_LONGEST_ENDING = 10
_MOST_BYTES = 255  # of a name, which is what file systems take
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})


class _Pieces:
    """Where the archive is written to: it keeps what was not taken yet, and cannot go back."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


class ZipPieces:
    """The archive. Nothing is compressed, since pictures are already.

    Files are still written in the format of compressed ones: it says where each ends, which is not known in advance.
    Some programs, such as those in Java, refuse stored files of that kind.
    """

    def __init__(self) -> None:
        self._out = _Pieces()
        self._zip = ZipFile(cast("IO[bytes]", self._out), "w")

    def file(self, name: str, file: BinaryIO, modified: datetime) -> Generator[bytes, None, None]:
        """The pieces of one file, which is read piece by piece and closed at the end. Whoever stops before closes this.

        Args:
            name: inside the archive; see `Names`.
            file: opened for reading.
            modified: its time in the archive, which has no zones.
        """
        entry = _entry(name, modified)
        entry.file_size = size_of(file)  # larger than 4 GB it needs another kind of entry
        with self._zip.open(entry, "w") as opened:
            for chunk in chunks_of(file):
                opened.write(chunk)
                yield self._out.take()
        yield self._out.take()

    def text(self, name: str, text: str, modified: datetime) -> bytes:
        """A file with a text."""
        self._zip.writestr(_entry(name, modified), text)
        return self._out.take()

    def end(self) -> bytes:
        """The list of what is inside, without which no archive opens."""
        self._zip.close()
        return self._out.take()


class Names:
    """Names inside one archive: safe and short enough on every system, and each only once, whatever its case."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, path: str) -> str:
        """A name for the photo of this path: its last part, with a number if another photo has that name already.

        Args:
            path: of a photo, as text.
        """
        last = unicodedata.normalize("NFC", PurePosixPath(path).name)
        plain = "".join(one if one.isprintable() and not _FORBIDDEN.match(one) else "_" for one in last)
        stem, dot, ending = plain.strip(". ").rpartition(".")
        if not dot:
            stem, ending = ending, ""
        stem, ending = stem[:_LONGEST].rstrip(". "), f".{ending[:_LONGEST_ENDING]}".rstrip(". ")
        if stem.partition(".")[0].lower() in _DEVICES | {""}:
            stem = f"photo {stem}".rstrip()
        name, number = _joined(stem, ending), 1
        while name.casefold() in self._taken:
            number += 1
            name = _joined(stem, f" ({number}){ending}")
        self._taken.add(name.casefold())
        return name


def _joined(stem: str, ending: str) -> str:
    """Both as one name, of whose stem as much is kept as there is room for."""
    room = _MOST_BYTES - len(ending.encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(". ") + ending


def _entry(name: str, modified: datetime) -> ZipInfo:
    entry = ZipInfo(name, _time(modified))
    entry.external_attr = _READABLE
    entry.compress_type = ZIP_DEFLATED
    entry._compresslevel = 0  # type: ignore[attr-defined]  # it has a public name from Python 3.13 on
    return entry


def _time(moment: datetime) -> tuple[int, int, int, int, int, int]:
    return min(max(moment.timetuple()[:6], _FIRST), _LAST)
