"""The body of a request that carries a sketch, as the OpenAPI document shows it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

_FILE = {"type": "string", "format": "binary", "description": "A picture of a sketch: dark lines on light."}
_STROKES = [[[20, 235, 235, 20, 20], [60, 60, 200, 200, 60]], [[20, 128, 235], [60, 10, 60]]]


def sketch_body(
    form: type[BaseModel], body: type[BaseModel], title: str, example: dict[str, Any], **fields: dict[str, Any]
) -> dict[str, Any]:
    """Both kinds of body, which one route takes side by side: a form with a file, and JSON.

    Args:
        form: the fields of the form, without the sketch.
        body: the members of the JSON document, with `strokes` and `image`.
        title: of the form's schema.
        example: values of some fields, the same in both.
        fields: schemas of form fields that are to be shown in another way than `form` says.
    """
    as_form = form.model_json_schema()
    properties = {name: fields.get(name) or _not_null(schema) for name, schema in as_form["properties"].items()}
    as_form |= {
        "title": title,
        "properties": {"sketch": _FILE, **properties},
        "required": ["sketch", *as_form.get("required", [])],
    }
    as_json = body.model_json_schema() | {"oneOf": [{"required": ["strokes"]}, {"required": ["image"]}]}
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": as_form, "example": {"sketch": "(a file)", **example}},
            "application/json": {"schema": as_json, "example": {"strokes": _STROKES, **example}},
        },
    }


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A form field's schema without null: a field that is not wanted is left out."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    plain = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    return {**plain, **(kinds or [{}])[0]}
