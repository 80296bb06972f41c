"""POST /search/batch: several searches in one request."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.http.access import require_read
from app.http.disconnect import unless_client_leaves
from app.http.documented_problems import problems
from app.http.problems import problem_of
from app.http.requests.batch_request import batch_body, read_batch
from app.http.requests.query_request import query_from_json
from app.http.requests.search_options import parse_options
from app.http.requests.unknown_names import only_known_parameters
from app.http.routes.search import OneSearch
from app.http.routes.service_of import service_of
from app.service.service import Service
from app.service.serving.served_gallery import ServedVersion
from model.errors import SketchseekError
from sketchseek_client import BatchAnswer, BatchItem, ProblemDocument

router = APIRouter(tags=["search"])


@router.post(
    "/search/batch",
    response_model=BatchAnswer,
    responses={**problems(400, 401, 408, 413, 415, 422)},
    dependencies=[Depends(require_read), Depends(only_known_parameters)],
    openapi_extra={"requestBody": batch_body()},
    summary="Several searches in one request",
)
async def search_batch(request: Request) -> Response:
    """Send up to 64 searches as JSON; each is answered as if it had come alone, all from one version."""
    service = service_of(request)
    service.gallery.serve()
    queries = await read_batch(request, service.settings)
    request.scope["state"]["charge"](len(queries) - 1)  # each of them counts for the rate limit
    root_path = request.scope.get("root_path", "")

    async def attempt(served: ServedVersion) -> BatchAnswer:
        items: list[BatchItem] = []
        for start in range(0, len(queries), service.settings.batch_limit):  # others get their turn in between
            part = queries[start : start + service.settings.batch_limit]
            waiting = (_item(service, served, values, root_path) for values in part)
            for item in await asyncio.gather(*waiting, return_exceptions=True):  # none goes on behind a failure
                if isinstance(item, BaseException):
                    raise item
                items.append(item)
        return BatchAnswer(answers=items)

    answer = await unless_client_leaves(request, service.gallery.answer(attempt), service.metrics)
    return Response(answer.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})


async def _item(service: Service, served: ServedVersion, values: dict[str, Any], root_path: str) -> BatchItem:
    """The answer to one search, or what is wrong with it. What is wrong with the service is raised."""
    settings = service.settings
    try:
        sent = query_from_json(dict(values), settings, takes_photo=True)
        options = parse_options(sent, settings.max_top_k, settings.max_candidates)
        one = OneSearch(service, sent, options, root_path, service.deadline())
        return BatchItem(answer=await one.answer(served))
    except SketchseekError as error:
        found = problem_of(error)
        if found["status"] >= 500:
            raise
        return BatchItem(problem=ProblemDocument(**found))
