"""What can go wrong between a client and the service."""

from __future__ import annotations

import httpx2


class ClientError(Exception):
    """Base of the client's errors.

    Attributes:
        code: stable name of what went wrong, for programs.
    """

    code: str = "error"


class ServiceUnreachableError(ClientError):
    """No service answers at this address."""

    code = "service_unreachable"

    @staticmethod
    def at(address: object, error: Exception) -> ServiceUnreachableError:
        """The error for an address that `error` kept from being reached."""
        return ServiceUnreachableError(
            f"no service answers at {address} ({type(error).__name__}); start one with `sketchseek serve`"
        )


class ServiceAnswerError(ClientError):
    """The service answered with an error.

    Attributes:
        code: from the answer; docs/api.md lists all codes.
        status: HTTP status of the answer.
        request_id: names the request in the service's log.
        retry_after_s: seconds to wait before the next attempt, or None.
    """

    def __init__(self, response: httpx2.Response) -> None:
        try:
            document = response.json()
        except ValueError:
            document = {}
        super().__init__(document.get("detail") or f"the service answered {response.status_code}")
        self.code = str(document.get("code", "error"))
        self.status = response.status_code
        self.request_id = document.get("request_id")
        wait = response.headers.get("retry-after", "")
        self.retry_after_s = int(wait) if wait.isdecimal() else None
