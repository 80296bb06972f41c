"""POST /search: a sketch, words, a photo or liked photos come in, photos go out."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.http.access import require_read
from app.http.disconnect import unless_client_leaves
from app.http.documented_problems import problems
from app.http.requests.documented_query_body import query_body
from app.http.requests.filter_options import REPEATABLE
from app.http.requests.query_request import QueryRequest, read_query
from app.http.requests.search_options import SearchBody, SearchOptions, parse_options
from app.http.requests.unknown_names import only_known_parameters
from app.http.routes.service_of import service_of
from app.search.answer_documents import search_answer
from app.search.explaining import correspondence_documents, explain_found
from app.search.preparing import prepare_parts
from app.search.query_and_answer import Answer, Query
from app.search.query_parts import PartWeights, QueryParts
from app.search.stopwatch import Stopwatch
from app.service.service import Service
from app.service.serving.deadline import Deadline
from app.service.serving.search_batches import SearchItem
from app.service.serving.served_version import ServedVersion
from sketchseek_client import CorrespondenceDocument, Result, SearchAnswer

router = APIRouter(tags=["search"])

_EXPLAINED_TOGETHER = 5  # one pass over these keeps the device for less time than encoding a sketch does
_REPEATABLE = REPEATABLE | {"like", "unlike"}
_BODY = query_body(
    SearchOptions, SearchBody, "SearchForm", {"top_k": 5, "candidates": 50}, alone=("text", "photo", "like")
)


@router.post(
    "/search",
    response_model=SearchAnswer,
    responses={**problems(400, 401, 404, 408, 409, 413, 415, 422)},
    dependencies=[Depends(require_read), Depends(only_known_parameters)],
    openapi_extra={"requestBody": _BODY},
    summary="Find photos by a sketch, by words, by a photo",
)
async def search(request: Request) -> Response:
    """Send a sketch, words, a photo or the ids of photos you like, or several of these; get what they ask for."""
    service = service_of(request)
    service.gallery.serve()  # rejects a client before it has sent megabytes, while nothing is served
    sent = await read_query(request, service.settings, _REPEATABLE, takes_photo=True)
    deadline = service.deadline()
    options = parse_options(sent, service.settings.max_top_k, service.settings.max_candidates)
    await service.gallery.reach(options.min_version)
    one = OneSearch(service, sent, options, request.scope.get("root_path", ""), deadline)
    answer = await unless_client_leaves(request, service.gallery.answer(one.answer), service.metrics)
    return Response(answer.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})


@dataclass(frozen=True)
class OneSearch:
    """A search that waits for its answer.

    Attributes:
        service: that answers.
        sent: what the client sent.
        options: how to search.
        root_path: what the service's addresses start with.
        deadline: when it must be answered.
        arrived: seconds, on the clock of `time.perf_counter`.
    """

    service: Service
    sent: QueryRequest
    options: SearchOptions
    root_path: str
    deadline: Deadline
    arrived: float = field(default_factory=time.perf_counter)

    async def answer(self, served: ServedVersion) -> SearchAnswer:
        """The answer from one version of the gallery."""
        query, clock, service = query_of(self.options, served), Stopwatch(), self.service
        parts = await service.prepare(partial(self._parts, served), self.deadline)
        clock.lap("decode")
        service.metrics.observe_stage("decode", clock.laps_ms["decode"] / 1000)
        item = SearchItem(served.searcher, parts, query)
        found = await service.search(item, self.deadline)
        clock.lap("search")
        if service.traces is not None:
            service.traces.stages({"decode": clock.laps["decode"], **found.stages})
        timings = {**_stages(clock.laps_ms, found.stages_ms), "total": self._milliseconds()}
        answer = search_answer(found, served.snapshot, timings_ms=timings, root_path=self.root_path)
        if self.options.explain:
            await _explain(service, item, found, answer.results, self.deadline)
            clock.lap("explain")
            if service.traces is not None:
                service.traces.stages({"explain": clock.laps["explain"]})
            answer.timings_ms.explain = round(clock.laps_ms["explain"], 2)
            answer.timings_ms.total = round(self._milliseconds(), 2)
        return answer

    def _parts(self, served: ServedVersion) -> QueryParts:
        """The pictures decoded, the words encoded, and the other parts looked up. Waits for the first two.

        Raises:
            TextQueryError: the words cannot search.
            ImageError and its kinds: a picture cannot be used.
            UnknownPhotoError: a photo that is liked or not is not there.
        """
        sent, options, decoding = self.sent, self.options, self.service.decoding
        return prepare_parts(
            served.searcher,
            sketch=None if sent.sketch is None else partial(decoding.drawn, sent.sketch, self.deadline),
            text=None if options.text is None else partial(self.service.texts.descriptor, options.text),
            photo=None if sent.photo is None else partial(decoding.pixels, sent.photo, self.deadline),
            like=options.like,
            unlike=options.unlike,
            weights=PartWeights.among(options),
        )

    def _milliseconds(self) -> float:
        return (time.perf_counter() - self.arrived) * 1000


async def _explain(
    service: Service, item: SearchItem, found: Answer, results: list[Result], deadline: Deadline
) -> None:
    """Write into each result which patches matched.

    A few photos are related at a time, so that other searches get their turn on the device in between.
    """
    sketch = item.parts.sketch
    if sketch is None:
        raise ValueError("only results of a sketch can be explained")
    for start in range(0, len(results), _EXPLAINED_TOGETHER):
        part = slice(start, start + _EXPLAINED_TOGETHER)
        explain = partial(explain_found, item.searcher, sketch, found, part)
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
        RequestError: `unknown_tag`, `unknown_folder`.
    """
    return Query(
        top_k=options.top_k,
        candidates=options.depth,
        rerank=options.rerank,
        expand=options.expand,
        context=options.context,
        offset=options.offset,
        min_score=options.min_score,
        only=options.chosen(served.snapshot),
        collapse=options.collapse,
    )
