"""What the device's worker does with the waiting searches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from app.logs import get_logger
from app.metrics import Metrics
from app.search.query_and_answer import Answer, Begun, Query
from app.search.query_parts import QueryParts
from app.search.searcher import TwoStageSearcher
from app.search.stopwatch import Observe
from app.service.serving.device_worker import DeviceWorker
from app.service.serving.tickets import Ticket
from model.device_faults import is_device_lost
from model.errors import DeviceMemoryError, SketchseekError

_log = get_logger("app.service.serving.search_batches")


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
    """Search for those of one version together, stage by stage, while they are wanted.

    What fails together is done one by one, so that only the searches fail that are to blame.

    Raises:
        Exception: the device is lost or its memory is short, which concerns every search.
    """
    versions: dict[TwoStageSearcher, list[SearchTicket]] = defaultdict(list)
    for ticket in tickets:
        versions[ticket.item.searcher].append(ticket)
    for searcher, group in versions.items():
        _begin(searcher, group, metrics.observe_stage)


def _begin(searcher: TwoStageSearcher, tickets: Sequence[SearchTicket], observe: Observe) -> None:
    tickets = [ticket for ticket in tickets if ticket.wanted]
    if not tickets:
        return
    try:
        begun = searcher.begin([one.item.parts for one in tickets], [one.item.query for one in tickets], observe)
    except Exception as error:
        for ticket in _to_do_alone(tickets, error):
            _begin(searcher, [ticket], observe)
        return
    for step in searcher.steps(begun):
        _finish(searcher, list(zip(tickets[step], begun[step], strict=True)), observe)


def _finish(searcher: TwoStageSearcher, begun: Sequence[tuple[SearchTicket, Begun]], observe: Observe) -> None:
    wanted = [(ticket, one) for ticket, one in begun if ticket.wanted]
    if not wanted:
        return
    try:
        answers = searcher.finish([one for _, one in wanted], observe)
    except Exception as error:
        alone = _to_do_alone([ticket for ticket, _ in wanted], error)
        for ticket, one in wanted[: len(alone)]:
            _finish(searcher, [(ticket, one)], observe)
        return
    for (ticket, _), answer in zip(wanted, answers, strict=True):
        ticket.resolve(answer)


def _to_do_alone(tickets: Sequence[SearchTicket], error: Exception) -> Sequence[SearchTicket]:
    """Which searches to do one by one after they failed together: all of several; one alone fails."""
    if is_device_lost(error) or isinstance(error, DeviceMemoryError):
        raise error
    if len(tickets) == 1:
        tickets[0].fail(error)
        return []
    if not isinstance(error, SketchseekError):
        _log.error("searches failed together and are done one by one", exc_info=error)
    return tickets
