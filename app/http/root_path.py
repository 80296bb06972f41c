"""The path behind a proxy: `/photos` where `https://home.example/photos/` leads here.

Some proxies pass `/photos/gallery` on as it is, others strip it to `/gallery`. Both arrive the same after this module:
`root_path` in the scope has the prefix, and `path` begins with it. Every address in an answer is made from `root_path`.
"""

from __future__ import annotations

import ipaddress
from typing import Any, cast

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.addresses import prefix_of

_URLS = frozenset({"url", "thumbnail_url"})


class TrustedProxies(ProxyHeadersMiddleware):
    """uvicorn's reading of `X-Forwarded-For` and `-Proto`, and of `X-Forwarded-Prefix` from the same addresses."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Take over what a trusted proxy says; from anybody else, the headers mean nothing."""
        if scope["type"] == "http" and scope.get("client"):
            # On a socket for both families, IPv4 clients have addresses such as ::ffff:127.0.0.1.
            scope["client"] = (_plain(scope["client"][0]), scope["client"][1])
            if scope["client"][0] in self.trusted_hosts:
                scope["root_path"] = _forwarded_prefix(scope) or scope.get("root_path", "")
        await super().__call__(scope, receive, send)


class RootPath:
    """Brings `path` and `root_path` of every request into one form, and keeps redirects under the prefix."""

    def __init__(self, app: ASGIApp, root_path: str, taken: frozenset[str]) -> None:
        """As for every middleware.

        Args:
            app: what is surrounded.
            root_path: of the settings; "" takes what a trusted proxy names.
            taken: first parts of the service's own addresses, such as "/photos". A prefix of that name tells nothing
                about whether it was stripped, so it counts as stripped.
        """
        self._app = app
        self._root_path = root_path
        self._taken = taken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request under its prefix."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        prefix = self._root_path or scope.get("root_path", "")
        path = scope["path"]
        if prefix and (prefix in self._taken or not f"{path}/".startswith(f"{prefix}/")):
            path = prefix + path
        own = f"{scope.get('scheme', 'http')}://{Headers(scope=scope).get('host', '')}/"

        async def send_relative(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [(name, _relative(name, value, own)) for name, value in message["headers"]]
            await send(message)

        await self._app({**scope, "root_path": prefix, "path": path}, receive, send_relative)


def address_in(scope: Scope) -> str:
    """The path of a request as the service's routes have it, without a proxy's prefix."""
    return cast("str", scope["path"]).removeprefix(scope.get("root_path", ""))


def document_under(document: dict[str, Any], prefix: str) -> dict[str, Any]:
    """An OpenAPI document for clients that reach the service under `prefix`: its server, and addresses in examples."""
    if not prefix:
        return document
    return {**_with_urls_under(document, prefix), "servers": [{"url": prefix}]}


def _with_urls_under(value: Any, prefix: str) -> Any:
    if isinstance(value, list):
        return [_with_urls_under(one, prefix) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: prefix + one
        if name in _URLS and isinstance(one, str) and one.startswith("/")
        else _with_urls_under(one, prefix)
        for name, one in value.items()
    }


def _relative(name: bytes, value: bytes, own: str) -> bytes:
    """A redirect to this service as a path: behind a proxy, neither scheme nor host need be what the client knows."""
    return b"/" + value.removeprefix(own.encode()) if name == b"location" and value.startswith(own.encode()) else value


def _plain(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(getattr(address, "ipv4_mapped", None) or host)


def _forwarded_prefix(scope: Scope) -> str:
    try:
        return prefix_of(Headers(scope=scope).get("x-forwarded-prefix", ""))
    except ValueError:
        return ""
