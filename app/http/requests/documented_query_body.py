"""The bodies of requests that carry pictures, as the OpenAPI document shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

_FILE = {"type": "string", "format": "binary", "description": "A picture of a sketch: dark lines on light."}
_PHOTO = {"type": "string", "format": "binary", "description": "A photo: what is wanted looks like it."}
HOUSE = [[[20, 235, 235, 20, 20], [60, 60, 200, 200, 60]], [[20, 128, 235], [60, 10, 60]]]


def query_body(
    form: type[BaseModel],
    body: type[BaseModel],
    title: str,
    example: dict[str, Any],
    *,
    alone: Sequence[str] = (),
    **fields: dict[str, Any],
) -> dict[str, Any]:
    """Both kinds of body, which one route takes side by side: a form with files, and JSON.

    Args:
        form: the fields of the form, without the files.
        body: the members of the JSON document, with `strokes`, `image` and perhaps `photo`.
        title: of the form's schema.
        example: values of some fields, the same in both.
        alone: other fields that make a sketch dispensable; () needs a sketch.
        fields: schemas of form fields that are to be shown in another way than `form` says.
    """
    as_form, as_json = form.model_json_schema(), body.model_json_schema()
    properties = {name: fields.get(name) or without_null(schema) for name, schema in as_form["properties"].items()}
    files = {"sketch": _FILE, **({"photo": _PHOTO} if "photo" in alone else {})}
    as_form |= {"title": title, "properties": {**files, **properties}}
    if alone:
        as_form["anyOf"] = [{"required": [name]} for name in ("sketch", *alone)]
        as_json["anyOf"] = [{"required": [name]} for name in ("strokes", "image", *alone)]
        as_json["not"] = {"required": ["strokes", "image"]}
    else:
        as_form["required"] = ["sketch", *as_form.get("required", [])]
        as_json["oneOf"] = [{"required": ["strokes"]}, {"required": ["image"]}]
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": as_form, "example": {"sketch": "(a file)", **example}},
            "application/json": {"schema": as_json, "example": {"strokes": HOUSE, **example}},
        },
    }


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A field's schema without null: in forms and addresses, a field that is not wanted is left out."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    plain = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    return {**plain, **(kinds or [{}])[0]}
