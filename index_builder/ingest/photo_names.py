"""What users call photos: ids, and paths absolute or relative to the photos' folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from index_builder.gallery_errors import GalleryError
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_places import BucketFolder
from index_builder.photo_record import composed
from index_builder.store.gallery import Gallery
from index_builder.store.layout import lance_errors
from index_builder.store.places import GalleryPlace


def find_photo_ids(gallery: str | GalleryPlace, names: Sequence[str]) -> dict[str, list[str]]:
    """The photo ids that names stand for: an id for itself, a path for its photo or for all photos below it.

    Args:
        gallery: its folder.
        names: photo ids, or paths, absolute or relative to the photos' folder. A path that no photo has is
            also tried in other Unicode forms.

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
        found[name] = _at_or_below(path, by_path.items()) or _at_or_below(
            _composed(path), ((_composed(other), photo) for other, photo in by_path.items())
        )
    return found


def spelled_on_disk(folders: PhotoFolders, raw_path: bytes) -> bytes:
    """A path in the Unicode form that the file system has it in, if it is there in another than the one given.

    Args:
        folders: of the photos.
        raw_path: as the gallery writes it; its first part may be a folder's name.
    """
    in_a_bucket = isinstance(folders.folder_of(raw_path)[0].path, BucketFolder)  # which takes names as they are
    if in_a_bucket or os.path.lexists(folders.absolute(raw_path)):
        return raw_path
    names = {os.fsencode(folder.name) for folder in folders.folders}
    spelled = b""
    for part in raw_path.split(b"/"):
        path = spelled + b"/" + part if spelled else part
        if path not in names and not os.path.lexists(folders.absolute(path)):
            try:
                with os.scandir(folders.absolute(spelled)) as entries:
                    others = sorted(entry.name for entry in entries if _composed(entry.name) == _composed(part))
            except OSError:
                return raw_path
            same = others[0] if others else part
            path = spelled + b"/" + same if spelled else same
        spelled = path
    return spelled


def _at_or_below(path: bytes, photos: Iterable[tuple[bytes, str]]) -> list[str]:
    prefix = path + b"/" if path else b""
    return [photo for other, photo in photos if other == path or (prefix and other.startswith(prefix))]


def _composed(raw_path: bytes) -> bytes:
    return composed(raw_path.decode("utf-8", errors="surrogateescape")).encode("utf-8", errors="surrogateescape")


def outermost(paths: set[bytes]) -> list[bytes]:
    """Without paths inside a folder that is listed too, so that no file comes twice."""

    def folders(path: bytes) -> set[bytes]:
        parts = path.split(b"/")
        return {b"/".join(parts[:depth]) for depth in range(len(parts))} if path else set()

    return sorted(path for path in paths if not folders(path) & paths)
