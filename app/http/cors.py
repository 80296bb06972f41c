"""Pages of other sites: which may ask this service from a browser (CORS)."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

_METHODS = ("GET", "HEAD", "POST", "DELETE")
_SENT = ("Authorization", "If-None-Match", "X-Request-ID")
_SHOWN = ("X-Request-ID", "Retry-After", "Location", "ETag", "Gallery-Version")


def readable_for(origins: tuple[str, ...], app: ASGIApp) -> ASGIApp:
    """The application, with answers that pages of these origins may read; the application itself if there are none.

    Keys travel in a header that the page sets. Cookies and passwords that a browser adds by itself are never asked for.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app, allow_origins=origins, allow_methods=_METHODS, allow_headers=_SENT, expose_headers=_SHOWN
    )
