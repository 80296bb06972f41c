"""Probes and metrics; with SKETCHSEEK_ADMIN_PORT they sit on a port of their own."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from app.http.access import require_read
from app.http.documented_problems import problems
from app.http.routes.service_of import service_of
from sketchseek_client import Health

router = APIRouter(tags=["operations"])


@router.get("/healthz", response_model=Health, response_model_exclude_none=True, summary="Is the process alive?")
async def healthz() -> Health:
    """200 as long as the process can answer at all."""
    return Health(status="alive")


@router.get(
    "/readyz",
    response_model=Health,
    responses={503: {"model": Health, "description": "Not ready; `reason` says why."}},
    summary="Would a search be answered?",
)
async def readyz(request: Request) -> Response:
    """200 once model and gallery are loaded and warm; 503 with the reason before that, and while shutting down."""
    readiness = service_of(request).readiness()
    health = Health(status=readiness.status, reason=readiness.reason)
    headers = {"Cache-Control": "no-store"}
    status = 200 if health.status == "ready" else 503
    return JSONResponse(health.model_dump(exclude_none=True), status, headers)


@router.get(
    "/metrics",
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format."},
        **{status: one for status, one in problems(401).items() if status in (401, 500)},
    },
    dependencies=[Depends(require_read)],
    response_class=Response,
    summary="Metrics for Prometheus",
)
async def metrics(request: Request) -> Response:
    """Everything that is counted."""
    counted = service_of(request).metrics
    return Response(counted.exposition(), media_type=counted.content_type)
