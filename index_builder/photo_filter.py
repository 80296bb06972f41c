"""Which photos a search looks at: by tag, date, shape, folder and file type. What it means, and when it is the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args

from index_builder.file_times import EARLIEST_NS, LATEST_NS
from index_builder.photo_record import composed

Orientation = Literal["landscape", "portrait", "square"]
ORIENTATIONS: tuple[Orientation, ...] = get_args(Orientation)
"""Wider than tall, taller than wide, as wide as tall."""
FileType = Literal["jpeg", "png", "webp", "bmp", "tiff", "gif", "avif", "heif", "jxl", "raw"]
FILE_TYPES: tuple[FileType, ...] = get_args(FileType)
"""The formats of `model.images.formats.endings`, in its order. A file's ending tells, such as `.jpg`."""


@dataclass(frozen=True)
class PhotoFilter:
    """Which photos may be found; all that is said must hold. Filters that mean the same are equal.

    Attributes:
        tags: any of these, in either Unicode form; () asks for none.
        tags_all: all of these.
        tags_none: none of these.
        taken_from, taken_to: first and last day on which the photo was taken (`PhotoRecord.taken`); None is open.
        orientation: shape of the upright photo; None takes any.
        folder: the photo's path begins with these folders, such as "holidays/2024"; "" takes any.
        types: any of these, of `FILE_TYPES`; () takes any.
        as_of: only photos that were in the gallery at this time; None takes all.
    """

    tags: tuple[str, ...] = ()
    tags_all: tuple[str, ...] = ()
    tags_none: tuple[str, ...] = ()
    taken_from: date | None = None
    taken_to: date | None = None
    orientation: Orientation | None = None
    folder: str = ""
    types: tuple[FileType, ...] = ()
    as_of: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("tags", "tags_all", "tags_none"):
            object.__setattr__(self, name, _sorted(map(composed, getattr(self, name))))
        object.__setattr__(self, "folder", composed(self.folder).strip("/"))
        object.__setattr__(self, "types", _sorted(self.types))

    @property
    def named_tags(self) -> tuple[str, ...]:
        """All tags that it names."""
        return self.tags + self.tags_all + self.tags_none

    @property
    def taken_ns(self) -> tuple[int, int] | None:
        """First and last nanosecond of the days, counted from 1970, as far as 64 bits reach; None where both are open.

        A day that no file can have leaves the first behind the last.
        """
        if self.taken_from is None and self.taken_to is None:
            return None
        first = EARLIEST_NS if self.taken_from is None else max(_day_ns(self.taken_from), EARLIEST_NS)
        last = LATEST_NS if self.taken_to is None else min(_day_ns(self.taken_to) + _DAY_NS - 1, LATEST_NS)
        return first, last

    @property
    def as_of_ns(self) -> int | None:
        """`as_of` in nanoseconds since 1970; without a zone it is in UTC."""
        if self.as_of is None:
            return None
        aware = self.as_of if self.as_of.tzinfo is not None else self.as_of.replace(tzinfo=UTC)
        return (aware - _EPOCH) // timedelta(microseconds=1) * 1000


def _day_ns(day: date) -> int:
    return (day - _EPOCH.date()).days * _DAY_NS


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


_DAY_NS = 24 * 3600 * 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ALL_PHOTOS = PhotoFilter()
"""The filter that lets everything through."""
