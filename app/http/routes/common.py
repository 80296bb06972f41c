"""What several routes need: the service they belong to, documented errors, waiting for the device."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Path as PathParameter
from starlette.requests import Request

from app.http.problems import PROBLEM_JSON
from app.service.device_worker import Ticket
from app.service_errors import BusyError, ClientLeftError
from sketchseek_client import ProblemDocument
from sketchseek_client.search_documents import EXAMPLE_ID

if TYPE_CHECKING:
    from app.service.service import Service

PhotoId = Annotated[str, PathParameter(description="A photo's id, from a search.", examples=[EXAMPLE_ID])]
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


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route for its OpenAPI document; what any route may answer comes by itself."""
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


def service_of(request: Request) -> Service:
    """The service that answers this request."""
    service: Service = request.app.state.service
    return service


async def wait_for_ticket(request: Request, ticket: Ticket[Any, Any], retry_after_s: int) -> Any:
    """The ticket's result; the work is dropped where the client leaves or the deadline passes.

    Raises:
        BusyError: `deadline_exceeded`.
        ClientLeftError: nobody waits any more.
    """
    done: asyncio.Future[Any] = asyncio.wrap_future(ticket.future)
    gone = asyncio.create_task(_client_left(request))
    try:
        await asyncio.wait(
            {done, gone}, timeout=ticket.deadline - time.monotonic(), return_when=asyncio.FIRST_COMPLETED
        )
        if done.done():
            return done.result()
        if gone.done():
            raise ClientLeftError("The client closed the connection.")
        raise BusyError("deadline_exceeded", "The search took longer than it may; come again.", retry_after_s)
    finally:
        done.cancel()  # drops the ticket wherever it is; nothing happens to a finished one
        gone.cancel()


async def _client_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
