"""POST /search: a sketch comes in, photos go out."""

from __future__ import annotations

import time
from functools import partial

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.http.access import require_read
from app.http.disconnect import unless_client_leaves
from app.http.documented_problems import problems
from app.http.requests.documented_sketch_body import sketch_body
from app.http.requests.search_options import SearchBody, SearchOptions, parse_options
from app.http.requests.sketch_request import read_sketch
from app.http.requests.unknown_names import only_known_parameters, shown
from app.http.routes.service_of import service_of
from app.search.answer_documents import search_answer
from app.search.explaining import correspondence_documents, explain_found
from app.search.query_and_answer import Answer, Query
from app.search.stopwatch import Stopwatch
from app.service.service import Service
from app.service.serving.deadline import Deadline
from app.service.serving.search_batches import SearchItem
from app.service.serving.served_gallery import ServedVersion
from app.service_errors import RequestError
from index_builder.photo_record import composed_tags
from sketchseek_client import CorrespondenceDocument, Result, SearchAnswer

router = APIRouter(tags=["search"])

_EXPLAINED_TOGETHER = 5  # one pass over these keeps the device for less time than encoding a sketch does
_REPEATABLE = frozenset({"tag"})
_BODY = sketch_body(SearchOptions, SearchBody, "SearchForm", {"top_k": 5, "candidates": 50})


@router.post(
    "/search",
    response_model=SearchAnswer,
    responses={**problems(400, 401, 408, 413, 415, 422)},
    dependencies=[Depends(require_read), Depends(only_known_parameters)],
    openapi_extra={"requestBody": _BODY},
    summary="Find photos by a sketch",
)
async def search(request: Request) -> Response:
    """Send a sketch as a file, as strokes or as a data: URI; get the photos it shows, best first."""
    service = service_of(request)
    service.gallery.serve()  # rejects a client before it has sent megabytes, while nothing is served
    sketch = await read_sketch(request, service.settings, _REPEATABLE)
    arrived, deadline = time.perf_counter(), service.deadline()
    options = parse_options(
        sketch.values, service.settings.max_top_k, service.settings.max_candidates, strict=sketch.from_json
    )

    async def attempt(served: ServedVersion) -> SearchAnswer:
        query, clock = query_of(options, served), Stopwatch()
        prepared = await service.decode(lambda: served.searcher.prepare(sketch.open(service.sketch_limits)), deadline)
        clock.lap("decode")
        service.metrics.observe_stage("decode", clock.laps_ms["decode"] / 1000)
        item = SearchItem(served.searcher, prepared, query)
        found = await service.search(item, deadline)
        clock.lap("search")
        answer = search_answer(
            found,
            served.snapshot,
            reranked=query.rerank,
            timings_ms={**_stages(clock.laps_ms, found.stages_ms), "total": (time.perf_counter() - arrived) * 1000},
            root_path=request.scope.get("root_path", ""),
        )
        if options.explain:
            await _explain(service, item, found, answer.results, deadline)
            clock.lap("explain")
            answer.timings_ms.explain = round(clock.laps_ms["explain"], 2)
            answer.timings_ms.total = round((time.perf_counter() - arrived) * 1000, 2)
        return answer

    answer = await unless_client_leaves(request, service.gallery.answer(attempt), service.metrics)
    return Response(answer.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})


async def _explain(
    service: Service, item: SearchItem, found: Answer, results: list[Result], deadline: Deadline
) -> None:
    """Write into each result which patches matched.

    A few photos are related at a time, so that other searches get their turn on the device in between.
    """
    for start in range(0, len(results), _EXPLAINED_TOGETHER):
        part = slice(start, start + _EXPLAINED_TOGETHER)
        explain = partial(explain_found, item.searcher, item.sketch, found, part)
        pairs = await service.on_device(explain, deadline)
        for pair, result in zip(pairs, results[part], strict=True):
            matches = correspondence_documents(item.searcher, pair, result.width, result.height)
            result.correspondences = [CorrespondenceDocument(**match) for match in matches]


def _stages(laps_ms: dict[str, float], stages_ms: dict[str, float]) -> dict[str, float]:
    """Milliseconds of each stage; what a search took beyond its stages is its wait for the device."""
    waited = laps_ms["search"] - sum(stages_ms.values())
    return {"decode": laps_ms["decode"], "queue": max(0.0, waited), **stages_ms}


def query_of(options: SearchOptions, served: ServedVersion) -> Query:
    """The options as the searcher takes them.

    Raises:
        RequestError: `unknown_tag`.
    """
    tags = composed_tags(options.tag)
    for tag in tags:
        if tag not in served.snapshot.tags:
            raise RequestError("unknown_tag", f"No photo has the tag “{shown(tag)}”; GET /gallery lists the tags.")
    return Query(
        top_k=options.top_k,
        candidates=options.depth,
        rerank=options.rerank,
        expand=options.expand,
        offset=options.offset,
        min_score=options.min_score,
        tags=tuple(sorted(tags)),
    )
