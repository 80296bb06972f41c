"""From a JSON body to checked values: the object, strokes, and the bytes of a picture."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from typing import Any, Never

from app.service_errors import RequestError

_HALF_A_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")  # escapes of surrogates, which should come in pairs


def parse_json(body: bytes, most_values: int = 1_000_000) -> dict[str, Any]:
    """A JSON object.

    Args:
        body: its text in UTF-8.
        most_values: most values it may hold. They are counted by commas before anything is parsed: Python's parser
            blocks the whole process, and takes seconds and gigabytes for ten megabytes of empty lists.

    Raises:
        RequestError: `malformed_json` (no JSON, or no object), `not_finite` (NaN or an infinity), `too_many_points`.
    """
    if body.count(b",") > most_values:
        raise RequestError("too_many_points", f"The body holds more than the {most_values:,} values allowed.")

    def refuse(constant: str) -> Never:
        raise RequestError("not_finite", f"{constant} is not a number that can be drawn or compared.")

    try:
        text = body.decode(json.detect_encoding(body))
        value = json.loads(text, parse_constant=refuse)
        if _HALF_A_CHARACTER.search(text):  # an answer could not repeat it
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise RequestError("malformed_json", "The body is not valid JSON.", 400) from None
    if not isinstance(value, dict):
        raise RequestError("malformed_json", "The body must be a JSON object.", 400)
    return value


def parse_strokes(value: Any, max_strokes: int, max_points: int) -> list[list[list[float]]]:
    """Quick, Draw! strokes: a list of [[x, ...], [y, ...]] (further rows, such as times, are ignored).

    Raises:
        RequestError: `malformed_strokes`, `not_finite`, `too_many_strokes`, `too_many_points`.
    """
    shape = "`strokes` must be a list of strokes [[x, ...], [y, ...]] with as many x as y."
    if not isinstance(value, list) or not value:
        raise RequestError("malformed_strokes", shape)
    if len(value) > max_strokes:
        raise RequestError("too_many_strokes", f"The drawing has {len(value):,} strokes; {max_strokes:,} are allowed.")
    strokes: list[list[list[float]]] = []
    points = 0
    for stroke in value:
        if (
            not isinstance(stroke, list)
            or not 2 <= len(stroke) <= 3
            or not all(isinstance(r, list) for r in stroke[:2])
        ):
            raise RequestError("malformed_strokes", shape)
        x, y = stroke[:2]
        if len(x) != len(y) or not x:
            raise RequestError("malformed_strokes", shape)
        points += len(x)
        if points > max_points:
            raise RequestError("too_many_points", f"The drawing has more than the {max_points:,} points allowed.")
        strokes.append([[_coordinate(v) for v in x], [_coordinate(v) for v in y]])
    return strokes


def _coordinate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError("malformed_strokes", "The coordinates of `strokes` must be numbers.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or abs(number) > 1e6:
        raise RequestError("not_finite", "The coordinates of `strokes` must be finite and at most a million.")
    return number


def parse_data_uri(value: Any, name: str) -> bytes:
    """The bytes of a `data:` URI in base64. Any other URI is refused; nothing is ever fetched.

    Args:
        value: what was sent.
        name: of the member, such as `image`.

    Raises:
        RequestError: `malformed_<name>`.
    """
    wrong = RequestError(f"malformed_{name}", f"`{name}` must be a URI of the form data:image/png;base64,...")
    if not isinstance(value, str) or not value[:5].lower() == "data:":
        raise wrong
    head, comma, data = value.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise wrong
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise wrong from None
