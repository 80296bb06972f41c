"""The outermost layer of every request: its id, limits, log line, metrics and headers."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import math
import time
from functools import lru_cache, partial
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.addresses import is_local_host
from app.http.access import SECURITY_HEADERS, may_read
from app.http.admission import Admission, Held
from app.http.cors import readable_for
from app.http.head import as_get, is_body_not_wanted
from app.http.problems import code_of, is_expected, problem_response
from app.http.rate_limit import RateLimiter
from app.http.root_path import address_in
from app.logs import get_logger, new_request_id, request_id
from app.metrics import Metrics
from app.service_errors import BusyError, RequestError
from app.settings import Settings
from app.tracing import Traces, finish

_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_log = get_logger("app.request")


class RequestMiddleware:
    """Surrounds the application. It is pure ASGI, so that bodies and answers stream through it.

    It catches defects, logs them with their traceback, and answers 500 without it.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, traces: Traces | None = None) -> None:
        self._app = readable_for(settings.cors_origins, app)
        self._admission = Admission(settings.max_requests, settings.max_bodies_bytes, settings.retry_after_s)
        self._settings = settings
        self._metrics, self._traces = metrics, traces
        self._limiter = RateLimiter(settings.rate_limit_per_minute, settings.rate_limit_burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._traces is None or address_in(scope) in _PROBES:
            await self._answer(scope, receive, send)
        else:
            with self._traces.request(scope["method"], Headers(scope=scope)) as span:
                scope.setdefault("state", {})["span"] = span
                await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, asked = time.perf_counter(), scope["method"]
        headers = Headers(scope=scope)
        identity = new_request_id(headers.get("x-request-id"))
        token = request_id.set(identity)
        state = scope.setdefault("state", {})
        scope, send = as_get(scope, send)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = {name for name, _ in message.get("headers", [])}
                extra = [(name, value) for name, value in SECURITY_HEADERS if name not in own]
                message["headers"] = [*message.get("headers", []), *extra, (b"x-request-id", identity.encode())]
            await send(message)

        self._metrics.in_flight.inc()
        try:
            if address_in(scope) in _PROBES:
                self._check_probe(scope, headers)
                await self._app(scope, receive, send_with_headers)
            else:
                self._admit(scope, headers)
                await self._serve(scope, receive, send_with_headers)
        except Exception as error:
            if is_body_not_wanted(error):
                return
            state["problem_code"] = code_of(error)
            if not is_expected(error):
                _log.error("request failed", exc_info=error)
            if not status:
                answer = readable_for(self._settings.cors_origins, problem_response(error))
                await answer(scope, receive, send_with_headers)
            elif not await _cut(state):
                raise
        finally:
            self._metrics.in_flight.dec()
            self._record(scope, asked, status, time.perf_counter() - started)
            request_id.reset(token)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold a place for the request while it is served, and mark the time spent waiting for its client."""
        async with self._admission.hold(_address(scope)) as held:
            scope["state"]["held"] = held
            whole = False

            async def receive_waiting() -> Message:
                nonlocal whole
                with contextlib.nullcontext() if whole else held.waiting():
                    message = await receive()
                whole = whole or not message.get("more_body", False)
                return message

            await self._app(scope, receive_waiting, _sends_waiting(send, held))

    def _admit(self, scope: Scope, headers: Headers) -> None:
        """Refuse a request to an unknown host name, or one request too many."""
        self._check_host(headers.get("host", ""))
        caller = self._caller(scope, headers)
        self._check_rate(caller)
        scope["state"]["charge"] = partial(self._limiter.charge, caller)

    def _check_rate(self, caller: str) -> None:
        wait = self._limiter.wait(caller)
        if wait:
            raise BusyError(
                "rate_limited", "You have sent more requests than the rate limit allows.", math.ceil(wait), status=429
            )

    def _check_probe(self, scope: Scope, headers: Headers) -> None:
        """Let probes through under any host name and at any rate.

        Metrics of a local service are kept from web pages, though, and keys cannot be guessed there any faster.
        """
        if address_in(scope) != "/metrics":
            return
        if self._settings.is_local:
            self._check_host(headers.get("host", ""))
        if not may_read(self._settings, _offered(headers)):
            self._check_rate(_address(scope))

    def _check_host(self, host: str) -> None:
        """Refuse unknown host names: a web page must not reach a local service by pointing its own name here."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        allowed = self._settings.allowed_hosts
        if (name in allowed) if allowed else (not self._settings.is_local or is_local_host(name)):
            return
        raise RequestError(
            "unknown_host", "This service is not known by that name; SKETCHSEEK_ALLOWED_HOSTS lists its names.", 421
        )

    def _caller(self, scope: Scope, headers: Headers) -> str:
        """Whom the rate limit counts: the key if it is right, otherwise the address."""
        offered = _offered(headers)
        if self._settings.read_key is not None and may_read(self._settings, offered):
            return f"key:{offered}"
        return _address(scope)

    def _record(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        code = scope["state"].get("problem_code")
        self._metrics.requests.labels(method if route != "other" else "any", route, str(status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        if code:
            self._metrics.problems.labels(code).inc()
        if (span := scope["state"].get("span")) is not None:
            finish(span, method, route, status, code)
        facts: dict[str, Any] = {"method": method, "route": route, "status": status}
        facts["ms"] = round(seconds * 1000, 1)
        if code:
            facts["code"] = code
        if (client := _client(scope)) is not None:
            facts["client"] = str(client)
        log = _log.debug if address_in(scope) in _PROBES else _log.info
        log("request", **facts)


async def _cut(state: dict[str, Any]) -> bool:
    """End the connection, since it is too late for another answer; False if the server offers no way to."""
    if "cut" not in state:
        return False
    state["cut"]()
    await asyncio.sleep(0)  # lets the server notice
    return True


def _sends_waiting(send: Send, held: Held) -> Send:
    async def send_waiting(message: Message) -> None:
        with held.waiting():
            await send(message)

    return send_waiting


def _offered(headers: Headers) -> str | None:
    """The key in the request's headers."""
    scheme, _, offered = headers.get("authorization", "").partition(" ")
    return offered if scheme.lower() == "bearer" else None


def _client(scope: Scope) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The client's address; None if a proxy passed on something else, which may be any text of any length."""
    client = scope.get("client")
    return _parsed(client[0]) if client else None


@lru_cache(maxsize=1024)  # each request asks several times, and clients come again
def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _address(scope: Scope) -> str:
    """The address that a request counts for. For IPv6 that is the network, since one client has all its addresses."""
    client = _client(scope)
    if isinstance(client, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((client, 64), strict=False))
    return "-" if client is None else str(client)
