"""Notes of uploads that are stored but not indexed yet, in the gallery's folder: a service that was killed left them.

Without them, the next start could not tell such files from photos that somebody has removed from the gallery.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from index_builder.store.layout import POINTER
from index_builder.store.places import GalleryPlace, names_in

FOLDER = "uploads"


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


def noted(gallery: GalleryPlace) -> dict[GalleryPlace, bytes]:
    """All notes of a gallery, each with the path of its file."""
    try:
        folder = gallery / FOLDER
        return {folder / name: (folder / name).read_bytes() for name in sorted(names_in(folder))}
    except OSError:
        return {}
