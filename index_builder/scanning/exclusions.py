"""Which files and folders a gallery leaves out by rule: the user's patterns, ignore files, and the defaults.

The patterns that the gallery remembers decide first, then the ignore files from the innermost folder outwards, then the
defaults. A pattern that begins with `!` brings back what a weaker rule leaves out. Nothing below an excluded folder is
looked at, so nothing there can be brought back.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from index_builder.gallery_errors import GalleryError
from index_builder.photo_files.bucket import Bucket
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_places import BucketFolder
from index_builder.scanning.default_exclusions import default_for_file, default_for_folder, is_photo_library
from index_builder.scanning.ignore_patterns import IGNORE_FILE, Patterns, read_ignore_file, read_ignore_object

_REMEMBERED_FOLDERS = 4096
IGNORE_FILE_NAME = IGNORE_FILE.encode()


@dataclass(frozen=True)
class FolderRules:
    """What holds for the files and folders inside one folder.

    Attributes:
        levels: patterns with what each is called, the one that decides first in front.
        library: where, in a path, what lies inside the folder's photo library begins; None outside of one.
    """

    levels: tuple[tuple[Patterns, str], ...] = ()
    library: int | None = None

    def for_file(self, path: bytes, name: bytes) -> str | None:
        """Why a file of this folder is excluded, or None."""
        otherwise = default_for_file(name)
        return self._by_pattern(path, is_folder=False, otherwise=otherwise) if self.levels else otherwise

    def for_folder(self, path: bytes, name: bytes, place: bytes) -> str | None:
        """Why a folder in this folder is excluded, or None; `place` is its absolute path."""
        inside = None if self.library is None else path[self.library :]
        return self._by_pattern(path, is_folder=True, otherwise=default_for_folder(name, place, inside))

    def _by_pattern(self, path: bytes, *, is_folder: bool, otherwise: str | None) -> str | None:
        for patterns, source in self.levels:
            decision = patterns.decide(path, is_folder=is_folder)
            if decision is not None:
                return f"by {source}, {decision.pattern}" if decision.excluded else None
        return otherwise


class Exclusions:
    """The rules of a gallery.

    Args:
        folders: of the photos, with the user's patterns.
        in_bucket: paths of all ignore files that there are in buckets, if they are listed; None asks for each.

    Raises:
        GalleryError: a pattern of the user is none.
    """

    def __init__(self, folders: PhotoFolders, in_bucket: Collection[bytes] | None = None) -> None:
        self._folders, self._in_bucket = folders, in_bucket
        patterns = user_patterns(folders.exclude or ())
        self._top = FolderRules(((patterns, "--exclude"),) if patterns else ())
        self._starts = frozenset(os.fsencode(folder.name) for folder in folders.folders)
        self._standing = lru_cache(_REMEMBERED_FOLDERS)(self._find_standing)

    def entered(self, folder: bytes, around: FolderRules | None) -> tuple[FolderRules, str | None]:
        """The rules inside a folder, and what is wrong with its ignore file.

        Args:
            folder: as the gallery writes it.
            around: the rules of the folder that it lies in; None for a folder where a scan starts.

        Raises:
            FileNotFoundError: the gallery has no such folder of photos.
        """
        rules = self._top if around is None else around
        place = self._folders.absolute(folder)
        if is_photo_library(place.rpartition(b"/")[2]):
            rules = replace(rules, library=len(folder) + 1 if folder else 0)
        patterns, problem = self._read(folder, place)
        if patterns:
            # In front of the outer ignore files, behind the user's patterns.
            users = len(self._top.levels)
            levels = (*rules.levels[:users], (patterns, IGNORE_FILE), *rules.levels[users:])
            rules = replace(rules, levels=levels)
        return rules, problem

    def reason(self, raw_path: bytes, *, is_folder: bool = False) -> str | None:
        """Why a file or folder is excluded, by a rule about itself or about a folder above it; None if it is not.

        It need not exist. Ignore files are read once and remembered, see `forget`.
        """
        if raw_path in self._starts or not raw_path:
            return None
        folder, _, name = raw_path.rpartition(b"/")
        try:
            rules = self.rules_of(folder)
            if isinstance(rules, str):
                return rules
            if is_folder:
                return rules.for_folder(raw_path, name, self._folders.absolute(raw_path))
        except FileNotFoundError:  # no folder of the gallery has this name
            return None
        return rules.for_file(raw_path, name)

    def around(self, folder: bytes) -> FolderRules | None:
        """The rules of the folder that a folder lies in; None where a scan starts.

        Raises:
            FileNotFoundError: the gallery has no such folder of photos.
        """
        if folder in self._starts or not folder:
            return None
        rules = self.rules_of(folder.rpartition(b"/")[0])
        return rules if isinstance(rules, FolderRules) else None

    def rules_of(self, folder: bytes) -> FolderRules | str:
        """The rules inside a folder, or why that folder is excluded.

        Raises:
            FileNotFoundError: the gallery has no such folder of photos.
        """
        for above in _from_outside(folder):
            self._standing(above)  # fills the memory from outside inwards, so that no recursion goes deep
        return self._standing(folder)

    def forget(self) -> None:
        """Read ignore files anew."""
        self._standing.cache_clear()

    def problem_in(self, folder: bytes) -> str | None:
        """What is wrong with the ignore file of a folder, or None."""
        return self._read(folder, self._folders.absolute(folder))[1]

    def _read(self, folder: bytes, place: bytes) -> tuple[Patterns | None, str | None]:
        photos, below = self._folders.folder_of(folder)
        if not isinstance(photos.path, BucketFolder):
            return read_ignore_file(place, folder)
        if self._in_bucket is not None and _below(folder) not in self._in_bucket:
            return None, None
        return read_ignore_object(Bucket(photos.path), _below(below), folder)

    def _find_standing(self, folder: bytes) -> FolderRules | str:
        if folder in self._starts or not folder:
            return self.entered(folder, None)[0]
        above, _, name = folder.rpartition(b"/")
        around = self._standing(above)
        if isinstance(around, str):
            return around
        return around.for_folder(folder, name, self._folders.absolute(folder)) or self.entered(folder, around)[0]


def user_patterns(exclude: tuple[str, ...]) -> Patterns:
    """The patterns of `--exclude`.

    Raises:
        GalleryError: one of them is none.
    """
    patterns = Patterns(exclude)
    if patterns.problems:
        what = patterns.problems[0].partition(": ")[2]
        raise GalleryError(f"a pattern of --exclude cannot be used: {what}; write it as in a .gitignore file")
    return patterns


def patterns_of(value: str) -> tuple[str, ...]:
    """Patterns as an environment variable lists them: with commas or line breaks between them."""
    return tuple(part.strip() for line in value.splitlines() for part in line.split(",") if part.strip())


def is_ignore_file(raw_path: bytes) -> bool:
    """Whether a path is that of an ignore file, whose change may bring photos or take them away."""
    return raw_path.rpartition(b"/")[2] == IGNORE_FILE_NAME


def _below(folder: bytes) -> bytes:
    return folder + b"/" + IGNORE_FILE_NAME if folder else IGNORE_FILE_NAME


def _from_outside(folder: bytes) -> Iterator[bytes]:
    end = folder.find(b"/")
    while end >= 0:
        yield folder[:end]
        end = folder.find(b"/", end + 1)
