"""A request's deadline: what it ends, what it says, and that a late request is counted once, as late."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.service.serving.deadline import Deadline
from app.service_errors import BusyError
from model.networks.network import Network
from tests.app.conftest import dropped, open_client, service_in, settings_for, sketch


def test_before_it_passes_nothing_happens() -> None:
    late: list[int] = []
    deadline = Deadline(100, 3, lambda: late.append(1))
    deadline.raise_if_passed()
    assert 90 < deadline.remaining() <= 100

    async def in_time() -> str:
        async with deadline.limit():
            return "done"

    assert asyncio.run(in_time()) == "done"
    assert not late


def test_whoever_finds_out_the_request_is_late_once() -> None:
    late: list[int] = []
    deadline = Deadline(0, 3, lambda: late.append(1))
    assert deadline.remaining() == 0

    async def too_late() -> None:
        async with deadline.limit():
            await asyncio.sleep(60)

    with pytest.raises(BusyError) as caught:
        asyncio.run(too_late())
    assert (caught.value.code, caught.value.headers) == ("deadline_exceeded", {"Retry-After": "3"})
    threads = [threading.Thread(target=deadline.exceeded) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(BusyError):
        deadline.raise_if_passed()
    assert late == [1]


def test_a_time_out_of_the_work_itself_is_none_of_its_business() -> None:
    late: list[int] = []

    async def failing() -> None:
        async with Deadline(100, 3, lambda: late.append(1)).limit():
            raise TimeoutError("the disk")

    with pytest.raises(TimeoutError, match="the disk"):
        asyncio.run(failing())
    assert not late


def hold_device(client: TestClient, gate: threading.Event) -> None:
    started = threading.Event()

    def hold() -> None:
        started.set()
        gate.wait(60)

    service_in(client).worker.call(hold)
    assert started.wait(60)


def hold_decoders(client: TestClient, gate: threading.Event) -> None:
    service = service_in(client)
    for _ in range(service.settings.decode_threads):
        service._sketch_threads.submit(gate.wait, 60)
        service._photo_threads.submit(gate.wait, 60)


@pytest.mark.parametrize(
    ("held", "route"),
    [
        *((held, route) for held in (hold_device, hold_decoders) for route in ("search", "explain", "picture")),
        (hold_device, "similar"),
    ],
)
def test_a_late_request_is_counted_as_late_whatever_it_waits_for(
    shared_gallery: Path, network: Network, held: Any, route: str
) -> None:
    with open_client(create_app(settings_for(shared_gallery), network)) as client:
        photo_id = client.post("/search", files={"sketch": sketch()}).json()["results"][0]["photo_id"]
        service_in(client).settings = service_in(client).settings.model_copy(update={"request_timeout_s": 0.2})
        gate = threading.Event()
        held(client, gate)
        try:
            if route == "similar":
                answer = client.get(f"/photos/{photo_id}/similar")
            elif route == "search":
                answer = client.post("/search", files={"sketch": sketch()})
            else:
                fields = {"photo_id": photo_id, "format": "overlay" if route == "picture" else "json"}
                answer = client.post("/explain", files={"sketch": sketch()}, data=fields)
        finally:
            gate.set()
        assert (answer.status_code, answer.json()["code"]) == (503, "deadline_exceeded")
        assert dropped(client) == {"queue_full": 0, "deadline": 1, "client_left": 0}
        service_in(client).settings = settings_for(shared_gallery)
        assert client.post("/search", files={"sketch": sketch()}).status_code == 200, "what was late is out of the way"
        assert dropped(client) == {"queue_full": 0, "deadline": 1, "client_left": 0}


def test_too_many_calls_waiting_for_the_device_are_turned_away_and_counted(
    shared_gallery: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_client(create_app(settings_for(shared_gallery), network)) as client:
        photo_id = client.post("/search", files={"sketch": sketch()}).json()["results"][0]["photo_id"]
        monkeypatch.setattr(service_in(client), "_calls_waiting", 2 * service_in(client).searches_together)
        answer = client.get(f"/photos/{photo_id}/similar")
        assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
        assert dropped(client) == {"queue_full": 1, "deadline": 0, "client_left": 0}
