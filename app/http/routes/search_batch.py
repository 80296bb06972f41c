"""POST /search/batch: several searches in one request."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.http.access import require_read
from app.http.disconnect import unless_client_leaves
from app.http.documented_problems import problems
from app.http.problems import is_expected, problem_of
from app.http.requests.batch_request import batch_body, read_batch
from app.http.requests.query_request import QueryRequest, query_from_json
from app.http.requests.search_options import SearchOptions, parse_options
from app.http.requests.unknown_names import only_known_parameters
from app.http.routes.search import OneSearch
from app.http.routes.service_of import service_of
from app.logs import get_logger
from app.service.service import Service
from app.service.serving.deadline import Deadline
from app.service.serving.newer_versions import number_of
from app.service.serving.served_version import ServedVersion
from app.service_errors import RequestError
from app.settings import Settings
from index_builder.gallery_errors import GalleryVersionGoneError
from model.errors import SketchseekError
from sketchseek_client import BatchAnswer, BatchItem, ProblemDocument

router = APIRouter(tags=["search"])

_log = get_logger("app.request")
_Prepared = tuple[QueryRequest, SearchOptions] | SketchseekError


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

    prepared = [_prepared(values, service.settings) for values in queries]
    _check_results(prepared, service.settings.max_batch_results)
    whole = service.deadline(service.settings.batch_timeout_s)
    await service.gallery.look_for(_newest_wanted(prepared))
    prepared = [_if_there(service, one) for one in prepared]

    async def attempt(served: ServedVersion) -> BatchAnswer:
        items: list[BatchItem] = []
        for start in range(0, len(prepared), service.searches_together):  # others get their turn in between
            part = prepared[start : start + service.searches_together]
            waiting = (_item(service, served, one, root_path, whole) for one in part)
            for item in await asyncio.gather(*waiting, return_exceptions=True):  # none goes on behind a failure
                if isinstance(item, BaseException):
                    raise item
                items.append(item)
        return BatchAnswer(answers=items)

    answer = await unless_client_leaves(request, service.gallery.answer(attempt), service.metrics)
    return Response(answer.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})


def _prepared(values: dict[str, Any], settings: Settings) -> _Prepared:
    """A query and its options, or what is wrong with them."""
    try:
        sent = query_from_json(dict(values), settings, takes_photo=True)
        return sent, parse_options(sent, settings.max_top_k, settings.max_candidates)
    except SketchseekError as error:
        return error


def _newest_wanted(prepared: list[_Prepared]) -> str | None:
    """The newest of the versions that the searches ask for; one look and one load serve them all."""
    wanted = [one[1].min_version for one in prepared if isinstance(one, tuple) and one[1].min_version is not None]
    return max(wanted, key=number_of, default=None)


def _if_there(service: Service, prepared: _Prepared) -> _Prepared:
    """The same, or that the version that it asks for is not there yet."""
    if isinstance(prepared, SketchseekError):
        return prepared
    try:
        service.gallery.check(prepared[1].min_version)
    except SketchseekError as error:
        return error
    return prepared


def _check_results(prepared: list[_Prepared], limit: int) -> None:
    """Refuse a batch whose searches want more results together than one answer may have."""
    wanted = sum(one[1].top_k for one in prepared if isinstance(one, tuple))
    if wanted > limit:
        text = f"The searches of a batch may want {limit:,} results together; these want {wanted:,}."
        raise RequestError("too_many_results", text, maximum=limit)


async def _item(
    service: Service, served: ServedVersion, prepared: _Prepared, root_path: str, whole: Deadline
) -> BatchItem:
    """The answer to one search, or what kept it from one. Only that the version is gone concerns all of them."""
    try:
        if isinstance(prepared, SketchseekError):
            raise prepared
        whole.raise_if_passed()
        deadline = service.deadline(min(service.settings.request_timeout_s, whole.remaining()))
        return BatchItem(answer=await OneSearch(service, *prepared, root_path, deadline).answer(served))
    except GalleryVersionGoneError:  # the next version answers them all
        raise
    except Exception as error:
        if not is_expected(error):
            _log.error("a search of a batch failed", exc_info=error)
        return BatchItem(problem=ProblemDocument(**problem_of(error)))
