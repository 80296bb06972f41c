"""The page: each folder and file of `app/web` under its own name; all other addresses belong to the interface."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.http.access import SECURITY_HEADERS
from app.http.routes.service_of import service_of
from app.service.files import signed_addresses
from app.service.service import Service
from app.service_errors import ServiceError
from index_builder.gallery_errors import GalleryAwayError

WEB = Path(__file__).parents[2] / "web"
_ASK_EACH_TIME = {"Cache-Control": "no-cache"}
_ALSO_AT = {"index.html": "/", "icon.svg": "/favicon.ico"}  # browsers ask for the latter unless a page names another
_RELATIVE = re.compile(r'(?<= )(href|src)="(?![#/])')  # addresses of the page's own files, as index.html has them


def add_page(app: FastAPI) -> None:
    """Serve the page."""
    for entry in sorted(WEB.iterdir()):
        if entry.is_dir():
            app.mount(f"/{entry.name}", _PageFolder(directory=entry), name=entry.name)
            continue
        serve = _document(entry) if entry.suffix == ".html" else _file(entry)
        for address in (f"/{entry.name}", _ALSO_AT.get(entry.name)):
            if address is not None:
                app.add_route(address, serve, methods=["GET"], include_in_schema=False)


def own_names(routers: list[APIRouter]) -> frozenset[str]:
    """The first part of every address of these routers and of the page, such as "/photos"."""
    paths = [route.path for router in routers for route in router.routes if isinstance(route, Route)]
    paths += [f"/{entry.name}" for entry in WEB.iterdir()]
    return frozenset(f"/{path.split('/')[1]}" for path in paths)


def _file(file: Path) -> Callable[[Request], Awaitable[Response]]:
    async def page_file(_request: Request) -> Response:
        return FileResponse(file, headers=_ASK_EACH_TIME)

    return page_file


def _document(file: Path) -> Callable[[Request], Awaitable[Response]]:
    """The page itself. Under a prefix its addresses are whole, because relative ones need a slash at the page's end.

    Proxies that strip the prefix turn `/photos` into `/` as well, so the service cannot ask for that slash.
    """

    async def page_document(request: Request) -> Response:
        prefix = request.scope.get("root_path", "")
        headers = {**_ASK_EACH_TIME, **await asyncio.to_thread(_policy, service_of(request))}
        if not prefix:
            return FileResponse(file, headers=headers)
        text = _RELATIVE.sub(rf'\1="{prefix}/', file.read_text(encoding="utf-8"))
        headers |= {"ETag": f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'}
        return Response(text, media_type="text/html", headers=headers)

    return page_document


def _policy(service: Service) -> dict[str, str]:
    """The page's policy where photos come from buckets as well; else nothing, as the usual one holds."""
    if service.settings.photo_links != "signed":
        return {}
    try:
        origins = signed_addresses.signed_origins(service.changes.folders())
    except (ServiceError, GalleryAwayError):  # no gallery yet, or no credentials: then no photo comes from there
        return {}
    usual = dict(SECURITY_HEADERS)[b"content-security-policy"].decode()
    return {"Content-Security-Policy": usual.replace("img-src 'self'", " ".join(["img-src 'self'", *origins]))}


class _PageFolder(StaticFiles):
    """A folder of the page. Browsers ask each time whether a file changed, so that an update shows at once."""

    def file_response(self, full_path: Any, stat_result: Any, scope: Scope, status_code: int = 200) -> Response:
        """The file, to be kept only if the browser asks each time."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_ASK_EACH_TIME)
        return response
