"""Settings of which photos belong to the gallery, and of how it follows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode

from index_builder.gallery_errors import GalleryError
from index_builder.object_storage.bucket_path import BucketPath
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_places import absolute_path, linked_folders_of
from index_builder.store.places import GalleryPlace, place_of


class GallerySettings(BaseSettings):
    """The part of `app.settings.Settings` that is about the gallery and its folders."""

    gallery: Annotated[GalleryPlace, NoDecode] = Field(
        Path("gallery"),
        description="Folder of the gallery, or its address in a bucket (s3://, gs://, az://); the first start builds "
        "it if `photos` is set.",
    )
    cache: Path | None = Field(
        None,
        description="Folder on this machine for search indices of a gallery in a bucket; none: the user's cache "
        "folder.",
    )
    photos: Annotated[PhotoFolders | None, NoDecode] = Field(
        None,
        description="Folder of the gallery's photos, an address such as s3://BUCKET/FOLDER, or several as NAME=PATH "
        "with colons between them; none: what the gallery remembers.",
    )
    exclude: Annotated[tuple[str, ...] | None, NoDecode] = Field(
        None,
        description="What to leave out, as patterns of gitignore with commas between them; none: what the gallery "
        "remembers.",
    )
    follow_links_to: Annotated[tuple[Path, ...] | None, NoDecode] = Field(
        None,
        description="Folders elsewhere that links in `photos` may lead to, with colons between them; none: what the "
        "gallery remembers.",
    )
    writes: Literal["auto", "off"] = Field(
        "auto",
        description="Whether this service may change the gallery: auto, by its keys and folders; off, it reads and "
        "follows what another one writes.",
    )
    watch: bool = Field(
        default=False, description="Reconcile the gallery with `photos` at start and follow changes in that folder."
    )
    rescan_s: float = Field(
        900.0, ge=0, description="Seconds between looks for photos that came or went unannounced; 0 turns them off."
    )
    full_rescan_s: float = Field(
        21600.0, ge=0, description="Seconds between looks at every file for changed contents; 0 turns them off."
    )
    watch_events: Literal["auto", "off"] = Field(
        "auto", description="Use the system's events of changes: auto, where it can; off: follow by rescans alone."
    )
    most_lost: float = Field(
        50.0,
        ge=0,
        le=100,
        description="Per cent of a folder's photos that may be gone or changed at once; more are held until confirmed.",
    )

    @field_validator("photos", mode="before")
    @classmethod
    def _folders(cls, value: object) -> object:
        if value is None or isinstance(value, PhotoFolders):
            return value
        try:
            return PhotoFolders.from_setting(value) if isinstance(value, str) else PhotoFolders.of(value)  # type: ignore[arg-type]
        except GalleryError as error:
            raise ValueError(str(error)) from None

    @field_validator("gallery", mode="before")
    @classmethod
    def _place(cls, value: str | GalleryPlace) -> GalleryPlace:
        try:
            place = place_of(value)
        except GalleryError as error:
            raise ValueError(str(error)) from None
        return place if isinstance(place, BucketPath) else absolute(place)

    @field_validator("cache", mode="before")
    @classmethod
    def _folder(cls, value: str | Path | None) -> Path | None:
        return None if value is None or value == "" else absolute(Path(value))

    @field_validator("exclude", mode="before")
    @classmethod
    def _patterns(cls, value: str | tuple[str, ...] | None) -> tuple[str, ...] | None:
        """An empty variable says nothing, since compose writes unset ones so."""
        if value is None or value == "":
            return None
        from index_builder.scanning.exclusions import patterns_of, user_patterns

        patterns = patterns_of(value) if isinstance(value, str) else tuple(value)
        try:
            user_patterns(patterns)
        except GalleryError as error:
            raise ValueError(str(error)) from None
        return patterns

    @field_validator("follow_links_to", mode="before")
    @classmethod
    def _linked(cls, value: str | tuple[Path, ...] | None) -> tuple[Path, ...] | None:
        if value is None or value == "":
            return None
        try:
            return linked_folders_of(value)
        except GalleryError as error:
            raise ValueError(str(error)) from None

    @property
    def may_change(self) -> bool:
        """Whether this service may change the gallery."""
        return self.writes != "off"

    @property
    def photo_folders(self) -> PhotoFolders:
        """What the settings say of the photos; the rest is what the gallery remembers."""
        return PhotoFolders(() if self.photos is None else self.photos.folders, self.follow_links_to, self.exclude)


def absolute(path: Path) -> Path:
    """Once and for all: another working directory must not lead to another place.

    Raises:
        ValueError: no such path can be.
    """
    try:
        return absolute_path(path)
    except GalleryError as error:
        raise ValueError(str(error)) from None
