"""What users call photos: ids, and paths absolute or relative to the photos' folder."""

from __future__ import annotations

import os
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
    root = Path(opened.metadata(dataset).root)
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
            path = relative_path(root, name)
        except GalleryError:
            found[name] = []
            continue
        prefix = path + b"/" if path else b""
        found[name] = [
            photo for other, photo in by_path.items() if other == path or (prefix and other.startswith(prefix))
        ]
    return found


def relative_path(root: Path, path: str | Path) -> bytes:
    """A path below the root as the gallery writes it; b"" for the root itself.

    Raises:
        GalleryError: it is not below the root.
    """
    # normpath does not follow links, so a linked folder keeps its name below the root
    place = os.path.normpath(os.path.join(root.absolute(), path))  # noqa: PTH118
    relative = os.path.relpath(place, root.absolute())
    if relative == ".":
        return b""
    if relative == ".." or relative.startswith("../"):
        raise GalleryError(f"{path} is not below the photos' folder {root}; move it there first")
    return os.fsencode(relative)


def outermost(paths: set[bytes]) -> list[bytes]:
    """Without paths inside a folder that is listed too, so that no file comes twice."""

    def folders(path: bytes) -> set[bytes]:
        parts = path.split(b"/")
        return {b"/".join(parts[:depth]) for depth in range(len(parts))} if path else set()

    return sorted(path for path in paths if not folders(path) & paths)
