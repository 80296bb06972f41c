"""Which folders of photos a change is about: those that were named, and what the gallery remembers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from index_builder.gallery_errors import GalleryNotFoundError
from index_builder.photo_folders import PhotoFolders, Photos
from index_builder.scanning.exclusions import user_patterns
from index_builder.store.gallery import Gallery
from index_builder.store.places import GalleryPlace


def chosen_folders(
    gallery: str | GalleryPlace,
    photos: Photos | None,
    *,
    exclude: tuple[str, ...] | None = None,
    links_to: tuple[Path, ...] | None = None,
) -> PhotoFolders:
    """What a user says of the photos. What he does not say stays open until the change begins.

    Args:
        gallery: its folder; it need not exist.
        photos: None takes what the gallery remembers.
        exclude: patterns that replace those of `photos`; None keeps them.
        links_to: folders elsewhere that links may lead to, instead of those of `photos`; None keeps them.

    Raises:
        GalleryError: neither photos nor a gallery, or a pattern is none.
    """
    said = PhotoFolders(()) if photos is None else PhotoFolders.of(photos)
    if not said.folders:
        Gallery.open(gallery)
    user_patterns(exclude or ())
    return replace(
        said,
        links_to=said.links_to if links_to is None else links_to,
        exclude=said.exclude if exclude is None else exclude,
    )


def named_folders(gallery: GalleryPlace, photos: Photos | None) -> tuple[PhotoFolders, PhotoFolders | None]:
    """The folders that were named, with what the gallery remembers where nothing was said; and what it remembers."""
    said = PhotoFolders(()) if photos is None else PhotoFolders.of(photos)
    try:
        remembered = Gallery.folders_of(gallery)
    except GalleryNotFoundError:
        if not said.folders:
            raise
        remembered = None
    folders = said.over(remembered)
    user_patterns(folders.exclude or ())
    return folders, remembered
