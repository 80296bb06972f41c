"""What a validator found wrong with a value, in the words of the interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WANTED = {
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a number, neither infinite nor NaN",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "missing": "is missing",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "may be at most {le}",
    "too_long": "may have at most {max_length} entries",
    "string_too_long": "may have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "literal_error": "must be one of {expected}",
    "day": "must be a day such as 2024-06-30",
    "moment": "must be a time such as 2024-06-30T12:00:00Z",
}


def wrong_value(name: str, error: Mapping[str, Any]) -> str:
    """One sentence that says what is wrong with the value of `name`, without repeating the value.

    Args:
        name: of the field or parameter.
        error: one of pydantic's, with its context.
    """
    wanted = _WANTED.get(str(error.get("type")))
    if wanted is None:
        return f"`{name}`: {error.get('msg', 'cannot be used')}."
    limits = {key: f"{value:g}" if isinstance(value, float) else value for key, value in error.get("ctx", {}).items()}
    return f"`{name}` {wanted.format(**limits)}."
