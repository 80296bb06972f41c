"""Changes of the gallery, told as they happen."""

import asyncio
import time

import httpx2
import pytest

from app.main import create_app
from app.service.changes.progress import Standing
from app.service.news import Listeners, News
from app.service_errors import BusyError
from sketchseek_client import AsyncClient, Client, ServiceAnswerError
from tests.app.conftest import READ_KEY, WRITE_KEY, picture, settings_for, wait_until
from tests.app.http.fuzz import running


def wait_ready(client):
    while client.ready().status != "ready":
        time.sleep(0.02)


def test_an_added_photo_and_the_end_are_told_at_once(gallery, photos, network, tmp_path):
    settings = settings_for(gallery, photos=photos, read_key=READ_KEY, write_key=WRITE_KEY, max_listeners=1)
    app = create_app(settings, network)
    new = tmp_path / "new.png"
    picture(400).save(new)

    async def listen_along(url):
        async with AsyncClient(url, WRITE_KEY) as client:
            events = client.events()
            first = await anext(events)
            assert (first.photos, first.building) == (13, None)
            with pytest.raises(ServiceAnswerError) as crowded:
                await anext(client.events())
            assert (crowded.value.code, crowded.value.status) == ("too_many_listeners", 503)
            assert crowded.value.retry_after_s
            await client.add([new])
            answered = time.monotonic()
            async for event in events:
                if event.photos == 14:
                    break
            assert time.monotonic() - answered < 1, "one look later"
            assert event.version != first.version
            app.state.service.drain()
            assert [event async for event in events if event.photos != 14] == []
            assert len(app.state.service.listeners) == 0
            with pytest.raises(ServiceAnswerError) as ending:
                await anext(client.events())
            assert ending.value.code == "closing"

    with running(app) as url, Client(url, READ_KEY) as client:
        wait_ready(client)
        assert client.gallery().folders == ["photos"]
        asyncio.run(listen_along(url))
        with Client(url) as stranger, pytest.raises(ServiceAnswerError, match="asks for a key"):
            next(stranger.events())


def test_nothing_holds_them_back_and_who_leaves_makes_room(shared_gallery, network, monkeypatch, capsys):
    monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.05)
    app = create_app(settings_for(shared_gallery), network)
    with running(app) as url, Client(url) as client:
        wait_ready(client)
        with httpx2.stream("GET", f"{url}/gallery/events") as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith('data: {"version":')
            assert [next(lines) for _ in range(3)] == ["", ": ping", ""]
            kinds = {"content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no"}
            assert kinds.items() <= dict(answer.headers).items()
            assert "content-length" not in answer.headers
            assert len(app.state.service.listeners) == 1
        wait_until(lambda: len(app.state.service.listeners) == 0, 10)
        assert httpx2.head(f"{url}/gallery/events").headers["content-type"] == kinds["content-type"]
        wait_until(lambda: len(app.state.service.listeners) == 0, 10)
    assert "error" not in capsys.readouterr().out


def test_they_leave_half_of_the_places_to_other_requests(shared_gallery, network):
    with running(create_app(settings_for(shared_gallery, max_requests=3), network)) as url, Client(url) as client:
        wait_ready(client)
        listener = client.events()
        next(listener)
        with Client(url) as other, pytest.raises(ServiceAnswerError) as crowded:
            next(other.events())
        assert crowded.value.code == "too_many_listeners"
        assert client.gallery().photos


def test_only_what_changed_is_told(monkeypatch):
    monkeypatch.setattr("app.service.news._LOOK_EVERY_S", 0)
    steps = (
        [News(None, 0, None)] * 3
        + [News(None, 0, Standing("encoding", n, 2)) for n in (0, 0, 1)]
        + [News("1.1", 2, None)]
    )
    waiting = iter(steps)
    listeners = Listeners(lambda: next(waiting), lambda: len(told) == 4, 1, 1)
    told: list[News] = []

    async def listen():
        async for news in listeners.listen():
            told.append(news)  # noqa: PERF401

    asyncio.run(asyncio.wait_for(listen(), 10))
    assert told == list(dict.fromkeys(steps))


def test_a_place_is_given_back():
    listeners = Listeners(lambda: News(None, 0, None), lambda: False, 1, 1)
    with pytest.raises(KeyError), listeners.place():
        raise KeyError
    with listeners.place(), pytest.raises(BusyError), listeners.place():
        pass
    assert len(listeners) == 0
