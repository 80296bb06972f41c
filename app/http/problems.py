"""Errors as HTTP answers: one envelope (RFC 9457), one handler, one place that knows the statuses.

A `SketchseekError` carries a sentence written for users, so clients may see it. Any other exception is a defect: it is
logged with its traceback and answered with a generic 500 that carries only the request id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from app.http.value_errors import wrong_value
from app.logs import get_logger, request_id
from app.service_errors import RequestError, ServiceError
from model.errors import SketchseekError

PROBLEM_JSON = "application/problem+json"
# Statuses of errors from packages that know nothing of HTTP.
STATUS_OF_CODE: dict[str, int] = {
    "blank_sketch": 422,
    "unreadable_image": 422,
    "damaged_image": 422,
    "unsupported_image_format": 415,
    "image_too_large": 413,
    "image_file_too_large": 413,
    "image_memory": 413,
    "unknown_photo": 404,
    "unknown_tag": 422,
    "bad_strokes": 422,
    "invalid_text": 422,
    "text_not_installed": 422,
    "text_not_supported": 422,
    "gallery_version_gone": 503,
    "recall_server_away": 503,
    "recall_server_denied": 503,
    "gallery_away": 503,
    "not_explainable": 422,
    "photos_read_only": 409,
    "folder_away": 409,
    "disk_full": 507,
}

Problem = dict[str, Any]


def problem(code: str, status: int, detail: str, **members: Any) -> Problem:
    """The members of a problem document; `code` is stable, `detail` is for people."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Client Closed Request"
    document = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": _sentence(detail)}
    return {**document, "request_id": request_id.get(), **members}


def _sentence(text: str) -> str:
    """The text as a sentence; errors are written for the command line, which puts its name before them."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def problem_of(error: Exception) -> Problem:
    """The problem document for `error`. Shows its text only if that was written for users."""
    members: dict[str, Any] = {}
    if isinstance(error, ServiceError):
        code, status, detail = error.code, error.status, str(error)
        members = error.members
    elif isinstance(error, SketchseekError) and error.code in STATUS_OF_CODE:
        code, status, detail = error.code, STATUS_OF_CODE[error.code], str(error)
    elif isinstance(error, RequestValidationError):
        wrong = invalid_parameter(error)
        code, status, detail, members = wrong.code, wrong.status, str(wrong), wrong.members
    elif isinstance(error, HTTPException):
        code, status = code_of(error), error.status_code
        detail = _DETAIL_OF_STATUS.get(status, str(error.detail))
    else:
        code, status = "internal_error", 500
        detail = "Something went wrong inside the service; its log says more under this request id."
    return problem(code, status, detail, **members)


def problem_response(error: Exception) -> Response:
    """The answer to `error`."""
    document = problem_of(error)
    headers = dict(error.headers or {}) if isinstance(error, ServiceError | HTTPException) else {}
    if document["status"] == 503:
        headers.setdefault("Retry-After", _RETRY_AFTER_S)
    return JSONResponse(document, document["status"], headers, media_type=PROBLEM_JSON)


_RETRY_AFTER_S = "2"  # where nothing says better
_CODE_OF_STATUS = {404: "not_found", 405: "method_not_allowed"}
_DETAIL_OF_STATUS = {
    404: "There is nothing at this address; GET /docs lists what there is.",
    405: "This address does not know that method; GET /docs lists what it knows.",
}


def invalid_parameter(error: RequestValidationError) -> RequestError:
    """The first wrong parameter of path or query, as an error with a code of its own, without the value sent."""
    first = error.errors()[0]
    name = str(first["loc"][-1]) if first.get("loc") else "request"
    return RequestError(f"invalid_{name}", wrong_value(name, first), field=name)


def is_expected(error: Exception) -> bool:
    """Whether `error` is meant for the client and no defect."""
    if isinstance(error, ServiceError | HTTPException | RequestValidationError):
        return True
    return isinstance(error, SketchseekError) and error.code in STATUS_OF_CODE


def code_of(error: Exception) -> str:
    """The code under which `error` is answered and counted."""
    if isinstance(error, RequestValidationError):
        return invalid_parameter(error).code
    if isinstance(error, HTTPException):
        return _CODE_OF_STATUS.get(error.status_code, "error")
    return str(getattr(error, "code", "error")) if is_expected(error) else "internal_error"


def error_handler(routers: list[APIRouter]) -> Callable[[Request, Exception], Awaitable[Response]]:
    """The one exception handler of an application that consists of these routers."""

    async def handle_error(request: Request, error: Exception) -> Response:
        request.state.problem_code = code_of(error)
        if not is_expected(error):
            get_logger("app").error("request failed", exc_info=error)
        response = problem_response(error)
        if isinstance(error, HTTPException) and error.status_code == 405:
            response.headers["Allow"] = ", ".join(_methods_at(request, routers, response.headers.get("Allow", "")))
        return response

    return handle_error


def _methods_at(request: Request, routers: list[APIRouter], first: str) -> list[str]:
    """Every method that the address takes. `first` has those of the first route, which are all that Starlette names."""
    methods = {name.strip() for name in first.split(",") if name.strip()}
    for route in (one for router in routers for one in router.routes if isinstance(one, Route)):
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)
