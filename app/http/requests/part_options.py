"""The parts of a query that are no files, and what each part weighs: as form fields and as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.http.requests.query_request import QueryRequest
from app.service_errors import RequestError

MOST_MARKED = 32
"""Most photos that one query likes, and most that it does not."""

PhotoIds = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=MOST_MARKED)]
Weight = Annotated[float, Field(ge=0, le=10)]
_HOW_MUCH = "How much {} beside the other parts; 0 leaves it out."


class PartOptions(BaseModel):
    """What a query is made of beside its pictures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str | None = Field(None, description="Words for what is wanted, such as: a red umbrella.")
    like: PhotoIds = Field([], description="Ids of photos that are what is wanted. They come first.")
    unlike: PhotoIds = Field(
        [], description="Ids of photos that are not. They are left out, and others like them sink."
    )
    sketch_weight: Weight = Field(1.0, description=_HOW_MUCH.format("the sketch counts"))
    text_weight: Weight = Field(1.0, description=_HOW_MUCH.format("the text counts"))
    photo_weight: Weight = Field(1.0, description=_HOW_MUCH.format("the photo counts"))
    like_weight: Weight = Field(1.0, description=_HOW_MUCH.format("what is liked counts, all photos together,"))
    unlike_weight: Weight = Field(
        1.0, description="How much what is not liked counts; bounded, so that the rest decides. 0 leaves it out."
    )


def check_parts(sent: QueryRequest, options: PartOptions) -> None:
    """Refuse a query that says nothing of what is wanted, or the opposite of itself.

    Raises:
        RequestError: `no_parts`, `like_and_unlike`.
    """
    wanted = (
        (sent.sketch, options.sketch_weight),
        (options.text is not None, options.text_weight),
        (sent.photo, options.photo_weight),
        (options.like, options.like_weight),
    )
    if not any(part and weight for part, weight in wanted):
        sketch = "`strokes` or `image`" if sent.from_json else "`sketch`"
        raise RequestError(
            "no_parts", f"A query needs one of {sketch}, `text`, `photo` and `like`, with a weight above 0."
        )
    if set(options.like) & set(options.unlike):
        raise RequestError("like_and_unlike", "A photo is in `like` and in `unlike`; leave it out of one of them.")
