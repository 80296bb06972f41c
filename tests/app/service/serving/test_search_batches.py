"""Searches of one batch: whoever is to blame fails, whoever left is left out, and the others are answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from app.metrics import Metrics
from app.service.serving.deadline import Deadline
from app.service.serving.search_batches import SearchItem, run_searches
from app.service.serving.tickets import Ticket
from index_builder.gallery_errors import GalleryVersionGoneError
from model.errors import DeviceMemoryError


@dataclass(eq=False)
class Fake:
    """A searcher that notes what it is asked, and fails on the parts named here."""

    bad_begin: dict[str, Exception] = field(default_factory=dict)
    bad_finish: dict[str, Exception] = field(default_factory=dict)
    begun: list[list[str]] = field(default_factory=list)
    finished: list[list[str]] = field(default_factory=list)
    together: int = 3

    def begin(self, parts: list[Any], queries: list[Any], observe: Any) -> list[Any]:
        del queries, observe
        self.begun.append(parts)
        self._fail(parts, self.bad_begin)
        return parts

    def steps(self, begun: list[Any]) -> list[slice]:
        return [slice(start, start + self.together) for start in range(0, len(begun), self.together)]

    def finish(self, begun: list[Any], observe: Any) -> list[Any]:
        del observe
        self.finished.append(begun)
        self._fail(begun, self.bad_finish)
        return [f"answer to {one}" for one in begun]

    def _fail(self, parts: list[str], bad: dict[str, Exception]) -> None:
        for one in parts:
            if one in bad:
                raise bad[one]


def run(searcher: Any, *parts: str, gone: str = "", told: Any = lambda error: error) -> list[Any]:
    """The answers or errors of one search for each of the parts."""
    tickets: list[Any] = [
        Ticket(SearchItem(searcher, one, SimpleNamespace()), Deadline(100, 3, lambda: None), told)  # type: ignore[arg-type]
        for one in parts
    ]
    for ticket, one in zip(tickets, parts, strict=True):
        if one in gone:
            ticket.future.cancel()
    run_searches(tickets, Metrics())
    assert all(ticket.future.done() for ticket in tickets)
    return [
        "left" if ticket.future.cancelled() else ticket.future.exception() or ticket.future.result()
        for ticket in tickets
    ]


def test_they_are_begun_together_and_finished_in_steps() -> None:
    searcher = Fake()
    assert run(searcher, *"abcde") == [f"answer to {one}" for one in "abcde"]
    assert searcher.begun == [["a", "b", "c", "d", "e"]]
    assert searcher.finished == [["a", "b", "c"], ["d", "e"]]


def test_whoever_left_meanwhile_is_left_out() -> None:
    searcher = Fake()
    assert run(searcher, *"abcd", gone="bd") == ["answer to a", "left", "answer to c", "left"]
    assert searcher.finished == [["a", "c"]]


def test_nothing_is_begun_alone_for_whoever_left_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = Fake({"c": ZeroDivisionError()})
    tickets: list[Any] = [
        Ticket(SearchItem(searcher, one, SimpleNamespace()), Deadline(100, 3, lambda: None), lambda error: error)  # type: ignore[arg-type]
        for one in "abcd"
    ]
    begin = searcher.begin

    def leave_then_begin(*arguments: Any) -> list[Any]:
        tickets[1].future.cancel()
        tickets[3].deadline.at = 0.0
        return begin(*arguments)

    monkeypatch.setattr(searcher, "begin", leave_then_begin)
    with capture_logs():
        run_searches(tickets, Metrics())
    assert searcher.begun == [["a", "b", "c", "d"], ["a"], ["c"]]
    assert tickets[0].future.result(0) == "answer to a"


@pytest.mark.parametrize("stage", ["bad_begin", "bad_finish"])
@pytest.mark.parametrize("error", [ZeroDivisionError(), GalleryVersionGoneError("gone")])
def test_only_the_guilty_one_fails(stage: str, error: Exception) -> None:
    searcher = Fake()
    setattr(searcher, stage, {"c": error})
    expected = [error if one == "c" else f"answer to {one}" for one in "abcde"]
    with capture_logs() as logged:
        assert run(searcher, *"abcde") == expected
    assert len(searcher.begun) == (6 if stage == "bad_begin" else 1)
    assert run(searcher, "c") == [error]
    assert bool(logged) == isinstance(error, ZeroDivisionError), "a defect stays visible"


@pytest.mark.parametrize("error", [torch.AcceleratorError("CUDA error: launch failure", 1), DeviceMemoryError("short")])
def test_what_is_wrong_with_the_device_concerns_them_all(error: Exception) -> None:
    searcher = Fake(bad_finish={"b": error})
    with pytest.raises(type(error)):
        run(searcher, *"abcde")
    assert len(searcher.finished) == 1
