"""Builds the application. Importing this module runs nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.http.access import require_read
from app.http.middleware import RequestMiddleware
from app.http.problems import PROBLEM_JSON, handle_error
from app.http.routes import docs, explain, gallery, health, jobs, photos, search
from app.metrics import Metrics
from app.service.service import Service
from app.settings import Settings, load_settings
from model.checkpoints.files import load_checkpoint
from model.errors import SketchseekError
from model.networks.network import Network

WEB = Path(__file__).parent / "web"
_ASK_EACH_TIME = {"Cache-Control": "no-cache"}
_DESCRIPTION = """Send a sketch, get the photos it shows.

Errors are `application/problem+json` (RFC 9457) with a stable `code`. Every answer carries `X-Request-ID`.
A parameter or field that a route does not know is refused, never passed over."""


def create_app(settings: Settings | None = None, network: Network | None = None) -> FastAPI:
    """The service as an ASGI application.

    Args:
        settings: None reads them from the environment.
        network: None loads the checkpoint that the settings name, when the application starts.

    Raises:
        ConfigurationError: a setting cannot work.
    """
    settings = settings or load_settings()
    counted = Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loaded = network
        if loaded is None:
            loaded = await asyncio.to_thread(load_checkpoint, settings.checkpoint, settings.device, settings.dtype)
        service = Service(settings, loaded, counted)
        app.state.service = service
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = _application(settings, "Sketchseek", lifespan)
    app.add_middleware(RequestMiddleware, settings=settings, metrics=counted)
    app.state.metrics = counted
    app.state.routers = [search.router, explain.router, photos.router, jobs.router, gallery.router, docs.router]
    if not settings.admin_port:
        app.state.routers.append(health.router)
    for router in app.state.routers:
        app.include_router(router)
    _add_page(app)
    return app


def create_admin_app(main: FastAPI) -> FastAPI:
    """Probes and metrics of a running application, for a port of their own that asks for no keys."""
    settings: Settings = main.state.settings
    settings = settings.model_copy(update={"read_key": None})
    admin = _application(settings, "Sketchseek operations", None)
    admin.state = main.state
    admin.add_middleware(RequestMiddleware, settings=settings, metrics=main.state.metrics)
    admin.include_router(health.router)
    admin.dependency_overrides[require_read] = _anybody
    return admin


def _anybody() -> None:
    """Everyone who reaches the probes' port may read them."""


def _application(settings: Settings, title: str, lifespan: Any) -> FastAPI:
    app = FastAPI(
        title=title,
        version=metadata.version("sketchseek"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    app.state.settings = settings
    for kind in (SketchseekError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, handle_error)
    original = app.openapi

    def openapi() -> dict[str, Any]:
        document = original()
        _tidy(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


def _tidy(document: dict[str, Any]) -> None:
    """Correct what FastAPI assumes: errors are problem+json, and its own kind of 422 is never sent."""
    for path in document.get("paths", {}).values():
        for operation in path.values():
            answers = operation.get("responses", {})
            for status, answer in list(answers.items()):
                content = answer.get("content", {})
                if "HTTPValidationError" in str(content.get("application/json", "")):
                    del answers[status]
                elif PROBLEM_JSON in content:
                    content[PROBLEM_JSON] |= content.pop("application/json", {})
    schemas = document.get("components", {}).get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def _add_page(app: FastAPI) -> None:
    """Serve each folder and file of `app/web` under its own name; all other addresses belong to the interface."""
    for entry in sorted(WEB.iterdir()):
        if entry.is_dir():
            app.mount(f"/{entry.name}", _PageFolder(directory=entry), name=entry.name)
        else:
            addresses = [f"/{entry.name}", "/"] if entry.name == "index.html" else [f"/{entry.name}"]
            for address in addresses:
                app.add_route(address, _page_file(entry), methods=["GET"], include_in_schema=False)


def _page_file(file: Path) -> Callable[[Request], Awaitable[Response]]:
    async def page_file(_request: Request) -> Response:
        return FileResponse(file, headers=_ASK_EACH_TIME)

    return page_file


class _PageFolder(StaticFiles):
    """A folder of the page. Browsers ask each time whether a file changed, so that an update shows at once."""

    def file_response(self, full_path: Any, stat_result: Any, scope: Scope, status_code: int = 200) -> Response:
        """The file, to be kept only if the browser asks each time."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_ASK_EACH_TIME)
        return response
