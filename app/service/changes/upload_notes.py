"""Notes of uploads that are stored but not indexed yet, in the gallery's folder: a service that was killed left them.

Without them, the next start could not tell such files from photos that somebody has removed from the gallery. A note
may also say that the upload was refused while its file could not be removed.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from index_builder.store.layout import POINTER
from index_builder.store.places import GalleryPlace, names_in, replace_file

FOLDER = "uploads"
_REFUSED = b"\0"  # before the path, which has none


@dataclass(frozen=True)
class Noted:
    """What a note says.

    Attributes:
        raw_path: of the file, as the gallery writes it.
        is_refused: the file is to go.
    """

    raw_path: bytes
    is_refused: bool


def note(gallery: GalleryPlace, raw_path: bytes) -> GalleryPlace | None:
    """Note that a file is about to be stored. None where that fails: then a kill leaves a file that no start takes.

    Args:
        gallery: its folder; where there is no gallery, nothing is written.
        raw_path: of the file, as the gallery writes it.
    """
    place = gallery / FOLDER / hashlib.sha256(raw_path).hexdigest()[:32]
    try:
        if not (gallery / POINTER).is_file():
            return None
        if isinstance(place, Path):
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(raw_path)
        else:
            place.write(raw_path)
    except OSError:
        return None
    return place


def forget(place: GalleryPlace) -> None:
    """The upload has come to its end."""
    with contextlib.suppress(OSError):
        place.unlink(missing_ok=True)


def leave_for_the_next_start(place: GalleryPlace, raw_path: bytes) -> None:
    """The upload was refused, and its file cannot be removed now."""
    with contextlib.suppress(OSError):
        replace_file(place, _REFUSED + raw_path)


def noted(gallery: GalleryPlace) -> dict[GalleryPlace, Noted]:
    """All notes of a gallery, by their files."""
    try:
        folder = gallery / FOLDER
        contents = {folder / name: (folder / name).read_bytes() for name in sorted(names_in(folder))}
    except OSError:
        return {}
    return {place: Noted(said.removeprefix(_REFUSED), said.startswith(_REFUSED)) for place, said in contents.items()}
