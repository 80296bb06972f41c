"""Which photos a search looks at: by tag, date, shape, folder and file type. What it means, and when it is the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, get_args

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


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


ALL_PHOTOS = PhotoFilter()
"""The filter that lets everything through."""
