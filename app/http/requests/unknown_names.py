"""Names that a client sent and a route does not know: refused, with the nearest known name.

Ignoring an unknown name would answer another question: `topk=5` would give 20 results.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request

from app.service_errors import RequestError

_LONGEST = 40


def unknown_field(name: str, known: Iterable[str]) -> RequestError:
    """The error for a form field or JSON member that a route does not know.

    Args:
        name: as the client sent it.
        known: the fields of this body.
    """
    names = list(known)
    near = nearest(name, names)
    takes = f"did you mean `{near}`?" if near else f"it takes {_listed(names)}."
    return RequestError(
        "unknown_field", f"`{shown(name)}` is no field of this body; {takes}", **_members("field", name, near)
    )


def only_known_fields(names: Iterable[str], known: Iterable[str], before: Iterable[str]) -> None:
    """Refuse a body with unknown fields at the first of them; a validator would list every one.

    Args:
        names: that the client sent, without those in `before`.
        known: that the body may have.
        before: fields that carry the sketch, which were read before. The error lists them as well.

    Raises:
        RequestError: `unknown_field`.
    """
    fields = list(known)
    for name in names:
        if name not in fields:
            raise unknown_field(name, [*before, *fields])


async def only_known_parameters(request: Request) -> None:
    """A dependency: refuse query parameters that the route does not have, and repeated ones.

    Raises:
        RequestError: `unknown_parameter`, `repeated_parameter`.
    """
    if not request.query_params:
        return
    route: APIRoute = request.scope["route"]
    known = [parameter.alias for parameter in route.dependant.query_params]
    for name in request.query_params:
        if name not in known:
            raise unknown_parameter(name, known, _body_fields(route))
        if len(request.query_params.getlist(name)) > 1:
            raise repeated_parameter(name)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was most likely meant to be, or None if none resembles it."""
    plain = {_plain(one): one for one in known}
    close = get_close_matches(_plain(name[:_LONGEST]), plain, n=1)
    return plain[close[0]] if close else None


def repeated_parameter(name: str) -> RequestError:
    """The error for a query parameter that is given more than once."""
    return RequestError("repeated_parameter", f"The parameter `{name}` is given more than once.", parameter=name)


def unknown_parameter(name: str, known: list[str], body: Sequence[str] = ()) -> RequestError:
    """The error for a query parameter that a route does not know.

    Args:
        name: as the client sent it.
        known: the parameters of this address.
        body: the fields of its body.
    """
    near = nearest(name, known) or nearest(name, body)
    said = shown(name)
    if near in known:
        text = f"`{said}` is no parameter of this address; did you mean `{near}`?"
    elif near:
        text = f"`{said}` is no parameter of this address; send `{near}` in the body, as a form field or in the JSON."
    else:
        text = f"`{said}` is no parameter of this address, which takes {_listed(known)}."
    return RequestError("unknown_parameter", text, **_members("parameter", name, near))


def _members(kind: str, name: str, near: str | None) -> dict[str, Any]:
    return {kind: shown(name), **({"nearest": near} if near else {})}


def _body_fields(route: APIRoute) -> list[str]:
    """Names of the fields of every kind of body in the route's OpenAPI document."""
    content = (route.openapi_extra or {}).get("requestBody", {}).get("content", {})
    return list(dict.fromkeys(name for kind in content.values() for name in kind["schema"].get("properties", {})))


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def shown(name: str) -> str:
    """A client's name as an answer may repeat it: short, without control characters and lone surrogates."""
    return "".join(character for character in name[: 4 * _LONGEST] if character.isprintable())[:_LONGEST]


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"
