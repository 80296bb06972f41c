"""Finds what changed in folders by the times of the folders alone: far fewer looks than one per file.

A folder's modification time changes when an entry comes, goes or gets another name, but not when a file's content is
written anew in place. So this finds new, deleted, moved and replaced photos; changed contents take a look at every
file. Ignore files are the exception: the few that there are, are looked at each time.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path

from index_builder.file_times import may_hide_a_change, modified_ns
from index_builder.photo_folders import PhotoFolders
from index_builder.scanning.exclusions import IGNORE_FILE_NAME, Exclusions
from index_builder.scanning.scope import Scope
from index_builder.scanning.walking import Identity, Waiting, identity_of, is_folder, is_link

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Listing:
    """How a folder was when it was listed.

    Attributes:
        identity, modified_ns: of the folder.
        listed_ns: when that was.
        folders, links: names of the folders in it, and of links to folders.
        linked: whether its path leads through a link.
        rules: what its ignore file looked like; None without one.
    """

    identity: Identity
    modified_ns: int
    listed_ns: int
    folders: tuple[bytes, ...]
    links: tuple[bytes, ...]
    linked: bool
    rules: Stamp | None


@dataclass
class _Look:
    """One look under way.

    Attributes:
        whole: at all folders, and not at a part of them.
        owners: by which path each folder was reached before.
        scope: what has changed.
        seen: folders that were entered, and the gallery.
        rules_changed: an ignore file came, went or changed.
    """

    whole: bool
    owners: dict[Identity, bytes]
    scope: Scope = field(default_factory=Scope)
    seen: set[Identity] = field(default_factory=set)
    rules_changed: bool = False


class FolderTimes:
    """Remembers how folders were when they were last listed.

    Args:
        folders: where the photos lie.
        leave_out: a folder that is never entered (the gallery, when it lies inside the photos).

    Attributes:
        exclusions: the rules as of the last look.
    """

    def __init__(self, folders: PhotoFolders, leave_out: Path | None = None) -> None:
        self._photos, self._leave_out = folders, leave_out
        self.exclusions = Exclusions(folders)
        self._listings: dict[bytes, _Listing] = {}
        self._owners: dict[Identity, bytes] = {}

    def __len__(self) -> int:
        return len(self._listings)

    def knows(self, folder: bytes) -> bool:
        """Whether there was such a folder at the last look."""
        return folder in self._listings

    def path_of(self, identity: Identity) -> bytes | None:
        """By which path the gallery reaches a folder; None if it did not at the last look."""
        return self._owners.get(identity)

    def renew(self) -> None:
        """Forget everything and look again, because rules have changed: other folders may belong to the gallery now."""
        self._listings.clear()
        self._owners.clear()
        self.look()

    def look(self, below: bytes | None = None) -> Scope:
        """What changed since the last look; the first look finds that everything did.

        Args:
            below: only this folder with all below it; None takes everything.
        """
        self.exclusions.forget()
        look = _Look(below is None, self._owners)
        if self._leave_out is not None and (gallery := identity_of(self._leave_out)) is not None:
            look.seen.add(gallery)
        if below is None:
            self._owners = {}
        waiting = Waiting[tuple[bytes, bool]]()
        for start in self._starts() if below is None else [below]:
            known = self._listings.get(start)
            waiting.add(start, (start, known is not None and known.linked))
            for folder, linked in waiting.real():
                self._visit(folder, look, waiting, linked=linked)
        for folder, linked in waiting.all():
            self._visit(folder, look, waiting, linked=linked)
        if look.rules_changed:
            self.renew()
            return Scope(everything=True)
        return look.scope

    def _starts(self) -> list[bytes]:
        """The folders of this machine: a bucket has no times."""
        return [os.fsencode(one.name) for one in self._photos.folders if isinstance(one.path, Path)]

    def _visit(self, folder: bytes, look: _Look, waiting: Waiting[tuple[bytes, bool]], *, linked: bool) -> None:
        """Look at one folder: note what changed, and add the folders in it to those that wait."""
        listing = self._entered(folder, look, linked=linked)
        if listing is None:
            return
        for name in listing.folders:
            waiting.add(path := _joined(folder, name), (path, linked))
        for name in listing.links:
            waiting.add(path := _joined(folder, name), (path, True), is_link=True)

    def _entered(self, folder: bytes, look: _Look, *, linked: bool) -> _Listing | None:
        """The folder's listing, if it is to be entered; a new one if it changed, which goes into the scope."""
        known = self._listings.get(folder)
        try:
            status = os.stat(self._photos.absolute(folder))  # noqa: PTH116 - bytes
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError
        except (FileNotFoundError, NotADirectoryError):
            if known is not None:
                self._forget(folder, look.scope)
            return None
        except OSError:  # a share that does not answer; what was there may still be
            return None
        identity = (status.st_dev, status.st_ino)
        if status.st_ino:  # some shares number nothing
            if identity in look.seen or not self._takes(folder, identity, look, linked=linked):
                return None
            look.seen.add(identity)
            self._owners[identity] = folder
        modified = modified_ns(status)
        same = known is not None and (known.identity, known.modified_ns) == (identity, modified)
        if known is not None and same and not may_hide_a_change(modified, known.listed_ns):
            look.rules_changed |= known.rules is not None and known.rules != self._rules(folder)
            return known
        try:
            listing = self._list(folder, identity, modified, linked=linked)
        except OSError:
            return known
        look.scope.folders.add(folder)
        look.rules_changed |= known is not None and known.rules != listing.rules
        for name in () if known is None else {*known.folders, *known.links} - {*listing.folders, *listing.links}:
            self._forget(_joined(folder, name), look.scope)
        self._listings[folder] = listing
        return listing

    def _takes(self, folder: bytes, identity: Identity, look: _Look, *, linked: bool) -> bool:
        """Whether a folder is to be entered by this path, although it may have been reached by another one before.

        If the other path still leads there, a look at everything decides by which of them its photos are known.
        """
        owner = look.owners.get(identity)
        if owner is None or owner == folder or self._identity_at(owner) != identity:
            return True
        first = self._listings.get(owner)
        if not look.whole and first is not None and (first.linked, owner) < (linked, folder):
            return False
        look.scope.everything = True
        if look.whole:
            self._forget(owner, Scope())
        return look.whole

    def _list(self, folder: bytes, identity: Identity, modified: int, *, linked: bool) -> _Listing:
        listed_ns, folders, links, rules = time.time_ns(), set[bytes](), set[bytes](), None
        with os.scandir(self._photos.absolute(folder)) as entries:
            for entry in entries:
                if entry.name == IGNORE_FILE_NAME:
                    rules = self._rules(folder)
                path = _joined(folder, entry.name)
                if not is_folder(entry) or self.exclusions.reason(path, is_folder=True) is not None:
                    continue
                if not is_link(entry):
                    folders.add(entry.name)
                elif self._photos.is_inside(os.path.realpath(entry.path) + b"/"):
                    links.add(entry.name)
        return _Listing(identity, modified, listed_ns, tuple(sorted(folders)), tuple(sorted(links)), linked, rules)

    def _rules(self, folder: bytes) -> Stamp | None:
        """What a folder's ignore file looks like."""
        try:
            status = os.lstat(_joined(self._photos.absolute(folder), IGNORE_FILE_NAME))
        except OSError:
            return None
        return status.st_ino, modified_ns(status), status.st_size

    def _identity_at(self, folder: bytes) -> Identity | None:
        try:
            return identity_of(Path(os.fsdecode(self._photos.absolute(folder))))
        except FileNotFoundError:
            return None

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
