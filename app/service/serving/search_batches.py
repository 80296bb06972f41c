"""What the device's worker does with the waiting searches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from app.metrics import Metrics
from app.search.query_and_answer import Answer, Query
from app.search.query_parts import QueryParts
from app.search.searcher import TwoStageSearcher
from app.service.serving.device_worker import DeviceWorker, Ticket


@dataclass(frozen=True)
class SearchItem:
    """One prepared query, and the searcher it keeps from beginning to end.

    Attributes:
        searcher: of the version that was served when the request came.
        parts: what is searched for.
        query: how.
    """

    searcher: TwoStageSearcher
    parts: QueryParts
    query: Query


Worker = DeviceWorker[SearchItem, Answer]
SearchTicket = Ticket[SearchItem, Answer]


def run_searches(tickets: Sequence[SearchTicket], metrics: Metrics) -> None:
    """Encode and recall the searches of one version together; rerank each of them while it is wanted."""
    versions: dict[TwoStageSearcher, list[SearchTicket]] = defaultdict(list)
    for ticket in tickets:
        versions[ticket.item.searcher].append(ticket)
    for searcher, group in versions.items():
        _run_version(searcher, group, metrics)


def _run_version(searcher: TwoStageSearcher, tickets: Sequence[SearchTicket], metrics: Metrics) -> None:
    parts = [ticket.item.parts for ticket in tickets]
    queries = [ticket.item.query for ticket in tickets]
    for ticket, finish in zip(tickets, searcher.begin(parts, queries, metrics.observe_stage), strict=True):
        if not ticket.wanted:
            continue
        try:
            ticket.resolve(finish())
        except Exception as error:  # the other searches must not pay for it
            ticket.fail(error)
