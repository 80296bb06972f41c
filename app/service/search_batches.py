"""What the device's worker does with the searches that wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from app.metrics import Metrics
from app.search.searcher import Answer, Query, Stopwatch, TwoStageSearcher
from app.service.device_worker import DeviceWorker, Ticket


@dataclass(frozen=True)
class SearchItem:
    """One prepared sketch, and the searcher it keeps from beginning to end.

    Attributes:
        searcher: of the version that was served when the request came.
        sketch: [3, S, S] float32.
        query: what is asked.
    """

    searcher: TwoStageSearcher
    sketch: torch.Tensor
    query: Query


Worker = DeviceWorker[SearchItem, Answer]
SearchTicket = Ticket[SearchItem, Answer]


def run_searches(tickets: Sequence[SearchTicket], metrics: Metrics) -> None:
    """Searches of one version are encoded and recalled together and reranked one by one, as long as they are wanted."""
    versions: dict[int, list[SearchTicket]] = {}
    for ticket in tickets:
        versions.setdefault(id(ticket.item.searcher), []).append(ticket)
    for group in versions.values():
        _run_version(group[0].item.searcher, group, metrics)


def _run_version(searcher: TwoStageSearcher, tickets: Sequence[SearchTicket], metrics: Metrics) -> None:
    clock = Stopwatch()
    queries = [ticket.item.query for ticket in tickets]
    encodings = searcher.encode(torch.stack([ticket.item.sketch for ticket in tickets]))
    descriptors = encodings.descriptor.float().cpu().numpy()  # waits for a GPU
    clock.lap("encode")
    candidates = searcher.recall(descriptors, queries)
    clock.lap("recall")
    for stage in ("encode", "recall"):
        metrics.stage_seconds.labels(stage).observe(clock.laps_ms[stage] / 1000)
    for number, ticket in enumerate(tickets):
        if not ticket.wanted:  # a deadline that passed is answered by the worker
            if ticket.future.cancelled():
                metrics.dropped.labels("client_left").inc()
            continue
        clock.restart()
        try:
            answer = searcher.rerank(encodings[number : number + 1], candidates[number], ticket.item.query)
        except Exception as error:  # the others must not pay for it
            ticket.fail(error)
            continue
        clock.lap("rerank")
        metrics.stage_seconds.labels("rerank").observe(clock.laps_ms["rerank"] / 1000)
        ticket.resolve(replace(answer, stages_ms=dict(clock.laps_ms)))
