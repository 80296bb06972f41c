"""Whether to believe that photos are gone: a share that is not mounted looks like an empty folder.

Every place is judged by itself: each folder of the gallery, each folder that links lead to, each mount point below.
A place that is not believed keeps its photos, and they are reported as held.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from index_builder.comparing.places import MARKER, NOWHERE, Places, look_at
from index_builder.gallery_errors import FolderAwayError
from index_builder.photo_folders import PhotoFolders
from index_builder.store.folder_looks import FolderLooks, Held, Look


@dataclass(frozen=True)
class Judgement:
    """What of a change is believed.

    Attributes:
        gone: ids of photos that are gone.
        held: photos that stay although their files were not found.
    """

    gone: list[str]
    held: tuple[Held, ...]


@dataclass(frozen=True)
class _Doubt:
    code: str
    reason: str


_MARKER = _Doubt("marker", f"has no {MARKER} any more, or another one")
_NOT_MOUNTED = _Doubt("not_mounted", "is not mounted any more")


class Belief:
    """Looks at the folders before and after a scan, and compares with the last look that was believed.

    Args:
        gallery: its folder.
        folders: of the photos.
        remembered: the folders that the gallery had before; any other must be there.
        most_lost: per cent of a place's photos that may be gone at once.
        accept_loss: believe everything.
        moved: believe that photos below no folder are gone.

    Attributes:
        away: places that must not be read now.
    """

    def __init__(
        self,
        gallery: Path,
        folders: PhotoFolders,
        remembered: PhotoFolders | None,
        *,
        most_lost: float = 50.0,
        accept_loss: bool = False,
        moved: bool = False,
    ) -> None:
        self._gallery, self._most_lost, self._accept, self._moved = gallery, most_lost, accept_loss, moved
        self._before = FolderLooks.read(gallery)
        self._places = Places(folders, self._before.looks)
        self._own = frozenset(str(folder.path) for folder in folders.folders)
        expected = {str(place) for place in Places(remembered, {}).roots} if remembered else set[str]()
        expected |= self._before.looks.keys()
        self._first = {str(place): _look(place) for place in self._places.all}
        self.away: frozenset[Path] = frozenset(
            place for place in self._places.all if str(place) in expected and self._is_away(str(place))
        )

    def reaches(self, raw_path: bytes) -> bool:
        """Whether a photo's place may be read."""
        return not self.away or Path(self._places.of(raw_path)) not in self.away

    def check_reachable(self, raw_paths: Iterable[bytes]) -> None:
        """Refuse to read files or folders of a place that is away.

        Raises:
            GalleryError: naming the place.
        """
        for path in raw_paths:
            place = self._places.of(path + b"/")
            if (doubt := self._obvious(place)) is not None:
                raise FolderAwayError(f"the folder {place} {doubt.reason}; mount it, or run `sketchseek gallery sync`")

    def judge(
        self,
        missing: Collection[tuple[str, bytes]],
        known: Callable[[], Iterable[bytes]],
        found: Callable[[], Iterable[bytes]],
    ) -> Judgement:
        """Which of the missing photos are gone. Looks at the folders once more, as a share may be lost during a scan.

        Args:
            missing: ids and paths of photos that were not found.
            known: paths of all photos that the gallery had; called only if needed.
            found: paths of files that the gallery did not have; called only if needed.
        """
        now = {str(place): _look(place) for place in self._places.all}
        lost = defaultdict[str, list[str]](list)
        for photo, path in missing:
            lost[self._places.of_lost(path)].append(photo)
        held, gone = list[Held](), list[str]()
        counts = Counter(map(self._places.of, known())) if lost else Counter[str]()
        for place in [*map(str, self._places.all), NOWHERE]:
            photos = lost.get(place, [])
            doubt = None if self._accept else self._doubt(place, now.get(place), len(photos), counts[place], found)
            if doubt is None:
                gone += photos
            else:
                name = self._places.name_of(place)
                held.append(Held(name, place, len(photos), doubt.code, doubt.reason))
        self._remember(now, tuple(held))
        return Judgement(gone, tuple(held))

    def write(self) -> None:
        """Keep what was believed with the gallery, after the change is in it.

        Raises:
            GalleryWriteError: the disk is full or not writable.
        """
        self._after.write(self._gallery)

    def _remember(self, now: dict[str, Look | _Doubt], held: tuple[Held, ...]) -> None:
        doubted = {one.place for one in held}
        looks = {place: look for place, look in self._before.looks.items() if place in doubted}
        looks |= {place: look for place, look in now.items() if isinstance(look, Look) and place not in doubted}
        self._after = FolderLooks(looks, held)

    def _is_away(self, place: str) -> bool:
        """Whether a place cannot be read, or is known from its marker to be another one."""
        first, before = self._first[place], self._before.looks.get(place)
        if not isinstance(first, Look):
            return True
        return not self._accept and before is not None and before.marker not in (None, first.marker)

    def _obvious(self, place: str) -> _Doubt | None:
        """Why a place is away, as far as the first look tells."""
        first, before = self._first.get(place), self._before.looks.get(place)
        if before is None or first is None or isinstance(first, _Doubt):
            return first if isinstance(first, _Doubt) else None
        if before.marker not in (None, first.marker):
            return _MARKER
        return _NOT_MOUNTED if before.mount and not first.mount else None

    def _doubt(
        self,
        place: str,
        now: Look | _Doubt | None,
        lost: int,
        known: int,
        found: Callable[[], Iterable[bytes]],
    ) -> _Doubt | None:
        """Why it is not believed that so many photos of a place are gone, or None if it is."""
        if place == NOWHERE:
            wrong = lost > 0 and not self._moved and lost * 100 > self._most_lost * known
            return _Doubt("missing", "that held them does not belong to the gallery any more") if wrong else None
        if isinstance(now, _Doubt):
            return now if lost or place in self._own else None
        before, first = self._before.looks.get(place), self._first[place]
        if before is not None and now is not None and before.marker not in (None, now.marker):
            return _MARKER
        if not lost or now is None:
            return None
        for earlier in (before, first):
            if isinstance(earlier, Look) and earlier.mount and not now.mount:
                return _NOT_MOUNTED
            if isinstance(earlier, Look) and earlier.device != now.device:
                return _Doubt("other_device", "lies on another file system than before")
        if lost >= known and all(self._places.of(path) != place for path in found()):
            return _Doubt("emptied", "has no photos any more")
        if lost * 100 > self._most_lost * known:
            return _Doubt("most_lost", f"lost more than {self._most_lost:g} % of its photos at once")
        return None


def _look(place: Path) -> Look | _Doubt:
    """What a place looks like, or why it cannot be looked at."""
    try:
        return look_at(place)
    except (FileNotFoundError, NotADirectoryError):
        return _Doubt("missing", "is not there")
    except OSError as error:
        return _Doubt("unreadable", f"cannot be read ({os.strerror(error.errno or 0)})")
