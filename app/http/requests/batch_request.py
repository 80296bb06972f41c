"""The body of a batch: several searches in one request, as JSON."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from app.http.requests.bodies import media_type, read_body
from app.http.requests.documented_query_body import HOUSE
from app.http.requests.json_values import parse_json
from app.http.requests.query_request import most_values
from app.http.requests.unknown_names import unknown_field
from app.service_errors import RequestError
from app.settings import Settings

MOST_QUERIES = 64


def batch_body() -> dict[str, Any]:
    """The body, as the OpenAPI document shows it."""
    query = {
        "type": "object",
        "description": "As the JSON body of POST /search. One that is wrong is answered with its own problem.",
    }
    schema = {
        "title": "BatchBody",
        "type": "object",
        "additionalProperties": False,
        "required": ["queries"],
        "properties": {
            "queries": {"type": "array", "minItems": 1, "maxItems": MOST_QUERIES, "items": query},
        },
    }
    example = {"queries": [{"strokes": HOUSE, "top_k": 5}, {"text": "a red umbrella"}]}
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}


async def read_batch(request: Request, settings: Settings) -> list[dict[str, Any]]:
    """The members of each query, unchecked.

    Raises:
        RequestError: `unsupported_media_type`, `unknown_field`, `invalid_queries`, and as `parse_json`.
        BodyTooLargeError, BodyTimeoutError, ClientLeftError: see `app.http.requests.bodies`.
    """
    if media_type(request) != "application/json":
        raise RequestError("unsupported_media_type", "Send a batch as application/json.", 415)
    body = await read_body(request, settings.max_body_bytes, settings.body_timeout_s)
    values = parse_json(body, most_values(settings))
    for name in values.keys() - {"queries"}:
        raise unknown_field(name, ["queries"])
    queries = values.get("queries")
    if not isinstance(queries, list) or not all(isinstance(one, dict) for one in queries):
        raise RequestError("invalid_queries", "`queries` must be a list of searches.", field="queries")
    if not 0 < len(queries) <= MOST_QUERIES:
        raise RequestError("invalid_queries", f"`queries` must have 1 to {MOST_QUERIES} searches.", field="queries")
    return queries
