"""Keys, and the headers that keep a browser from being turned against its user."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

from app.service_errors import AccessError
from app.settings import Settings

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = tuple(
    (name.encode(), value.encode())
    for name, value in {
        "content-security-policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
            "font-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        ),
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "geolocation=(), microphone=(), payment=(), usb=()",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }.items()
)

_bearer = HTTPBearer(auto_error=False, description="The read key, or the write key, which may do all.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def _same(offered: str, key: SecretStr | None) -> bool:
    """Compare in constant time, so that the time taken does not show how much of a key is right."""
    return key is not None and hmac.compare_digest(offered.encode(), key.get_secret_value().encode())


def may_read(settings: Settings, offered: str | None) -> bool:
    """Whether a caller that offers this key may read."""
    if settings.read_key is None:
        return True
    # Both comparisons always run, so that the time taken does not show which key it was.
    read, write = _same(offered or "", settings.read_key), _same(offered or "", settings.write_key)
    return read or write


async def require_read(request: Request, credentials: Credentials) -> None:
    """Dependency of the routes that read.

    Raises:
        AccessError: 401 without a key or with a wrong one.
    """
    settings: Settings = request.app.state.settings
    if not may_read(settings, credentials.credentials if credentials else None):
        raise AccessError("key_required", "This service asks for a key: send `Authorization: Bearer KEY`.", 401)


async def require_write(request: Request, credentials: Credentials) -> None:
    """Dependency of the routes that change the gallery.

    Raises:
        AccessError: 403 if the service has no write key, or the read key was sent; 401 without a key or with a wrong
            one.
    """
    settings: Settings = request.app.state.settings
    offered = credentials.credentials if credentials else ""
    if settings.write_key is None:
        raise AccessError("writes_disabled", "This service has no write key, so it changes nothing.", 403)
    if _same(offered, settings.write_key):
        return
    if _same(offered, settings.read_key):
        raise AccessError("write_key_required", "The read key may not change the gallery; send the write key.", 403)
    raise AccessError(
        "key_required", "Changing the gallery asks for the write key: send `Authorization: Bearer KEY`.", 401
    )


async def require_change(request: Request, credentials: Credentials) -> None:
    """Dependency of the routes that change photos or the gallery.

    Raises:
        AccessError: as `require_write`; 403 if this service leaves changes to another one.
    """
    await require_write(request, credentials)
    settings: Settings = request.app.state.settings
    if not settings.may_change:
        raise AccessError(
            "reads_only", "This service only reads the gallery; send changes to the one that writes it.", 403
        )
