"""The options of a search, as form fields and as JSON. The OpenAPI document describes requests by these models."""

from __future__ import annotations

from pydantic import Field, ValidationError

from app.http.requests.filter_options import FilterOptions
from app.http.requests.invalid_field import invalid_field
from app.http.requests.min_version import MinVersion
from app.http.requests.part_options import PartOptions, check_parts
from app.http.requests.query_request import PHOTO_FIELD, SKETCH_FIELDS, QueryRequest
from app.http.requests.unknown_names import only_known_fields
from app.service_errors import RequestError

MOST_EXPLAINED = 20
"""Most results that one search explains."""


class SearchOptions(FilterOptions, PartOptions):
    """What to search for, and how; the same names as form fields and as members of the JSON body."""

    top_k: int = Field(20, ge=1, description="Results wanted.")
    candidates: int | None = Field(
        None,
        ge=1,
        description="Depth of the recall stage: photos compared in detail. 100, or more where top_k needs it.",
    )
    rerank: bool = Field(
        default=True, description="false: order by the recall score alone, as a query without a sketch always is."
    )
    expand: bool = Field(
        default=True,
        description="Widen the search by its first hits, where the checkpoint does so; false finds less of a kind and "
        "more kinds.",
    )
    context: bool = Field(
        default=True,
        description="Let the candidates' scores heed each other, if the checkpoint does so; false scores each alone.",
    )
    explain: bool = Field(
        default=False, description="Say of each result which patches matched; for 20 results at most, and slower."
    )
    offset: int = Field(0, ge=0, description="Results to skip, for paging within the candidates.")
    min_score: float | None = Field(None, ge=-1, le=1, description="Leave out results with a lower score.")
    min_version: MinVersion = None
    collapse: bool = Field(
        default=False,
        description="Near-identical results become one, which counts and names the others: the same picture saved "
        "again, resized or cropped a little.",
    )

    @property
    def depth(self) -> int:
        """Candidates that the recall stage looks for."""
        return self.candidates if self.candidates is not None else max(100, self.top_k + self.offset)


class SearchBody(SearchOptions):
    """A search as JSON: at most one of `strokes` and `image`."""

    strokes: list[list[list[float]]] | None = Field(
        None, description="A drawing: per stroke [[x, ...], [y, ...]], y downwards, any scale; as in Quick, Draw!"
    )
    image: str | None = Field(None, description="A picture of a sketch as a URI data:image/png;base64,...")
    photo: str | None = Field(
        None, description="A photo as a URI data:image/jpeg;base64,...: what is wanted looks like it."
    )


def parse_options(sent: QueryRequest, max_top_k: int, max_candidates: int) -> SearchOptions:
    """Options from form fields or JSON members, within the service's limits.

    Args:
        sent: what the client sent. Of JSON, which has numbers of its own, no text is accepted for numbers.
        max_top_k, max_candidates: the limits.

    Raises:
        RequestError: `invalid_<name>` such as `invalid_top_k`, `candidates_below_top_k`, `unknown_field`; and as
            `check_parts`.
    """
    only_known_fields(sent.values, SearchOptions.model_fields, (*SKETCH_FIELDS[sent.from_json], PHOTO_FIELD))
    try:
        options = SearchOptions.model_validate(sent.values, strict=sent.from_json)
    except ValidationError as error:
        raise invalid_field(error) from None
    if options.top_k > max_top_k:
        raise RequestError("invalid_top_k", f"`top_k` may be at most {max_top_k}.", maximum=max_top_k)
    if options.depth > max_candidates:
        code = "invalid_candidates" if options.candidates is not None else "invalid_offset"
        raise RequestError(code, f"`candidates` may be at most {max_candidates}.", maximum=max_candidates)
    if options.explain and options.top_k > MOST_EXPLAINED:
        raise RequestError("invalid_explain", f"`explain` takes a `top_k` of at most {MOST_EXPLAINED}.")
    if options.explain and not (sent.sketch and options.sketch_weight):
        raise RequestError("invalid_explain", "`explain` needs a sketch, whose patches are matched.")
    if options.depth < options.top_k:
        raise RequestError(
            "candidates_below_top_k", f"`candidates` ({options.depth}) must be at least `top_k` ({options.top_k})."
        )
    options.check()
    check_parts(sent, options)
    return options
