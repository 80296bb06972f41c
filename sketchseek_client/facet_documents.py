"""What the service answers about the choices that a filter has."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class FacetCount(BaseModel):
    """A choice, and how many photos it would leave."""

    name: str
    photos: int


class GalleryFacets(BaseModel):
    """How many photos each choice would leave.

    Each kind is counted as if only the filters of the other kinds were set, but folders are those inside `folder`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "photos": 1204,
                "tags": [{"name": "pets", "photos": 310}],
                "orientations": [{"name": "landscape", "photos": 800}, {"name": "portrait", "photos": 404}],
                "types": [{"name": "jpeg", "photos": 1204}],
                "folders": [{"name": "holidays/2024", "photos": 77}],
                "months": [{"name": "2024-06", "photos": 77}],
                "as_of": "2024-07-01T10:00:00.123456Z",
                "gallery_version": "1.42",
            }
        }
    )

    photos: int = Field(description="Photos that pass the whole filter.")
    tags: list[FacetCount] = Field(description="Values for `tag`, in alphabetical order.")
    orientations: list[FacetCount] = Field(description="Values for `orientation`.")
    types: list[FacetCount] = Field(description="Values for `type`.")
    folders: list[FacetCount] = Field(description="Values for `folder`: those directly inside it, or the outermost.")
    months: list[FacetCount] = Field(description="Months in which photos were taken, the earliest first.")
    as_of: str | None = Field(description="Of this version, for the filter of that name; null without photos.")
    gallery_version: str
