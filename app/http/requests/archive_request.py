"""The body of a request for an archive: ids of photos, as JSON."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from app.http.requests.bodies import media_type, read_body
from app.http.requests.json_values import parse_json
from app.http.requests.unknown_names import unknown_field
from app.service_errors import RequestError
from app.settings import Settings
from sketchseek_client.search_documents import EXAMPLE_ID


def archive_body() -> dict[str, Any]:
    """The body, as the OpenAPI document shows it."""
    ids = {
        "type": "array",
        "minItems": 1,
        "items": {"type": "string"},
        "description": "Ids of photos, from a search. One that is named twice counts once.",
    }
    schema = {
        "title": "ArchiveBody",
        "type": "object",
        "additionalProperties": False,
        "required": ["photos"],
        "properties": {"photos": ids},
    }
    return {"required": True, "content": {"application/json": {"schema": schema, "example": {"photos": [EXAMPLE_ID]}}}}


async def read_archive(request: Request, settings: Settings) -> list[str]:
    """The ids, each once, in the order in which they were sent.

    Raises:
        RequestError: `unsupported_media_type`, `unknown_field`, `invalid_photos`, `too_many_photos`, and as
            `parse_json`.
        BodyTooLargeError, BodyTimeoutError, ClientLeftError: see `app.http.requests.bodies`.
    """
    if media_type(request) != "application/json":
        raise RequestError("unsupported_media_type", "Send the photos' ids as application/json.", 415)
    values = parse_json(await read_body(request, settings.max_body_bytes, settings.body_timeout_s))
    for name in values.keys() - {"photos"}:
        raise unknown_field(name, ["photos"])
    ids = values.get("photos")
    if not isinstance(ids, list) or not ids or not all(isinstance(one, str) for one in ids):
        raise RequestError("invalid_photos", "`photos` must be a list of one id or more.", field="photos")
    once = list(dict.fromkeys(ids))
    if len(once) > settings.max_archive_photos:
        text = f"An archive may have {settings.max_archive_photos:,} photos; you asked for {len(once):,}."
        raise RequestError("too_many_photos", text, maximum=settings.max_archive_photos)
    return once
