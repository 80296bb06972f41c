"""What users call photos: ids, and paths absolute or relative to the photos' folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from index_builder.gallery_errors import GalleryError
from index_builder.store.gallery import Gallery
from index_builder.store.layout import lance_errors


def find_photo_ids(gallery: str | Path, names: Sequence[str]) -> dict[str, list[str]]:
    """The photo ids that names stand for: an id for itself, a path for its photo or for all photos below it.

    Args:
        gallery: its folder.
        names: photo ids, or paths, absolute or relative to the photos' folder.

    Returns:
        for every name its ids, in the gallery's order; none if the gallery has no such photo.
    """
    opened = Gallery.open(gallery)
    dataset = opened.dataset()
    folders = opened.metadata(dataset).folders
    with lance_errors(f"cannot read the photos of the gallery {gallery}"):
        table = dataset.to_table(columns=["photo_id", "path"])
    by_path = dict(zip(table.column("path").to_pylist(), table.column("photo_id").to_pylist(), strict=True))
    ids = set(by_path.values())
    found: dict[str, list[str]] = {}
    for name in names:
        if name in ids:
            found[name] = [name]
            continue
        try:
            path = folders.relative(name)
        except GalleryError:
            found[name] = []
            continue
        prefix = path + b"/" if path else b""
        found[name] = [
            photo for other, photo in by_path.items() if other == path or (prefix and other.startswith(prefix))
        ]
    return found


def outermost(paths: set[bytes]) -> list[bytes]:
    """Without paths inside a folder that is listed too, so that no file comes twice."""

    def folders(path: bytes) -> set[bytes]:
        parts = path.split(b"/")
        return {b"/".join(parts[:depth]) for depth in range(len(parts))} if path else set()

    return sorted(path for path in paths if not folders(path) & paths)
