"""Builds the application. Importing this module runs nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from app.http.access import require_read
from app.http.middleware import RequestMiddleware
from app.http.problems import PROBLEM_JSON, error_handler
from app.http.root_path import RootPath
from app.http.routes import archive, docs, explain, gallery, gallery_events, health, jobs, photos, search, search_batch
from app.http.routes.page import add_page, own_names
from app.logs import get_logger
from app.metrics import Metrics
from app.service.service import Service
from app.settings import Settings, load_settings
from app.tracing import Traces, traces_of_environment
from app.version import version
from index_builder.index.gpu_choice import check_recall_device
from model.checkpoints.files import load_checkpoint
from model.errors import SketchseekError
from model.networks.network import Network

_log = get_logger("app")
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
    counted, traces = Metrics(), traces_of_environment()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loaded = network
        if loaded is None:
            loaded = await asyncio.to_thread(load_checkpoint, settings.checkpoint, settings.device, settings.dtype)
        check_recall_device(settings.recall_settings)
        service = Service(settings, loaded, counted, traces)
        app.state.service = service
        _warn(settings, own_names(routers))
        await service.start()
        try:
            yield
        finally:
            await service.stop()
            if traces is not None:
                await asyncio.to_thread(traces.close)

    routers = [
        search.router,
        search_batch.router,
        explain.router,
        archive.router,
        photos.router,
        jobs.router,
        gallery.router,
        gallery_events.router,
        docs.router,
    ]
    if not settings.admin_port:
        routers.append(health.router)
    app = _application(settings, "Sketchseek", lifespan, routers)
    add_page(app)
    _surround(app, settings, counted, own_names(routers), traces)
    app.state.metrics = counted
    return app


def create_admin_app(main: FastAPI) -> FastAPI:
    """Probes and metrics of a running application, for a port of their own that asks for no keys."""
    settings: Settings = main.state.settings
    settings = settings.model_copy(update={"read_key": None})
    admin = _application(settings, "Sketchseek operations", None, [health.router])
    admin.state = main.state
    _surround(admin, settings, main.state.metrics, frozenset())
    admin.dependency_overrides[require_read] = _anybody
    return admin


def _warn(settings: Settings, taken: frozenset[str]) -> None:
    """Say what is allowed but seldom meant."""
    if "*" in settings.cors_origins:
        _log.warning("any web page that a user of this service opens can search and see the photos (CORS allows *)")
    if settings.root_path in taken:
        _log.warning(
            "the root path is also an address of the service, so the proxy has to strip it",
            root_path=settings.root_path,
        )


def _anybody() -> None:
    """Everyone who reaches the probes' port may read them."""


def _surround(
    app: FastAPI, settings: Settings, counted: Metrics, taken: frozenset[str], traces: Traces | None = None
) -> None:
    """Add what surrounds every request; what is added last sees a request first."""
    app.add_middleware(RequestMiddleware, settings=settings, metrics=counted, traces=traces)
    app.add_middleware(RootPath, root_path=settings.root_path, taken=taken)


def _application(settings: Settings, title: str, lifespan: Any, routers: list[APIRouter]) -> FastAPI:
    app = FastAPI(
        title=title,
        version=version(),
        description=_DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    every = [*routers, docs.description]
    for router in every:
        app.include_router(router)
    app.state.settings = settings
    for kind in (SketchseekError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, error_handler(every))
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
