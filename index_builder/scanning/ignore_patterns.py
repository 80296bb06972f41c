"""Patterns in the syntax of .gitignore: read with bounds, and matched against one file or folder at a time.

`pathspec` turns a pattern into a regular expression. A folder is judged before what is in it, so a pattern is asked
about the entry itself alone, never about the folders above it.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from index_builder.photo_files.bucket import Bucket
from index_builder.photo_record import composed

IGNORE_FILE = ".sketchseekignore"
MOST_BYTES = 65_536
MOST_PATTERNS = 1000
MOST_CHARACTERS = 1000
MOST_WILDCARDS = 3
"""Of one part of a pattern, and twice as many of the whole: time to match a long name grows with their power."""


class IgnoreFileError(OSError):
    """An ignore file is there and cannot be read at the moment: its folder is unknown until it can."""


_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_NO_FILE = (errno.EISDIR, errno.ENXIO, errno.ENODEV)  # folders, sockets, devices


@dataclass(frozen=True)
class Decision:
    """What the last pattern that matches says.

    Attributes:
        excluded: False if the pattern begins with `!`.
        pattern: as it was written.
    """

    excluded: bool
    pattern: str


class Patterns:
    """Patterns that hold in one folder and below it; the last that matches decides.

    Args:
        lines: of a file, or given by a user.
        base: the folder, relative to the photos' folder; b"" for that folder itself.

    Attributes:
        problems: a phrase for every line that is no pattern; such a line matches nothing.
    """

    def __init__(self, lines: Iterable[str], base: bytes = b"") -> None:
        self._base = len(base) + 1 if base else 0
        self._patterns: list[tuple[GitIgnoreSpecPattern, str]] = []
        self.problems: list[str] = []
        for number, line in enumerate(lines, 1):
            if len(self._patterns) >= MOST_PATTERNS:
                self.problems.append(f"line {number}: more than {MOST_PATTERNS} patterns")
                break
            try:
                pattern = _compiled(line)
            except ValueError as error:
                self.problems.append(f"line {number}: {error}")
                continue
            if pattern.include is not None:
                self._patterns.append((pattern, line.strip()))
        self._patterns.reverse()

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def decide(self, path: bytes, *, is_folder: bool) -> Decision | None:
        """What these patterns say of an entry below their folder, or None.

        Args:
            path: relative to the photos' folder.
            is_folder: of the entry, links followed.
        """
        text = _text(path[self._base :]) + ("/" if is_folder else "")
        for pattern, written in self._patterns:
            assert pattern.regex is not None  # noqa: S101 - `include` would be None
            found = pattern.regex.search(text)
            if found is not None and _is_whole(found, text, is_folder=is_folder):
                return Decision(bool(pattern.include), written)
        return None


def read_ignore_file(folder: bytes, base: bytes) -> tuple[Patterns | None, str | None]:
    """The patterns of a folder's ignore file, and what is wrong with it.

    Args:
        folder: absolute path of the folder.
        base: the same, relative to the photos' folder.

    Returns:
        None for a file that is missing or cannot be used. The phrase is None if nothing is wrong.

    Raises:
        IgnoreFileError: it cannot be read at the moment. Without it nobody knows what the folder shows.
    """
    try:
        data = _read(os.path.join(folder, IGNORE_FILE.encode()))  # noqa: PTH118 - bytes
    except OSError as error:
        if error.errno in _MISSING:
            return None, None
        what = "is a link" if error.errno == errno.ELOOP else "is no regular file"
        if error.errno not in (errno.ELOOP, *_NO_FILE):
            raise IgnoreFileError(error.errno, error.strerror) from error
        return None, f"an ignore file that {what}"
    if data is None:
        return None, "an ignore file that is no regular file"
    return _patterns_in(data, base)


def read_ignore_object(bucket: Bucket, name: bytes, base: bytes) -> tuple[Patterns | None, str | None]:
    """As `read_ignore_file`, of an object in a bucket.

    Args:
        bucket, name: where it lies.
        base: its folder, relative to the photos' folder.

    Raises:
        IgnoreFileError: it cannot be read at the moment.
    """
    try:
        with bucket.open(name) as file:
            return _patterns_in(file.read(MOST_BYTES + 1), base)
    except FileNotFoundError:
        return None, None
    except OSError as error:
        raise IgnoreFileError(error.errno, error.strerror) from error


def _patterns_in(data: bytes, base: bytes) -> tuple[Patterns | None, str | None]:
    if len(data) > MOST_BYTES:
        return None, f"an ignore file of more than {MOST_BYTES} bytes"
    text = _decoded(data)
    if text is None:
        return None, "an ignore file that is no text"
    patterns = Patterns(text.split("\n"), base)
    return patterns, f"an ignore file with mistakes: {patterns.problems[0]}" if patterns.problems else None


def _compiled(line: str) -> GitIgnoreSpecPattern:
    """The pattern of a line, in composed Unicode.

    Raises:
        ValueError: it is no pattern, or one that would take too long.
    """
    line = composed(line.rstrip("\r"))
    if len(line) > MOST_CHARACTERS:
        raise ValueError(f"longer than {MOST_CHARACTERS} characters")
    # Several stars in a row mean one, unless they are a whole part.
    parts = [part if part == "**" else _STARS.sub("*", part) for part in line.split("/")]
    wildcards = [_count(part) for part in parts]
    if max(wildcards) > MOST_WILDCARDS or sum(wildcards) > 2 * MOST_WILDCARDS:
        raise ValueError(f"too many `*`; {MOST_WILDCARDS} of one part and {2 * MOST_WILDCARDS} of all are allowed")
    try:
        return GitIgnoreSpecPattern("/".join(parts))
    except (ValueError, re.error):
        raise ValueError(f"`{line}` is no pattern") from None


def _count(part: str) -> int:
    return 1 if part == "**" else len(_STARS.findall(part))


def _is_whole(found: re.Match[str], text: str, *, is_folder: bool) -> bool:
    """Whether a match is of the entry itself: not of a folder above it, nor of what would lie in it."""
    if found.groupdict().get("ps_d") is not None:
        return found.end("ps_d") == len(text)
    return not (is_folder and found.end() == len(text))


def _text(path: bytes) -> str:
    """A path as patterns see it: bytes that are not UTF-8 as surrogates, and newlines too, because `$` is odd there."""
    text = path.decode("utf-8", errors="surrogateescape")
    return text if text.isascii() and "\n" not in text else composed(text).replace("\n", "\udc0a")


def _read(place: bytes) -> bytes | None:
    """One byte more than allowed shows that it is too long; None if it is no regular file."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    with open(os.open(place, flags), "rb", buffering=0) as file:  # noqa: PTH123 - a pipe must not block
        return file.read(MOST_BYTES + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None


def _decoded(data: bytes) -> str | None:
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
    except UnicodeDecodeError:
        return None
    return None if b"\0" in data else data.decode("utf-8-sig", errors="surrogateescape")


_STARS = re.compile(r"(?<!\\)\*+")
