"""Which photos a request is about: the same fields in a form, in JSON and in an address."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from app.http.requests.documented_query_body import without_null
from app.http.requests.invalid_field import invalid_field
from app.http.requests.unknown_names import repeated_parameter, shown, unknown_parameter
from app.service_errors import RequestError
from index_builder import GallerySnapshot
from index_builder.gallery_errors import UnknownFolderError, UnknownTagError
from index_builder.photo_filter import FileType, Orientation, PhotoFilter

MOST_NAMED = 32
"""Most tags, and most types, that one filter names."""


def _day(value: Any) -> date:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise PydanticCustomError("day", "must be a day") from None


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone() if moment.tzinfo is not None else moment
    except (TypeError, ValueError, OverflowError):
        raise PydanticCustomError("moment", "must be a time") from None


# Without the validators, a number would be taken for seconds since 1970, and JSON would take no text at all.
Day = Annotated[date, BeforeValidator(_day)]
Moment = Annotated[datetime, BeforeValidator(_moment)]


class FilterOptions(BaseModel):
    """Only photos of which all of this is true."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tag: list[str] = Field([], max_length=MOST_NAMED, description="Only photos with any of these tags.")
    tag_all: list[str] = Field([], max_length=MOST_NAMED, description="Only photos with all of these tags.")
    tag_none: list[str] = Field([], max_length=MOST_NAMED, description="Only photos with none of these tags.")
    taken_from: Day | None = Field(
        None, description="Only photos taken on this day or later, such as 2024-06-01; see `taken` of a result."
    )
    taken_to: Day | None = Field(None, description="Only photos taken on this day or earlier.")
    orientation: Orientation | None = Field(
        None, description="Only photos that are wider than tall, taller than wide, or as wide as tall."
    )
    folder: str = Field(
        "", description="Only photos in this folder or below it, such as holidays/2024; whole names of folders."
    )
    type: list[FileType] = Field(
        [], max_length=MOST_NAMED, description="Only files of any of these types, by the endings of their names."
    )
    as_of: Moment | None = Field(
        None,
        description="Only photos that were in the gallery at this time. Send the `as_of` of the first answer with the "
        "next pages, and they stay the same while photos are added.",
    )

    def check(self) -> None:
        """Check what no field can tell alone.

        Raises:
            RequestError: `invalid_taken_to`.
        """
        if self.taken_from is not None and self.taken_to is not None and self.taken_to < self.taken_from:
            raise RequestError("invalid_taken_to", "`taken_to` is before `taken_from`.", field="taken_to")

    def chosen(self, snapshot: GallerySnapshot) -> PhotoFilter:
        """The filter, for one version of the gallery.

        Raises:
            RequestError: `unknown_tag`, `unknown_folder`.
        """
        chosen = PhotoFilter(
            tags=tuple(self.tag),
            tags_all=tuple(self.tag_all),
            tags_none=tuple(self.tag_none),
            taken_from=self.taken_from,
            taken_to=self.taken_to,
            orientation=self.orientation,
            folder=self.folder,
            types=tuple(self.type),
            as_of=self.as_of,
        )
        try:
            snapshot.check(chosen)
        except UnknownTagError as error:
            said = f"No photo has the tag “{shown(error.name)}”; GET /gallery lists the tags."
            raise RequestError(error.code, said) from None
        except UnknownFolderError as error:
            said = f"No photo lies in the folder “{shown(error.name)}”; GET /gallery/facets lists folders."
            raise RequestError(error.code, said) from None
        return chosen


REPEATABLE = frozenset(name for name, field in FilterOptions.model_fields.items() if isinstance(field.default, list))
"""Fields that may be given several times."""


def filter_of_address(request: Request) -> FilterOptions:
    """The filter in the query parameters of a request.

    Raises:
        RequestError: `unknown_parameter`, `repeated_parameter`, `invalid_<name>` such as `invalid_taken_from`.
    """
    values: dict[str, Any] = {}
    for name in request.query_params:
        if name not in FilterOptions.model_fields:
            raise unknown_parameter(name, list(FilterOptions.model_fields))
        several = request.query_params.getlist(name)
        if name not in REPEATABLE and len(several) > 1:
            raise repeated_parameter(name)
        values[name] = several if name in REPEATABLE else several[0]
    try:
        options = FilterOptions.model_validate(values)
    except ValidationError as error:
        raise invalid_field(error) from None
    options.check()
    return options


def documented_parameters() -> list[dict[str, Any]]:
    """The fields as query parameters, as the OpenAPI document shows them."""
    return [
        {"name": name, "in": "query", "required": False, "description": schema.pop("description"), "schema": schema}
        for name, field in FilterOptions.model_json_schema()["properties"].items()
        if (schema := without_null({key: value for key, value in field.items() if key != "title"}))
    ]
