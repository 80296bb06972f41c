"""What a search, a search for similar photos and an explanation answer."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

EXAMPLE_ID = "k3v5w2mz7qhd4t6ynb2rfxp5ce"
_RESULT: dict[str, Any] = {
    "rank": 1,
    "photo_id": EXAMPLE_ID,
    "score": 0.93,
    "likely": True,
    "relation_score": 0.93,
    "recall_score": 0.71,
    "recall_rank": 3,
    "url": f"/photos/{EXAMPLE_ID}",
    "thumbnail_url": f"/photos/{EXAMPLE_ID}/thumbnail",
    "path": "pets/cat.jpg",
    "tags": ["pets"],
    "width": 1600,
    "height": 1200,
    "taken": "2024-06-30T12:00:00",
    "contributions": {"sketch": 0.52, "expansion": 0.19},
}
_TIMINGS: dict[str, Any] = {"decode": 1.9, "queue": 0.3, "encode": 21.5, "recall": 0.6, "rerank": 61.0, "total": 85.6}
_SERVED: dict[str, Any] = {"gallery_version": "1.42", "checkpoint": "zse-lite"}

EXAMPLE_ANSWER: dict[str, Any] = {
    "results": [_RESULT],
    "timings_ms": _TIMINGS,
    **_SERVED,
    "reranked": True,
    "parts": {"sketch": 1.0},
    "little_ink": False,
    "total_photos": 10000,
    "as_of": "2024-07-01T10:00:00.123456+00:00",
}

Share = Annotated[float, Field(ge=0, le=1)]
# The command line answers with the same documents and has no address to give. The service always has one, so its
# interface does not mention null.
Address = str | SkipJsonSchema[None]
_DRAWN = "Share of the picture's sides: x, y, width, height, from the top left."


class CorrespondenceDocument(BaseModel):
    """A sketch patch and the photo patch it matched."""

    sketch_patch: int = Field(description="Position in the sketch's patch grid, row by row.")
    photo_patch: int = Field(description="Position in the photo's patch grid, row by row.")
    sketch_box: list[Share] = Field(description=f"Where it lies in `sketch_image`. {_DRAWN}")
    photo_box: list[Share] = Field(description=f"Where it lies in the photo. {_DRAWN}")
    weight: Share = Field(description="Strength: geometric mean of the weights in both directions.")
    mutual: bool = Field(description="Each is the other's best match.")
    contribution: float = Field(description="What the pair adds to the relation logit; 0 where that is not known.")
    clear: bool = Field(description="It weighs far more than most patches of the two pictures: it is worth showing.")


class Duplicate(BaseModel):
    """A photo that is near-identical to a result, which stands for it."""

    photo_id: str
    path: str
    url: Address
    thumbnail_url: Address


class Result(BaseModel):
    """One photo found."""

    rank: int = Field(description="From 1; counts from the whole list's beginning.")
    photo_id: str
    score: float = Field(
        description="What results are ordered by, behind the liked photos: the checkpoint's rule, or the recall score."
    )
    likely: bool | None = Field(
        default=None,
        description="Whether it likely shows what is asked for, compared with the query's first candidates. Likely "
        "results come first; where nothing is right, there may be none. null: the checkpoint cannot tell.",
    )
    relation_score: float | None = Field(
        default=None, description="Probability of the relation network; null without rerank."
    )
    recall_score: float = Field(
        description="Inner product of the photo's descriptor and the query's, or what it was expanded to: the cosine, "
        "but with a sketch or text less for photos like those that the network was trained on."
    )
    recall_rank: int = Field(description="Rank in the recall stage, from 1.")
    url: Address
    thumbnail_url: Address
    path: str = Field(description="Relative to the gallery's folder.")
    tags: list[str]
    width: int
    height: int
    taken: str = Field(
        description="When it was taken, such as 2024-06-30T12:00:00: by the camera's clock, which has no zone, or else "
        "when its file was modified, in UTC."
    )
    count: int | None = Field(
        default=None,
        description="How many near-identical candidates it stands for, itself included; left out without `collapse`.",
        exclude_if=lambda value: value is None,
    )
    duplicates: list[Duplicate] | None = Field(
        default=None,
        description="The others of them, best first; left out without `collapse`.",
        exclude_if=lambda value: value is None,
    )
    contributions: dict[str, float] = Field(
        description="What each part of the query gave to `recall_score`, and `expansion` what its first hits gave; "
        "together they are `recall_score`, but for rounding."
    )
    correspondences: list[CorrespondenceDocument] | None = Field(
        default=None,
        description="Which patches matched; left out unless `explain` asked for it.",
        exclude_if=lambda value: value is None,
    )


class Timings(BaseModel):
    """Milliseconds spent in each stage; `queue` is the wait for the device, `total` the service's whole share."""

    decode: float
    queue: float
    encode: float
    recall: float
    rerank: float
    explain: float | None = Field(
        default=None, description="Left out unless `explain` asked for it.", exclude_if=lambda value: value is None
    )
    total: float


class SearchAnswer(BaseModel):
    """What was found."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE_ANSWER})

    results: list[Result]
    timings_ms: Timings
    gallery_version: str
    checkpoint: str
    reranked: bool = Field(description="Whether candidates were compared in detail, which needs a sketch.")
    parts: dict[str, float] = Field(
        description="The parts of the query that counted (`sketch`, `text`, `photo`, `like`, `unlike`) and their "
        "weights."
    )
    little_ink: bool = Field(
        default=False,
        description="Whether the sketch is no more than a dot or one straight line, which tells hardly anything.",
    )
    total_photos: int = Field(description="Photos searched: the whole gallery, or those that the query lets through.")
    as_of: str | None = Field(
        description="Send it with the next pages, and they stay the same while photos are added; null without photos."
    )


class SimilarAnswer(BaseModel):
    """Photos like a photo, by their descriptors."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "results": [{**_RESULT, "relation_score": None, "score": 0.71, "contributions": {"like": 0.71}}],
                **_SERVED,
                "total_photos": 9999,
            }
        }
    )

    results: list[Result]
    gallery_version: str
    checkpoint: str
    total_photos: int


class Explanation(BaseModel):
    """Why a photo matches a sketch."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "photo_id": EXAMPLE_ID,
                "score": 0.93,
                "relation_score": 0.93,
                "relation_logit": 2.59,
                "recall_score": 0.71,
                "grid": 14,
                "matches": True,
                "sketch_image": "data:image/png;base64,iVBORw0KGgo=",
                "correspondences": [
                    {
                        "sketch_patch": 45,
                        "photo_patch": 59,
                        "sketch_box": [0.21429, 0.21429, 0.07143, 0.07143],
                        "photo_box": [0.21429, 0.28571, 0.07143, 0.07143],
                        "weight": 0.37,
                        "mutual": True,
                        "contribution": 0.12,
                        "clear": True,
                    }
                ],
                "checkpoint": "zse-lite",
                "gallery_version": "1.42",
                "timings_ms": {"decode": 1.9, "encode": 21.5, "relate": 9.8, "total": 35.2},
            }
        }
    )

    photo_id: str
    score: float
    relation_score: float
    relation_logit: float
    recall_score: float
    grid: int = Field(description="Side of both patch grids.")
    matches: bool = Field(
        description="Whether the network matches patches. If not, there are no correspondences, and the picture "
        "attention shows which of the photo's patches counted."
    )
    sketch_image: str = Field(description="The sketch as the network sees it, as a data: URI.")
    correspondences: list[CorrespondenceDocument] = Field(description="Mutual best matches first, then by weight.")
    checkpoint: str
    gallery_version: str
    timings_ms: dict[str, float] = Field(description="Milliseconds of decode, encode, relate and in total.")
