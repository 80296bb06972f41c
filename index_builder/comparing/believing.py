"""Whether to believe that photos are gone: a share that is not mounted looks like an empty folder.

Every place is judged by itself: each folder of the gallery, each folder that links lead to, each mount point below.
A place that is not believed keeps its photos, and they are reported as held.

| a place is | when | its files are read | its photos may have moved | photos missing or changed |
|---|---|---|---|---|
| away | it is not there, cannot be read, or has not its marker | no | no | held |
| off | it was a mount point and is none | yes | no | held |
| swapped | its device is another, and a content changed or half is missing | yes | inside it | held |
| empty | not one of its photos is at its path | yes | inside it | held |
| shaken | more than the allowed share is missing or changed | yes | inside it, if contents tell | held |
| held | `folders.json` says so from the last look | yes | inside it | judged anew |
| trusted | none of these | yes | anywhere | gone, and replaced |

A single file or folder that could not be looked at is *unknown*, whatever its place is: it stays, and counts nowhere
(`index_builder.comparing.missing_photos`). What somebody accepted is believed, but never of a place that cannot be
read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import islice

from index_builder.comparing.doubts import Doubt, Loss, doubt_about, look_or_doubt, obvious_doubt
from index_builder.comparing.places import NOWHERE, Places
from index_builder.gallery_errors import FolderAwayError
from index_builder.photo_files.sources import is_gone
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_places import BucketFolder, Place
from index_builder.store.folder_looks import FolderLooks, Held, Look
from index_builder.store.places import GalleryPlace

Paths = Callable[[], Iterable[bytes]]
_TRIED_IN_A_BUCKET = 32  # photos that are looked for before it counts as emptied


@dataclass(frozen=True)
class Judgement:
    """What of a change is believed.

    Attributes:
        gone: ids of photos that are gone.
        held: photos that stay although their files were not found, or hold something else.
        kept: paths of those whose files hold something else.
    """

    gone: list[str]
    held: tuple[Held, ...]
    kept: frozenset[bytes] = frozenset()


class Belief:
    """Looks at the folders before and after a scan, and compares with the last look that was believed.

    Args:
        gallery: its folder.
        folders: of the photos.
        remembered: the folders that the gallery had before; any other must be there.
        most_lost: per cent of a place's photos that may be gone or changed at once.
        accept_loss: losses that somebody was shown, to be believed as far as they were shown; True takes what the
            gallery holds now.
        moved: believe that photos below no folder are gone.

    Attributes:
        away: places that must not be read now.
    """

    def __init__(
        self,
        gallery: GalleryPlace,
        folders: PhotoFolders,
        remembered: PhotoFolders | None,
        *,
        most_lost: float = 50.0,
        accept_loss: bool | tuple[Held, ...] = False,
        moved: bool = False,
    ) -> None:
        self._gallery, self._folders, self._most_lost, self._moved = gallery, folders, most_lost, moved
        self._before = FolderLooks.read(gallery)
        shown = (self._before.held if accept_loss else ()) if isinstance(accept_loss, bool) else accept_loss
        self._accepted = {held.place: held.photos for held in shown}
        self._places = Places(folders, self._before.looks)
        self._own = frozenset(str(folder.path) for folder in folders.folders)
        self._buckets = frozenset(str(place) for place in self._places.roots if isinstance(place, BucketFolder))
        expected = {str(place) for place in Places(remembered, {}).roots} if remembered else set[str]()
        expected |= self._before.looks.keys()
        self._first = {str(place): look_or_doubt(place) for place in self._places.all}
        self.away: frozenset[Place] = frozenset(
            place for place in self._places.all if str(place) in expected and self._is_away(str(place))
        )
        self._places.away = frozenset(map(str, self.away))
        self._unmoving = {held.place for held in self._before.held} - self._accepted.keys()
        self._known: Paths = tuple
        self._empty: dict[str, bool] = {}

    def reaches(self, raw_path: bytes) -> bool:
        """Whether a photo's place may be read."""
        return not self.away or self._places.of_file(raw_path) not in self._places.away

    def check_reachable(self, raw_paths: Iterable[bytes]) -> None:
        """Refuse to read files or folders of a place that is away.

        Raises:
            GalleryError: naming the place.
        """
        for path in raw_paths:
            place = self._places.of(path + b"/")
            if (doubt := self._obvious(place)) is not None:
                raise FolderAwayError(f"the folder {place} {doubt.reason}; mount it, or run `sketchseek gallery sync`")

    def know(self, known: Paths) -> None:
        """Take in which photos the gallery has, before any of them is asked about.

        Args:
            known: gives paths of all photos that the gallery has; called only if needed.
        """
        self._known = known

    def shake(self, changed: Collection[bytes]) -> None:
        """Take in which photos' files have other contents, before any photo counts as moved."""
        if not changed:
            return
        known, altered = self._places.count(self._known(), links=False), Counter(map(self._places.of, changed))
        for place, count in altered.items():
            loss = Loss(known[place], 0, count)
            if place not in self._accepted and self._doubt(place, self._first.get(place), loss) is not None:
                self._unmoving.add(place)

    def lets_move(self, raw_path: bytes, to: bytes) -> bool:
        """Whether the photo of a path, whose file is not there, may have moved to another path.

        Otherwise a copy elsewhere would take the id of a photo that is only out of reach.
        """
        place = self._places.of_file(raw_path)
        if place == NOWHERE:
            return True
        if self._obvious(place) is not None:
            return False
        return not (place in self._unmoving or self._is_empty(place)) or self._places.of(to) == place

    def judge(self, missing: Collection[tuple[str, bytes]], changed: Collection[bytes] = ()) -> Judgement:
        """Which of the missing photos are gone. Looks at the folders once more, as a share may be lost during a scan.

        Args:
            missing: ids and paths of photos that were not found.
            changed: paths of photos whose files have other contents.
        """
        now = {str(place): look_or_doubt(place) for place in self._places.all}
        lost, altered = defaultdict[str, list[str]](list), defaultdict[str, list[bytes]](list)
        for photo, path in missing:
            lost[self._places.of_file(path)].append(photo)
        for path in changed:
            altered[self._places.of_file(path)].append(path)
        links = any(map(self._places.is_link, [*(path for _, path in missing), *changed]))
        counts = self._places.count(self._known(), links=links) if lost or altered else Counter[str]()
        held, gone, kept = list[Held](), list[str](), list[bytes]()
        for place in [*map(str, self._places.all), NOWHERE]:
            loss = Loss(counts[place], len(lost[place]), len(altered[place]))
            doubt = self._doubt(place, now.get(place), loss)
            if doubt is None or self._accepts(place, doubt, loss):
                gone += lost[place]
            else:
                name = self._places.name_of(place)
                held.append(Held(name, place, loss.photos, doubt.code, doubt.reason))
                kept += altered[place]
        self._remember(now, tuple(held))
        self._unmoving |= {one.place for one in held}
        return Judgement(gone, tuple(held), frozenset(kept))

    def write(self) -> None:
        """Keep what was believed with the gallery, after the change is in it.

        Raises:
            GalleryWriteError: the disk is full or not writable.
        """
        self._after.write(self._gallery)

    def write_held(self) -> None:
        """Keep what is held alone, where the change is given up. So it was shown, and may be accepted.

        Raises:
            GalleryWriteError: as `write`.
        """
        FolderLooks(self._before.looks, self._after.held).write(self._gallery)

    def _remember(self, now: dict[str, Look | Doubt], held: tuple[Held, ...]) -> None:
        doubted = {one.place for one in held}
        looks = {place: look for place, look in self._before.looks.items() if place in doubted}
        looks |= {place: look for place, look in now.items() if isinstance(look, Look) and place not in doubted}
        self._after = FolderLooks(looks, held)

    def _accepts(self, place: str, doubt: Doubt, loss: Loss) -> bool:
        """Whether somebody was shown a loss as large as this one and said that it is right."""
        return doubt.code != "unreadable" and loss.photos <= self._accepted.get(place, -1)

    def _is_away(self, place: str) -> bool:
        """Whether a place cannot be read, or is known from its marker to be another one."""
        doubt = self._obvious(place)
        return doubt is not None and (doubt.code != "marker" or place not in self._accepted) and doubt.keeps_out

    def _obvious(self, place: str) -> Doubt | None:
        """Why a place is away or off, as far as the first look tells."""
        return obvious_doubt(self._before.looks.get(place), self._first.get(place))

    def _is_empty(self, place: str) -> bool:
        """Whether not one of the photos of a place is at its path."""
        if place not in self._empty:
            paths = (path for path in self._known() if self._places.of(path) == place)
            tried = islice(paths, _TRIED_IN_A_BUCKET if place in self._buckets else None)  # each look is a request
            self._empty[place] = all(is_gone(self._folders, path) for path in tried)
        return self._empty[place]

    def _doubt(self, place: str, now: Look | Doubt | None, loss: Loss) -> Doubt | None:
        """Why it is not believed that so many photos of a place are gone or changed, or None if it is."""
        if place == NOWHERE:
            wrong = not self._moved and loss.missing * 100 > self._most_lost * loss.known
            return Doubt("missing", "that held them does not belong to the gallery any more") if wrong else None
        if isinstance(now, Doubt):
            return now if loss.photos or place in self._own else None
        return doubt_about(self._before.looks.get(place), self._first.get(place), now, loss, self._most_lost)
