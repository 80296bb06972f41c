"""The error for a field whose value is none."""

from __future__ import annotations

from pydantic import ValidationError

from app.http.value_errors import wrong_value
from app.service_errors import RequestError


def invalid_field(error: ValidationError) -> RequestError:
    """The first mistake, under a code that names the field. The value is not repeated."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "body"
    return RequestError(f"invalid_{name}", wrong_value(name, first), field=name)
