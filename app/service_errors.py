"""Errors that only a service raises: a request that cannot be used, a client that left, a service that is busy."""

from __future__ import annotations

from typing import Any

from model.errors import SketchseekError

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that left. Nobody reads the answer, but logs and metrics count it."""


class ServiceError(SketchseekError):
    """Base of the errors that only a service raises. It knows its own HTTP status and headers."""

    code = "error"
    status: int = 400

    def __init__(self, message: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        """`members` are extra members of the problem document, as RFC 9457 section 3.2 allows."""
        super().__init__(message)
        self.headers = headers or {}
        self.members = members


class RequestError(ServiceError):
    """What the client sent cannot be used; `code` says why."""

    def __init__(self, code: str, message: str, status: int = 422, **members: Any) -> None:
        super().__init__(message, **members)
        self.code = code
        self.status = status


class BodyTooLargeError(ServiceError):
    """More bytes arrived than the limit allows; the rest was not read."""

    code = "body_too_large"
    status = 413


class BodyTimeoutError(ServiceError):
    """The client took too long to send its body."""

    code = "body_timeout"
    status = 408


class ClientLeftError(ServiceError):
    """The client closed the connection; the answer goes nowhere."""

    code = "client_closed_request"
    status = CLIENT_CLOSED_REQUEST


class BusyError(ServiceError):
    """The service cannot take this request now; `Retry-After` says when to try again."""

    status = 503

    def __init__(self, code: str, message: str, retry_after_s: int, status: int = 503) -> None:
        super().__init__(message, headers={"Retry-After": str(retry_after_s)})
        self.code = code
        self.status = status


class AccessError(ServiceError):
    """The key is missing, wrong or not enough."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(message, headers={"WWW-Authenticate": "Bearer"} if status == 401 else None)
        self.code = code
        self.status = status
