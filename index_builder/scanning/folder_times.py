"""Finds what changed in folders by the times of the folders alone: far fewer looks than one per file.

A folder's modification time changes when an entry comes, goes or gets another name, but not when a file's content is
written anew in place. So this finds new, deleted, moved and replaced photos; changed contents take a look at every
file.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from index_builder.file_times import may_hide_a_change, modified_ns
from index_builder.photo_folders import PhotoFolders
from index_builder.scanning.exclusions import Exclusions
from index_builder.scanning.scope import Scope

Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Listing:
    """How a folder was when it was listed: which one, its time, when that was, and the folders in it."""

    identity: Identity
    modified_ns: int
    listed_ns: int
    folders: tuple[bytes, ...]
    links: tuple[bytes, ...]


class FolderTimes:
    """Remembers how folders were when they were last listed.

    Args:
        folders: where the photos lie.
        leave_out: a folder that is never entered (the gallery, when it lies inside the photos).
    """

    def __init__(self, folders: PhotoFolders, leave_out: Path | None = None) -> None:
        self._photos, self._leave_out = folders, leave_out
        self._exclusions = Exclusions(folders)
        self._listings: dict[bytes, _Listing] = {}

    def __len__(self) -> int:
        return len(self._listings)

    def knows(self, folder: bytes) -> bool:
        """Whether there was such a folder at the last look."""
        return folder in self._listings

    def look(self, below: bytes | None = None) -> Scope:
        """What changed since the last look; the first look finds that everything did.

        Args:
            below: only this folder with all below it; None takes everything.
        """
        scope, seen = Scope(), set[Identity]()
        self._exclusions.forget()
        if self._leave_out is not None and (gallery := _identity(self._leave_out)) is not None:
            seen.add(gallery)
        folders = [below] if below is not None else [os.fsencode(one.name) for one in self._photos.folders]
        links = list[bytes]()
        while folders or links:
            folder = folders.pop() if folders else links.pop(0)
            listing = self._visit(folder, scope, seen)
            if listing is not None:
                folders.extend(_joined(folder, name) for name in listing.folders)
                links.extend(_joined(folder, name) for name in listing.links)
        return scope

    def _visit(self, folder: bytes, scope: Scope, seen: set[Identity]) -> _Listing | None:
        """The folder's listing, if it is to be entered; a new one if it changed, which goes into the scope."""
        known = self._listings.get(folder)
        try:
            status = os.stat(self._photos.absolute(folder))  # noqa: PTH116 - bytes
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError
        except (FileNotFoundError, NotADirectoryError):
            if known is not None:
                self._forget(folder, scope)
            return None
        except OSError:  # a share that does not answer; what was there may still be
            return None
        identity = (status.st_dev, status.st_ino)
        if identity in seen and status.st_ino:  # some shares number nothing
            return None
        seen.add(identity)
        modified = modified_ns(status)
        same = known is not None and (known.identity, known.modified_ns) == (identity, modified)
        if known is not None and same and not may_hide_a_change(modified, known.listed_ns):
            return known
        try:
            listing = self._list(folder, identity, modified)
        except OSError:
            return None
        scope.folders.add(folder)
        for name in () if known is None else {*known.folders, *known.links} - {*listing.folders, *listing.links}:
            self._forget(_joined(folder, name), scope)
        self._listings[folder] = listing
        return listing

    def _list(self, folder: bytes, identity: Identity, modified: int) -> _Listing:
        listed_ns, folders, links = time.time_ns(), list[bytes](), list[bytes]()
        with os.scandir(self._photos.absolute(folder)) as entries:
            for entry in entries:
                if (
                    not entry.is_dir()
                    or self._exclusions.reason(_joined(folder, entry.name), is_folder=True) is not None
                ):
                    continue
                if not entry.is_symlink():
                    folders.append(entry.name)
                elif self._photos.is_inside(os.path.realpath(entry.path) + b"/"):
                    links.append(entry.name)
        return _Listing(identity, modified, listed_ns, tuple(sorted(folders)), tuple(sorted(links)))

    def _forget(self, folder: bytes, scope: Scope) -> None:
        """A folder is no more, nor is what was below."""
        scope.trees.add(folder)
        waiting = [folder]
        while waiting:
            gone = self._listings.pop(path := waiting.pop(), None)
            if gone is not None:
                waiting.extend(_joined(path, name) for name in (*gone.folders, *gone.links))


def _joined(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


def _identity(folder: Path) -> Identity | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
