"""Tasks that should never end are started again, later each time, and say that they are down."""

import asyncio
from concurrent.futures import CancelledError
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from app.metrics import Metrics
from app.service import background
from app.service.background import Background

ENDS = [RuntimeError("a defect"), asyncio.CancelledError(), CancelledError(), None, BaseException("a panic in Rust")]


@pytest.fixture
def pauses(monkeypatch):
    monkeypatch.setattr(background, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(background, "_LONGEST_PAUSE_S", 0.08)
    monkeypatch.setattr(background, "_PROVEN_S", 0.2)


def restarts(metrics, name="task"):
    return metrics.registry.get_sample_value("sketchseek_task_restarts_total", {"task": name})


def down(metrics):
    return metrics.registry.get_sample_value("sketchseek_tasks_down")


@pytest.mark.parametrize("end", ENDS, ids=lambda one: type(one).__name__)
@pytest.mark.usefixtures("pauses")
def test_a_task_that_ends_is_seen_and_started_again(end):
    metrics, begun, go = Metrics(), [], asyncio.Event()

    async def work():
        begun.append(asyncio.get_running_loop().time())
        if len(begun) > 5:
            await go.wait()
        elif end is not None:
            raise end

    async def run():
        tasks = Background(metrics)
        tasks.keep(work, "task")
        assert (restarts(metrics), down(metrics)) == (0, 0)
        while len(begun) < 6:
            await asyncio.sleep(0.01)
        assert tasks.down == {"task"}
        assert (restarts(metrics), down(metrics)) == (5, 1)
        await asyncio.sleep(0.4)
        assert (tasks.down, down(metrics)) == (frozenset(), 0), "it ran for long enough"
        await tasks.stop()

    with capture_logs() as lines:
        asyncio.run(run())
    assert [line["pause_s"] for line in lines] == [0.02, 0.04, 0.08, 0.08, 0.08]
    pauses = [later - earlier for earlier, later in pairwise(begun)]
    assert all(pause >= 0.9 * wanted for pause, wanted in zip(pauses, [0.02, 0.04, 0.08, 0.08, 0.08], strict=True))


@pytest.mark.usefixtures("pauses")
def test_after_a_good_while_the_pauses_begin_anew(monkeypatch):
    monkeypatch.setattr(background, "_GOOD_S", 0.05)

    async def work():
        await asyncio.sleep(0.1)
        raise RuntimeError("now and then")

    async def run():
        tasks = Background(Metrics())
        tasks.keep(work, "task")
        await asyncio.sleep(0.6)
        await tasks.stop()

    with capture_logs() as lines:
        asyncio.run(run())
    assert len(lines) > 2
    assert {line["pause_s"] for line in lines} == {0.02}


@pytest.mark.usefixtures("pauses")
def test_a_task_that_ends_by_itself_is_not_started_again():
    begun = []

    async def work():
        begun.append(1)
        raise RuntimeError("once")

    async def run():
        metrics = Metrics()
        tasks = Background(metrics)
        tasks.spawn(work(), "change")
        await asyncio.sleep(0.2)
        assert (len(begun), down(metrics)) == (1, 0)
        await tasks.stop()

    with capture_logs() as lines:
        asyncio.run(run())
    assert [line["event"] for line in lines] == ["background work ended with an error"]


def test_the_end_of_the_service_ends_every_task():
    async def run():
        tasks = Background(Metrics())
        tasks.keep(asyncio.Event().wait, "task")  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        await asyncio.wait_for(tasks.stop(), 5)
        assert tasks.down == frozenset()

    asyncio.run(run())
