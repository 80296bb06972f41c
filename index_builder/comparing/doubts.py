"""Reasons not to believe what a place looks like. `index_builder.comparing.believing` says what follows from each."""

from __future__ import annotations

from dataclasses import dataclass

from index_builder.comparing.places import look_at
from index_builder.photo_folders import MARKER
from index_builder.photo_places import Place
from index_builder.store.folder_looks import Look


@dataclass(frozen=True)
class Doubt:
    """Why a place is not believed.

    Attributes:
        code, reason: as of `index_builder.store.folder_looks.Held`.
        keeps_out: nothing of the place is read.
    """

    code: str
    reason: str
    keeps_out: bool = False


@dataclass(frozen=True)
class Loss:
    """How many photos a place had, how many of them were not found, and how many files hold something else by now."""

    known: int
    missing: int
    changed: int

    @property
    def photos(self) -> int:
        """How many would leave the gallery, or be replaced."""
        return self.missing + self.changed


_MARKER = Doubt("marker", f"has no {MARKER} any more, or another one", keeps_out=True)
_NOT_MOUNTED = Doubt("not_mounted", "is not mounted any more")
_OTHER_DEVICE = Doubt("other_device", "lies on another file system than before")
_EMPTIED = Doubt("emptied", "has none of its photos any more")


def look_or_doubt(place: Place) -> Look | Doubt:
    """What a place looks like, or why it cannot be looked at."""
    try:
        return look_at(place)
    except (FileNotFoundError, NotADirectoryError):
        return Doubt("missing", "is not there", keeps_out=True)
    except OSError as error:
        return Doubt("unreadable", f"cannot be read ({error.strerror})", keeps_out=True)


def obvious_doubt(before: Look | None, now: Look | Doubt | None) -> Doubt | None:
    """What a look alone tells against a place.

    Args:
        before: the last look that was believed, if any.
        now: the look to judge.
    """
    if isinstance(now, Doubt):
        return now
    if before is None or now is None:
        return None
    if before.marker not in (None, now.marker):
        return _MARKER
    return _NOT_MOUNTED if before.mount and not now.mount else None


def is_another_device(before: Look | Doubt | None, now: Look | Doubt | None) -> bool:
    """Whether a place lies on another file system than before, as far as their numbers tell."""
    if not isinstance(before, Look) or not isinstance(now, Look):
        return False
    return 0 not in (before.device, now.device) and before.device != now.device


def doubt_about(
    before: Look | None, first: Look | Doubt | None, now: Look | None, loss: Loss, most_lost: float
) -> Doubt | None:
    """What looks and numbers together tell against a place.

    Args:
        before: the last look that was believed.
        first: the look before the scan.
        now: the look after it.
        loss: of the place.
        most_lost: per cent of its photos that may be gone or changed at once.
    """
    if now is None:
        return None
    if before is not None and before.marker not in (None, now.marker):
        return _MARKER
    if not loss.photos:
        return None
    for earlier in (before, first):
        if not isinstance(earlier, Look):
            continue
        if earlier.mount and not now.mount:
            return _NOT_MOUNTED
        # With most photos where they were, and not one of them another, it is the same folder on a new device.
        if is_another_device(earlier, now) and (loss.changed or 2 * loss.missing >= loss.known):
            return _OTHER_DEVICE
    if loss.missing and loss.missing >= loss.known:
        return _EMPTIED
    if loss.photos * 100 > most_lost * loss.known and (loss.missing or loss.changed > 1):
        what = "lost, or found changed," if loss.changed else "lost"
        return Doubt("most_lost", f"{what} more than {most_lost:g} % of its photos at once")
    return None
