"""What the photos' folders looked like when they were last believed, and which photos are held: `folders.json`.

The file lies beside the datasets, so it survives a rebuild. A gallery without it learns it at its next change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from index_builder.store.checksums import read_json, write_json
from index_builder.store.layout import lance_errors, reached
from index_builder.store.places import GalleryPlace

NAME = "folders.json"


@dataclass(frozen=True)
class Look:
    """What tells a folder from an empty mount point, or from another disk at the same place.

    Attributes:
        mount: whether it is a mount point.
        device: of the file system that it lies on.
        marker: SHA-256 of the user's marker file in it, or None.
    """

    mount: bool
    device: int
    marker: str | None = None


@dataclass(frozen=True)
class Held:
    """Photos that stay although their files were not found, because their folder is not believed.

    Attributes:
        folder: what the folder is called towards clients: a name, without the folders above it.
        place: its absolute path; "" for photos that lie below no folder of the gallery.
        photos: how many are held.
        code: why, for programs: `missing`, `unreadable`, `marker`, `not_mounted`, `other_device`, `emptied` or
            `most_lost`.
        reason: the same for people, a phrase that continues "the folder".
    """

    folder: str
    place: str
    photos: int
    code: str
    reason: str


@dataclass(frozen=True)
class FolderLooks:
    """Everything that `folders.json` says.

    Attributes:
        looks: absolute path of a folder -> its last believed look.
        held: what was held at the last look.
    """

    looks: Mapping[str, Look] = field(default_factory=dict)
    held: tuple[Held, ...] = ()

    @staticmethod
    def read(gallery: GalleryPlace) -> FolderLooks:
        """Of this gallery; empty where nothing was learnt yet or the file is damaged, which the next look mends.

        Raises:
            GalleryAwayError: the object storage does not answer, so nobody knows what was learnt.
        """
        return _read(gallery) or FolderLooks()

    @staticmethod
    def is_damaged(gallery: GalleryPlace) -> bool:
        """Whether the file is there and is not what was written."""
        return (gallery / NAME).exists() and _read(gallery) is None

    def write(self, gallery: GalleryPlace) -> None:
        """Replace the gallery's file, if it says something else.

        Raises:
            GalleryWriteError: the disk is full or not writable.
        """
        if _read(gallery) == self:
            return
        with lance_errors(f"cannot write to the gallery {gallery}", writing=True):
            looks = {place: asdict(look) for place, look in self.looks.items()}
            write_json(gallery / NAME, {"looks": looks, "held": [asdict(one) for one in self.held]})


def _read(gallery: GalleryPlace) -> FolderLooks | None:
    try:
        with reached(gallery):
            values: dict[str, Any] = read_json(gallery / NAME)
        looks = {str(place): Look(**one) for place, one in values["looks"].items()}
        return FolderLooks(looks, tuple(Held(**one) for one in values["held"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
