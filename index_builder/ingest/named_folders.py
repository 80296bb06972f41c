"""Which folders of photos a change is about: those that were named, and what the gallery remembers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from index_builder.gallery_errors import GalleryNotFoundError
from index_builder.photo_folders import PhotoFolders, Photos
from index_builder.scanning.exclusions import user_patterns
from index_builder.store.gallery import Gallery


def chosen_folders(
    gallery: str | Path,
    photos: Photos | None,
    *,
    exclude: tuple[str, ...] | None = None,
    links_to: tuple[Path, ...] | None = None,
) -> PhotoFolders:
    """The folders that were named, with what the gallery remembers where nothing was said.

    Args:
        gallery: its folder; it need not exist.
        photos: None takes what the gallery remembers.
        exclude: patterns that replace those of `photos`; None keeps them.
        links_to: folders elsewhere that links may lead to, instead of those of `photos`; None keeps them.

    Raises:
        GalleryError: neither photos nor a gallery, or a pattern is none.
    """
    folders, _ = named_folders(Path(gallery), photos)
    if links_to is not None:
        folders = replace(folders, links_to=links_to)
    if exclude is None:
        return folders
    user_patterns(exclude)
    return replace(folders, exclude=exclude)


def named_folders(gallery: Path, photos: Photos | None) -> tuple[PhotoFolders, PhotoFolders | None]:
    """The folders that were named, with what the gallery remembers where nothing was said; and what it remembers."""
    try:
        opened = Gallery.open(gallery)
        remembered = opened.metadata(opened.dataset()).folders
    except GalleryNotFoundError:
        if photos is None:
            raise
        remembered = None
    folders = PhotoFolders.of(photos).over(remembered) if photos is not None else remembered
    assert folders is not None  # noqa: S101 - or the exception was raised again
    user_patterns(folders.exclude or ())
    return folders, remembered
