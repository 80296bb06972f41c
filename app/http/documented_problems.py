"""The errors of the routes, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any

from app.http.problems import PROBLEM_JSON
from sketchseek_client import ProblemDocument

_MEANING = {
    400: "The body cannot be read.",
    401: "A key is missing or wrong.",
    403: "The key is not enough, or the service changes nothing.",
    404: "There is no such thing.",
    408: "The body took too long.",
    409: "The photos' folder cannot be changed.",
    413: "The body or the image is too large.",
    415: "The body or the image is of a kind that is not accepted.",
    421: "The service is not known by that host name.",
    422: "What was sent is readable but cannot be used; `code` says why.",
    429: "Too many requests; `Retry-After` says when to come again.",
    500: "A defect; the log has more under the request id.",
    503: "Busy, starting or shutting down; `Retry-After` says when to come again.",
    507: "No room left.",
}


_EXAMPLE_CODE = {
    400: "malformed_form",
    401: "key_required",
    403: "writes_disabled",
    404: "unknown_photo",
    408: "body_timeout",
    409: "photos_read_only",
    413: "body_too_large",
    415: "unsupported_media_type",
    421: "unknown_host",
    422: "blank_sketch",
    429: "rate_limited",
    503: "queue_full",
    507: "disk_full",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route: these statuses, and those that any route may answer."""
    documents: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 421, 429, 500, 503}):
        example = {
            "type": "about:blank",
            "title": "",
            "status": status,
            "code": _EXAMPLE_CODE.get(status, "internal_error"),
            "detail": _MEANING[status],
            "request_id": "5f0c2b8e9a7d4c31",
        }
        documents[status] = {
            "model": ProblemDocument,
            "description": _MEANING[status],
            "content": {PROBLEM_JSON: {"example": example}},
        }
    return documents
