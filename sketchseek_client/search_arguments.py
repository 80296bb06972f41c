"""What a search may be given: one list for both clients, and how it is sent."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypedDict

Picture = str | Path | bytes
Strokes = Sequence[Sequence[Sequence[float]]]
Day = str | date
Orientation = Literal["landscape", "portrait", "square"]
_FIELDS = {"tags": "tag", "types": "type"}
"""Arguments whose field in a request has another name."""


class FilterArguments(TypedDict, total=False):
    """Which photos: only those of which all of this is true. What they mean: docs/api.md, under the same names; `tags`
    is `tag` there, and `types` is `type`.
    """

    tags: Sequence[str]
    tag_all: Sequence[str]
    tag_none: Sequence[str]
    taken_from: Day | None
    taken_to: Day | None
    orientation: Orientation | None
    folder: str
    types: Sequence[str]
    as_of: str | None


class SearchArguments(FilterArguments, total=False):
    """The arguments of a search beside the sketch. None, or leaving one out, takes the service's default.

    What they mean: docs/api.md, under the same names, but for those of `FilterArguments`.
    """

    strokes: Strokes | None
    text: str | None
    photo: Picture | None
    like: Sequence[str]
    unlike: Sequence[str]
    sketch_weight: float
    text_weight: float
    photo_weight: float
    like_weight: float
    unlike_weight: float
    top_k: int
    candidates: int | None
    rerank: bool
    expand: bool
    context: bool
    explain: bool
    offset: int
    min_score: float | None
    min_version: str | None
    collapse: bool


class BatchQuery(SearchArguments, total=False):
    """One search of a batch: the arguments of a search, and its sketch."""

    sketch: Picture | None


def batch_body(queries: Sequence[BatchQuery]) -> dict[str, Any]:
    """The body of a batch. Raises as `search_body`."""
    return {"json": {"queries": [_as_json(query) for query in queries]}}


def _as_json(query: BatchQuery) -> dict[str, Any]:
    given: dict[str, Any] = dict(query)
    # Read each file once; what follows takes its bytes as well.
    for name in given.keys() & {"sketch", "photo"}:
        given[name] = None if given[name] is None else _content(given[name])
    sketch = given.pop("sketch", None)
    body = search_body(sketch, given)
    if "json" in body:
        plain: dict[str, Any] = body["json"]
        return plain
    pictures = {"image": sketch, "photo": given.get("photo")}
    options = {name: value for name, value in fields_of(given).items() if name != "photo"}
    return {**options, **{name: _as_uri(file) for name, file in pictures.items() if file is not None}}


def search_body(sketch: Picture | None, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a search: JSON, or a form where a picture comes as a file.

    Args:
        sketch: path or bytes of a picture, or None.
        arguments: as in `SearchArguments`.

    Raises:
        ValueError: nothing to search for, or `sketch` and `strokes`.
        TypeError: an argument that is none of these.
    """
    for name in arguments.keys() - SearchArguments.__annotations__.keys():
        raise TypeError(f"a search takes no argument {name!r}")
    given = fields_of(arguments)
    strokes, photo = given.pop("strokes", None), given.pop("photo", None)
    if sketch is None and strokes is None and photo is None and not given.keys() & {"text", "like"}:
        raise ValueError("give `sketch`, `strokes`, `text`, `photo` or `like`")
    return picture_body(sketch, strokes, given, photo)


def fields_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that say something, as fields of a request: as JSON writes them, but for pictures."""
    given = {name: value for name, value in arguments.items() if _says_something(value)}
    return {
        _FIELDS.get(name, name): value.isoformat() if isinstance(value, date) else value
        for name, value in given.items()
    }


def picture_body(
    sketch: Picture | None, strokes: Strokes | None, options: Mapping[str, Any], photo: Picture | None = None
) -> dict[str, Any]:
    """A body with pictures: JSON with strokes, a form with files, or JSON with neither.

    Raises:
        ValueError: `sketch` and `strokes`.
    """
    if sketch is not None and strokes is not None:
        raise ValueError("give `sketch` or `strokes`, not both")
    plain = {name: value if isinstance(value, str | int | float) else list(value) for name, value in options.items()}
    if strokes is not None:
        return {"json": {"strokes": strokes, **({} if photo is None else {"photo": _as_uri(photo)}), **plain}}
    given = {"sketch": sketch, "photo": photo}
    files = {name: (name, _content(file)) for name, file in given.items() if file is not None}
    if not files:
        return {"json": plain}
    return {"files": files, "data": {name: _as_text(value) for name, value in plain.items()}}


def _says_something(value: Any) -> bool:
    """Whether it is there. An empty text or picture is a mistake, which the service names; an empty list is none."""
    return value is not None and (isinstance(value, str | bytes) or not isinstance(value, Sequence) or len(value) > 0)


def _content(picture: Picture) -> bytes:
    return picture if isinstance(picture, bytes) else Path(picture).read_bytes()


def _as_uri(picture: Picture) -> str:
    """The picture as a data: URI. The service tells its kind by its bytes."""
    return "data:application/octet-stream;base64," + base64.b64encode(_content(picture)).decode()


def _as_text(value: Any) -> Any:
    """A form's way to write a value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, list) else str(value)
