"""A folder of photos -> its files, streamed, and what was passed over, with the reason for each.

Every entry of every folder that is entered is either a file that may become a photo, or a folder to enter, or passed
over exactly once. So files found and passed over add up to what is there; a folder that is not entered counts as one.

Only the folders already seen are kept, and the names in the folder being read, so memory does not grow with the number
of photos. Every real folder is walked once, even if symbolic links lead to it again or in circles.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from index_builder.gallery_errors import GalleryError
from index_builder.photo_files.bucket import Bucket
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_places import BucketFolder, Place
from index_builder.photo_record import shown_path
from index_builder.scanning.bucket_scan import scan_bucket
from index_builder.scanning.exclusions import IGNORE_FILE_NAME, Exclusions, FolderRules
from index_builder.scanning.found_files import FoundFile, judge_file
from index_builder.scanning.ignore_patterns import IgnoreFileError
from index_builder.scanning.passed_over import AN_IGNORE_FILE, Kind, Report, Skipped
from index_builder.scanning.walking import Identity, Waiting, identity_of, is_folder, is_link

LINKED_TWICE = "a link to a folder that is already part of the gallery"
LEAVES_ROOT = "a link that leaves the folder of photos; --follow-links-to names the folders that links may lead to"
THE_GALLERY = "the gallery itself"
AWAY = "a folder that is not the one that the gallery knows"


def scan_folders(
    folders: PhotoFolders,
    skipped: Report,
    *,
    below: bytes = b"",
    deep: bool = True,
    leave_out: Path | None = None,
    away: Collection[Place] = (),
    listed: Listing | None = None,
) -> Iterator[FoundFile]:
    """Every file below the photos' folders that looks like a photo.

    Args:
        folders: where to look.
        skipped: called for everything that is passed over.
        below: only this file or folder, as the gallery writes it; b"" takes everything.
        deep: also what lies in folders inside; a bucket is always listed to the end.
        leave_out: a folder that is never entered (the gallery, when it lies inside the photos).
        away: folders that are not entered, because they are not there or not the ones meant.
        listed: told of every folder that is listed.

    Raises:
        GalleryError: a folder is none, or cannot be read at all.
    """
    starts = [below] if below else [os.fsencode(one.name) for one in folders.folders if one.path not in away]
    for start in starts:
        _check_start(folders, start)
    closed = {identity_of(place): AWAY for place in away if isinstance(place, Path)}
    if leave_out is not None:
        closed[identity_of(leave_out)] = THE_GALLERY
    walk = _Walk(folders, skipped, closed, listed)
    for start in starts:
        if isinstance(folders.folder_of(start)[0].path, BucketFolder):
            yield from scan_bucket(folders, start, skipped)
        else:
            yield from walk.start(start, deep=deep)
    if deep:
        yield from walk.follow_links()


def _check_start(folders: PhotoFolders, raw_path: bytes) -> None:
    """Raises GalleryError where a folder or file that was named cannot be read."""
    start, place = folders.absolute(raw_path), folders.folder_of(raw_path)[0].path
    try:
        if isinstance(place, BucketFolder):
            Bucket(place).check(folders.folder_of(raw_path)[1])
            return
        status = os.stat(start)  # noqa: PTH116 - bytes
        if stat.S_ISDIR(status.st_mode):
            os.scandir(start).close()
    except OSError as error:
        raise GalleryError(f"cannot read {shown_path(start)}: {error.strerror}; check the path") from error
    if not stat.S_ISDIR(status.st_mode) and raw_path in [os.fsencode(one.name) for one in folders.folders]:
        raise GalleryError(f"{shown_path(start)} is no folder; name the folder that holds the photos")


@dataclass(frozen=True)
class _Folder:
    """A folder to enter, and the rules that hold around it (None where the walk starts)."""

    raw_path: bytes
    around: FolderRules | None


class Listing(Protocol):
    """Is told of every folder before it is listed, with its status."""

    def note(self, raw_path: bytes, status: os.stat_result) -> None:
        """A folder is about to be listed."""


class _Walk:
    """One walk over folders of photos."""

    def __init__(
        self,
        photos: PhotoFolders,
        skipped: Report,
        closed: Mapping[Identity | None, str],
        listed: Listing | None,
    ) -> None:
        self._photos, self._skipped, self._closed, self._told = photos, skipped, closed, listed
        self._exclusions = Exclusions(photos)
        self._seen: set[Identity] = set()
        self._waiting = Waiting[_Folder]()

    def start(self, raw_path: bytes, *, deep: bool = True) -> Iterator[FoundFile]:
        """The files of a folder that holds photos, or of a file or folder inside one."""
        place = self._photos.absolute(raw_path)
        folder_here = os.path.isdir(place)  # noqa: PTH112 - bytes
        try:
            reason = self._exclusions.reason(raw_path, is_folder=folder_here)
            around = self._exclusions.around(raw_path) if folder_here else None
        except OSError as error:
            self._unreadable(raw_path, error)
            return
        if reason is not None:
            self._exclude(raw_path, reason)
        elif not folder_here:
            if (found := judge_file(place, raw_path, self._skipped)) is not None:
                yield found
        else:
            self._waiting.add(raw_path, _Folder(raw_path, around))
            for folder in self._waiting.real():
                yield from self._enter(folder, self._waiting if deep else Waiting())

    def follow_links(self) -> Iterator[FoundFile]:
        """The files of linked folders. They come last, so that a photo gets its real path if it has one here."""
        for folder in self._waiting.all():
            yield from self._enter(folder, self._waiting)

    def _enter(self, folder: _Folder, waiting: Waiting[_Folder]) -> Iterator[FoundFile]:
        """The files of one folder; folders in it are added to those that wait."""
        place = self._photos.absolute(folder.raw_path)
        try:
            status = os.stat(place)  # noqa: PTH116 - bytes
            identity = (status.st_dev, status.st_ino)
            if identity in self._closed or (identity in self._seen and status.st_ino):  # some shares number nothing
                self._exclude(folder.raw_path, self._closed.get(identity, LINKED_TWICE))
                return
            self._seen.add(identity)
            if self._told is not None:
                self._told.note(folder.raw_path, status)
            rules, problem = self._exclusions.entered(folder.raw_path, folder.around)
            entries = os.scandir(place)
        except OSError as error:
            self._unreadable(folder.raw_path, error)
            return
        before = folder.raw_path + b"/" if folder.raw_path else b""
        with entries:
            for entry in self._listed(entries, folder.raw_path):
                path = before + entry.name
                if entry.name == IGNORE_FILE_NAME:
                    self._skipped(_ignore_file(path, problem))
                    continue
                found = self._judge_entry(entry, path, rules)
                if isinstance(found, FoundFile):
                    yield found
                elif found is not None:
                    waiting.add(path, found, is_link=is_link(entry))

    def _listed(self, entries: Iterator[os.DirEntry[bytes]], folder: bytes) -> Iterator[os.DirEntry[bytes]]:
        """The entries of a folder, each once, until it cannot be read any further: a share may be lost midway.

        Some shares list a name twice if the folder changes meanwhile.
        """
        names = set[bytes]()
        try:
            for entry in entries:
                if entry.name not in names:
                    names.add(entry.name)
                    yield entry
        except OSError as error:
            self._unreadable(folder, error)

    def _judge_entry(self, entry: os.DirEntry[bytes], path: bytes, rules: FolderRules) -> FoundFile | _Folder | None:
        """A file that may become a photo, a folder to enter, or None after reporting why neither."""
        folder = is_folder(entry)
        reason = rules.for_folder(path, entry.name, entry.path) if folder else rules.for_file(path, entry.name)
        if reason is not None:
            self._exclude(path, reason)
        elif is_link(entry) and _leaves(self._photos, entry.path):
            self._skipped(Skipped(shown_path(path), LEAVES_ROOT))
        elif folder:
            return _Folder(path, rules)
        else:
            return judge_file(entry.path, path, self._skipped)
        return None

    def _exclude(self, raw_path: bytes, reason: str) -> None:
        self._skipped(Skipped(shown_path(raw_path), reason, Kind.RULE))

    def _unreadable(self, raw_path: bytes, error: OSError) -> None:
        of_file = isinstance(error, IgnoreFileError) and os.access(self._photos.absolute(raw_path), os.R_OK | os.X_OK)
        what = f"its ignore file: {error.strerror}" if of_file else error.strerror
        self._skipped(Skipped(shown_path(raw_path), f"unreadable folder: {what}", unknown=True))


def _ignore_file(path: bytes, problem: str | None) -> Skipped:
    if problem is None:
        return Skipped(shown_path(path), AN_IGNORE_FILE, Kind.RULE)
    return Skipped(shown_path(path), problem)


def _leaves(photos: PhotoFolders, place: bytes) -> bool:
    """Whether a link leads to something that exists outside the photos' folders."""
    target = os.path.realpath(place)
    return os.path.exists(target) and not photos.is_inside(target + b"/")  # noqa: PTH110
