"""HEAD: what GET answers, without the body. One place serves it, so that hardly any route needs to know of it."""

from __future__ import annotations

from starlette.types import Message, Scope, Send

_WAS_HEAD = "was_head"


class BodyNotWantedError(Exception):
    """The headers are sent; whatever is still being read for a body need not be."""


def is_body_not_wanted(error: Exception) -> bool:
    """Whether this is all that `error` says; what streams in several tasks raises it in a group."""
    rest = error.split(BodyNotWantedError)[1] if isinstance(error, ExceptionGroup) else error
    return rest is None or isinstance(rest, BodyNotWantedError)


def as_get(scope: Scope, send: Send) -> tuple[Scope, Send]:
    """A HEAD request as its route shall see it, and where the answer goes. Any other request stays as it is.

    The server keeps its own scope, by which it frames the answer.
    """
    if scope["method"] != "HEAD":
        return scope, send
    return {**scope, "method": "GET", _WAS_HEAD: True}, _headers_only(send)


def was_head(scope: Scope) -> bool:
    """Whether a request that a route sees as GET was HEAD: for an answer that sends the client somewhere else."""
    return _WAS_HEAD in scope


def _headers_only(send: Send) -> Send:
    """Passes the headers on and an empty body. Ends an answer in pieces at its first, before a file is read through."""
    ended = False

    async def send_headers(message: Message) -> None:
        nonlocal ended
        if message["type"] != "http.response.body":
            await send(message)
            return
        if not ended:
            ended = True
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        if message.get("more_body", False):
            raise BodyNotWantedError

    return send_headers
