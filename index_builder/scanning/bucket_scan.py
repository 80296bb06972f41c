"""A folder of photos in a bucket -> its files, streamed, and what was passed over: what a walk gives for a disk.

A bucket has no folders, only names, which come in one list. The list is spooled to an unnamed temporary file first: an
ignore file may come behind names that it decides about. So nothing is said of a bucket whose list breaks off midway.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator

from index_builder.photo_files.bucket import Bucket
from index_builder.photo_files.file_status import FileStatus
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_places import BucketFolder
from index_builder.photo_record import shown_path
from index_builder.scanning.exclusions import Exclusions, FolderRules, is_ignore_file
from index_builder.scanning.found_files import FoundFile, judge_object
from index_builder.scanning.passed_over import AN_IGNORE_FILE, Kind, Report, Skipped

_HEADER = struct.Struct("<IQq")


def scan_bucket(photos: PhotoFolders, raw_path: bytes, skipped: Report) -> Iterator[FoundFile]:
    """The files below a path that lies in a bucket.

    Args:
        photos: the folders of the gallery.
        raw_path: of a folder or an object, as the gallery writes it.
        skipped: called for everything that is passed over.
    """
    folder, below = photos.folder_of(raw_path)
    assert isinstance(folder.path, BucketFolder)  # noqa: S101 - the caller chose this function by it
    bucket = Bucket(folder.path)
    before = os.fsencode(folder.name) + b"/" if folder.name else b""
    with tempfile.TemporaryFile() as spool:
        ignore_files = set[bytes]()
        try:
            for name, status in _objects(bucket, below):
                path = before + name
                if is_ignore_file(path):
                    ignore_files.add(path)
                spool.write(_HEADER.pack(len(path), status.size, status.modified_ns) + path)
        except OSError as error:
            skipped(Skipped(shown_path(raw_path), f"unreadable folder: {error.strerror}", unknown=True))
            return
        spool.seek(0)
        # Of a part, the ignore files around it are not listed, so each is asked for.
        exclusions = Exclusions(photos, None if below else frozenset(ignore_files))
        judge = _Judge(exclusions, os.fsencode(folder.name), skipped)
        while header := spool.read(_HEADER.size):
            length, size, modified = _HEADER.unpack(header)
            path = spool.read(length)
            if judge.lets_in(path):
                head = (bucket, path[len(before) :])
                if (found := judge_object(path, FileStatus(size, modified), *head, skipped)) is not None:
                    yield found


def _objects(bucket: Bucket, below: bytes) -> Iterator[tuple[bytes, FileStatus]]:
    """The object of this path, or those below it."""
    if below:
        try:
            yield below, bucket.status(below)
        except FileNotFoundError:
            yield from bucket.objects(below)
    else:
        yield from bucket.objects()


class _Judge:
    """Tells by rule which paths are left out. A folder that is left out is reported once, as a walk would."""

    def __init__(self, exclusions: Exclusions, start: bytes, skipped: Report) -> None:
        self._exclusions, self._start, self._skipped = exclusions, start, skipped
        self._folder: bytes | None = None
        self._rules: FolderRules | None = None
        self._closed: bytes | None = None

    def lets_in(self, path: bytes) -> bool:
        """Whether no rule is against this path; otherwise it is reported."""
        folder, _, name = path.rpartition(b"/")
        if self._closed is not None and _is_below(folder, self._closed):
            return False
        if folder != self._folder:
            self._enter(folder)
        if self._rules is None:
            return False
        if is_ignore_file(path):
            problem = self._exclusions.problem_in(folder)
            self._pass_over(path, problem or AN_IGNORE_FILE, Kind.FAULT if problem else Kind.RULE)
            return False
        if (reason := self._rules.for_file(path, name)) is not None:
            self._pass_over(path, reason, Kind.RULE)
            return False
        return True

    def _enter(self, folder: bytes) -> None:
        """Take the rules of a folder; they come by name, so it is one after the other."""
        self._folder, self._rules, inside = folder, None, None
        for above in _from_outside(self._start, folder):
            try:
                rules = self._exclusions.rules_of(above)
            except OSError as error:
                self._closed = above
                text = f"unreadable folder: its ignore file: {error.strerror}"
                self._skipped(Skipped(shown_path(above), text, unknown=True))
                return
            if isinstance(rules, str):
                self._closed = above
                self._pass_over(above, rules, Kind.RULE)
                return
            inside = rules
        self._rules = inside

    def _pass_over(self, path: bytes, reason: str, kind: Kind) -> None:
        self._skipped(Skipped(shown_path(path), reason, kind))


def _is_below(folder: bytes, other: bytes) -> bool:
    return not other or (folder + b"/").startswith(other + b"/")


def _from_outside(start: bytes, folder: bytes) -> Iterator[bytes]:
    """A folder that the listing starts at, and those below it that a folder lies in, itself at the end."""
    yield start
    end = len(start)
    while end < len(folder):
        end = folder.find(b"/", end + 1)
        end = len(folder) if end < 0 else end
        yield folder[:end]
