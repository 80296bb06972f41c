"""POST /search: a sketch comes in, photos go out."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response
from torch import Tensor

from app.http.access import require_read
from app.http.requests.search_options import SearchBody, SearchOptions, parse_options
from app.http.requests.sketch_request import SketchRequest, read_sketch
from app.http.requests.unknown_names import only_known_parameters, shown
from app.http.routes.common import problems, service_of, wait_for_ticket
from app.search.answer_documents import search_answer
from app.search.explaining import as_document, explain_rows, prepare_sketch
from app.search.searcher import Answer, Query
from app.service.search_batches import SearchItem
from app.service.served_gallery import ServedVersion
from app.service_errors import RequestError
from sketchseek_client import CorrespondenceDocument, Result, SearchAnswer

router = APIRouter(tags=["search"])

_REPEATABLE = frozenset({"tag"})
_STROKES = [[[20, 235, 235, 20, 20], [60, 60, 200, 200, 60]], [[20, 128, 235], [60, 10, 60]]]
_OPTIONS = {"top_k": 5, "candidates": 50}


def _request_body() -> dict[str, Any]:
    """The two kinds of body, which one route takes side by side."""
    form = SearchOptions.model_json_schema()
    form["properties"] = {
        "sketch": {"type": "string", "format": "binary", "description": "A picture of a sketch: dark lines on light."},
        **form["properties"],
    }
    form["required"] = ["sketch"]
    form["title"] = "SearchForm"
    # In a form a field that is not wanted is left out; it cannot be null.
    for name, field in form["properties"].items():
        options = [kind for kind in field.pop("anyOf", []) if kind.get("type") != "null"]
        form["properties"][name] = {**field, **(options or [{}])[0]}
        if form["properties"][name].get("default", 0) is None:
            del form["properties"][name]["default"]
    body = SearchBody.model_json_schema()
    body["oneOf"] = [{"required": ["strokes"]}, {"required": ["image"]}]
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form, "example": {"sketch": "(a file)", **_OPTIONS}},
            "application/json": {"schema": body, "example": {"strokes": _STROKES, **_OPTIONS}},
        },
    }


@router.post(
    "/search",
    response_model=SearchAnswer,
    responses={**problems(400, 401, 408, 413, 415, 422)},
    dependencies=[Depends(require_read), Depends(only_known_parameters)],
    openapi_extra={"requestBody": _request_body()},
    summary="Find photos by a sketch",
)
async def search(request: Request) -> Response:
    """Send a sketch as a file, as strokes or as a data: URI; get the photos it shows, best first."""
    service = service_of(request)
    service.gallery.serve()  # tells a client to come again before it has sent megabytes
    sketch = await read_sketch(request, service.settings, _REPEATABLE)
    clock, deadline = time.perf_counter(), time.monotonic() + service.settings.request_timeout_s
    options = parse_options(
        sketch.values, service.settings.max_top_k, service.settings.max_candidates, strict=sketch.from_json
    )

    async def attempt(served: ServedVersion) -> SearchAnswer:
        query = query_of(options, served)
        found, timings = await _find(request, served, sketch, query, deadline=deadline)
        timings["total"] = (time.perf_counter() - clock) * 1000
        answer = search_answer(
            found,
            served.snapshot,
            reranked=query.rerank,
            timings_ms=timings,
            root_path=request.scope.get("root_path", ""),
        )
        if options.explain:
            took = await _explain(request, served, sketch, found, answer.results, deadline=deadline)
            answer.timings_ms.explain = round(took, 2)
            answer.timings_ms.total = round((time.perf_counter() - clock) * 1000, 2)
        return answer

    answer = await service.gallery.answer(attempt)
    return Response(answer.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})


async def _find(
    request: Request, served: ServedVersion, sketch: SketchRequest, query: Query, *, deadline: float
) -> tuple[Answer, dict[str, float]]:
    """What one version of the gallery has for the sketch, and the milliseconds of each stage."""
    service = service_of(request)

    def prepare() -> Tensor:
        return served.searcher.prepare(sketch.open(service.image_limits))

    started = time.perf_counter()
    tensor = await service.decode(prepare, deadline)
    decoded = time.perf_counter()
    service.metrics.stage_seconds.labels("decode").observe(decoded - started)
    ticket = service.worker.submit(SearchItem(served.searcher, tensor, query), deadline)
    found: Answer = await wait_for_ticket(request, ticket, service.settings.retry_after_s)
    waited = (time.perf_counter() - decoded) * 1000 - sum(found.stages_ms.values())
    return found, {"decode": (decoded - started) * 1000, "queue": max(0.0, waited), **found.stages_ms}


async def _explain(
    request: Request,
    served: ServedVersion,
    sketch: SketchRequest,
    found: Answer,
    results: list[Result],
    *,
    deadline: float,
) -> float:
    """Write into each result which patches matched; the milliseconds that took.

    Photos are explained one by one, so that other searches get their turn on the device in between.
    """
    service = service_of(request)
    started = time.perf_counter()
    prepared = await service.decode(
        lambda: prepare_sketch(served.searcher, sketch.open(service.image_limits)), deadline
    )
    for one, result in zip(found.results, results, strict=True):
        explained = await service.on_device(partial(explain_rows, served.searcher, prepared, [one.row]), deadline)
        document = as_document(served.searcher, explained, result.photo_id, result.width, result.height)
        result.correspondences = [CorrespondenceDocument(**match) for match in document["correspondences"]]
    return (time.perf_counter() - started) * 1000


def query_of(options: SearchOptions, served: ServedVersion) -> Query:
    """The options as the searcher takes them.

    Raises:
        RequestError: `unknown_tag`.
    """
    for tag in options.tag:
        if tag not in served.snapshot.tags:
            raise RequestError("unknown_tag", f"No photo has the tag “{shown(tag)}”; GET /gallery lists the tags.")
    return Query(
        top_k=options.top_k,
        candidates=options.depth,
        rerank=options.rerank,
        expand=options.expand,
        offset=options.offset,
        min_score=options.min_score,
        tags=tuple(sorted(set(options.tag))),
    )
