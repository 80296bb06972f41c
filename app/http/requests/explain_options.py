"""The options of an explanation, as form fields and as JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.http.requests.invalid_field import invalid_field
from app.http.requests.min_version import MinVersion
from app.http.requests.query_request import SKETCH_FIELDS, QueryRequest
from app.http.requests.unknown_names import only_known_fields

_MOST_SOURCES = 24


class ExplainOptions(BaseModel):
    """What to explain; the same names as form fields and as members of the JSON body."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photo_id: str = Field(min_length=1, max_length=64, description="The photo to explain, from a search.")
    format: Literal["json", "overlay", "synthesis", "attention"] | None = Field(
        None, description="json, or which picture; without it, the header Accept decides between json and overlay."
    )
    min_version: MinVersion = None
    among: tuple[str, ...] = Field(
        (),
        max_length=_MOST_SOURCES,
        description="Further photos that a synthesis may take pieces from: give the result list for a universal one.",
    )


class ExplainBody(ExplainOptions):
    """The same as JSON: exactly one of `strokes` and `image`."""

    strokes: list[list[list[float]]] | None = Field(None, description="A drawing, as in POST /search.")
    image: str | None = Field(None, description="A picture of a sketch as a URI data:image/png;base64,...")


def parse_explain_options(sent: QueryRequest) -> ExplainOptions:
    """Options from the fields that came with the sketch.

    Raises:
        RequestError: `invalid_<name>` such as `invalid_photo_id`, `unknown_field`.
    """
    values = sent.values
    only_known_fields(values, ExplainOptions.model_fields, SKETCH_FIELDS[sent.from_json])
    if isinstance(among := values.get("among"), list):  # the validator checks each before it counts them
        values = {**values, "among": among[: _MOST_SOURCES + 1]}
    try:
        return ExplainOptions.model_validate(values)
    except ValidationError as error:
        raise invalid_field(error) from None
