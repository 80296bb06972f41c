"""Slow clients do not keep a fast one from its answer, even if they hold every place."""

import asyncio
import contextlib
import select
import time

import numpy as np
import pytest
from PIL import Image

from app.http.admission import Admission
from app.main import create_app
from app.service_errors import BusyError
from tests.app.conftest import settings_for
from tests.app.live import connect, exchange, live, read_all, request, status, wait_for

SLOW = 200
SEARCH = b'{"strokes": [[[0, 50], [0, 50]]], "top_k": 3}'


def search(port):
    started = time.monotonic()
    answer = exchange(port, request("POST", "/search", "Content-Type: application/json", body=SEARCH))
    return status(answer), time.monotonic() - started


@pytest.fixture(scope="module")
def large(tmp_path_factory, network):
    """A gallery of one photo that no system's buffers hold."""
    from index_builder import BuildOptions, build_gallery

    root = tmp_path_factory.mktemp("large") / "photos"
    root.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (2200, 2200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "noise.png", compress_level=0)
    build_gallery(root, root.parent / "gallery", network, options=BuildOptions(workers=1))
    return root.parent / "gallery"


def slow_senders(port, count, sent=b"{", declared=1_000_000):
    head = f"POST /search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {declared}"
    clients = []
    for _ in range(count):
        client = connect(port)
        client.sendall(head.encode() + b"\r\n\r\n" + sent)
        clients.append(client)
    return clients


def slow_readers(port, count, path):
    clients = []
    for _ in range(count):
        client = connect(port, receive_buffer=4096)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        clients.append(client)
    return clients


def photo_path(port):
    answer = exchange(port, request("POST", "/search", "Content-Type: application/json", body=SEARCH))
    return answer.partition(b'"url":"')[2].partition(b'"')[0].decode()


def in_flight(port):
    text = exchange(port, request("GET", "/metrics")).decode()
    return float(text.split("\nsketchseek_requests_in_flight ")[1].split("\n")[0]) - 1


def ended(clients):
    """How many connections the service has ended."""
    count = 0
    for client in clients:
        client.setblocking(False)  # noqa: FBT003 - the name of the method says it
        with contextlib.suppress(BlockingIOError):
            try:
                while client.recv(65536):
                    pass
                count += 1
            except ConnectionError:
                count += 1
    return count


@pytest.mark.parametrize("places", [512, 100])
def test_two_hundred_slow_senders(shared_gallery, network, places):
    """With fewer places than slow clients the fast one takes a place from one of them."""
    settings = settings_for(shared_gallery, max_requests=places, body_timeout_s=60)
    with live(create_app(settings, network), settings) as port:
        slow = slow_senders(port, SLOW)
        wait_for(lambda: in_flight(port) >= min(SLOW, places) - 5)
        time.sleep(1.1)
        for _ in range(3):
            answered, seconds = search(port)
            assert answered == 200
            assert seconds < 20, "the body's time limit, not the fast client, would have made room"
        turned_away = [
            client for client in select.select(slow, [], [], 0)[0] if b"client_too_slow" in client.recv(4096)
        ]
        assert bool(turned_away) == (places < SLOW)


@pytest.mark.parametrize("places", [pytest.param(512, marks=pytest.mark.slow), 100])
def test_two_hundred_slow_readers(large, network, places):
    settings = settings_for(large, max_requests=places, answer_timeout_s=60)
    with live(create_app(settings, network), settings) as port:
        path = photo_path(port)
        slow_readers(port, SLOW, path)
        wait_for(lambda: in_flight(port) >= min(SLOW, places) - 5)
        time.sleep(1.1)
        for _ in range(3):
            answered, seconds = search(port)
            assert answered == 200
            assert seconds < 20


def test_slow_senders_of_large_bodies_give_their_memory_back(shared_gallery, network):
    settings = settings_for(shared_gallery, max_bodies_bytes=20_000_000, body_timeout_s=60)
    with live(create_app(settings, network), settings) as port:
        slow_senders(port, 22, b"x" * 900_000, 9_000_000)
        wait_for(lambda: in_flight(port) >= 20)
        time.sleep(1.1)
        body = b'{"image": "data:image/png;base64,' + b"A" * 3_000_000 + b'"}'
        answer = exchange(port, request("POST", "/search", "Content-Type: application/json", body=body))
        assert status(answer) == 422, "the picture is none, but it was read: there was room"
        wait_for(lambda: in_flight(port) <= 19)  # those whose memory it took


def test_a_client_that_reads_nothing_is_let_go(large, network):
    settings = settings_for(large, answer_timeout_s=1)
    with live(create_app(settings, network), settings) as port:
        path = photo_path(port)
        (slow,) = slow_readers(port, 1, path)
        wait_for(lambda: in_flight(port) == 1)
        wait_for(lambda: in_flight(port) == 0)
        assert len(read_all(slow)) < 14_000_000


def test_a_client_that_reads_slowly_but_steadily_gets_all_of_it(large, network):
    settings = settings_for(large, answer_timeout_s=1)
    with live(create_app(settings, network), settings) as port:
        with connect(port, receive_buffer=65536) as client:
            client.sendall(request("GET", photo_path(port)))
            received, began = 0, time.monotonic()
            while data := client.recv(262144):
                received += len(data)
                time.sleep(max(0, began + received / 6_000_000 - time.monotonic()))
        assert time.monotonic() - began > 2, "slower than the time limit in all"
        assert received > 14_000_000


def test_new_connections_replace_silent_ones(shared_gallery, network):
    settings = settings_for(shared_gallery, max_connections=50)
    with live(create_app(settings, network), settings) as port:
        silent = [connect(port) for _ in range(120)]
        assert search(port)[0] == 200
        wait_for(lambda: ended(silent) >= 60)
        assert ended(silent) <= 80


def test_a_request_that_lost_its_place_is_told_so(shared_gallery, network):
    settings = settings_for(shared_gallery, max_requests=1)
    with live(create_app(settings, network), settings) as port:
        (slow,) = slow_senders(port, 1)
        wait_for(lambda: in_flight(port) == 1)
        time.sleep(1.1)
        assert search(port)[0] == 200
        answer = slow.recv(65536)
        assert status(answer) == 503
        assert b"client_too_slow" in answer
        assert b"retry-after" in answer


# The book-keeping alone, with a clock of its own.


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_the_slowest_of_the_largest_crowd_loses_its_place_and_a_request_being_worked_on_never_does():
    async def play():
        clock, ends = Clock(), []
        admission = Admission(4, 100, 1, clock)
        release = asyncio.Event()

        async def client(name, address, *, waits):
            try:
                async with admission.hold(address) as held:
                    with held.waiting() if waits else contextlib.nullcontext():
                        await release.wait()
                ends.append((name, "served"))
            except BusyError as error:
                ends.append((name, error.code))

        tasks = []
        for name, address, waits in [("a", "lonely", True), ("b", "crowd", True), ("c", "crowd", True)]:
            tasks.append(asyncio.create_task(client(name, address, waits=waits)))
            await asyncio.sleep(0)
            clock.now += 1
        tasks.append(asyncio.create_task(client("d", "worker", waits=False)))
        await asyncio.sleep(0)
        for name in ("e", "f", "g", "h"):
            clock.now += 1
            tasks.append(asyncio.create_task(client(name, "new", waits=False)))
            await asyncio.sleep(0.01)
        assert len(admission) == 4
        assert ends == [("b", "client_too_slow"), ("a", "client_too_slow"), ("c", "client_too_slow"),
                        ("h", "overloaded")]  # fmt: skip
        release.set()
        await asyncio.gather(*tasks)
        assert len(admission) == 0

    asyncio.run(play())


def test_a_moment_of_waiting_costs_no_request_its_place():
    async def play():
        clock = Clock()
        admission = Admission(1, 100, 1, clock)
        async with admission.hold("one") as held:
            with held.waiting():
                clock.now = 0.5
                with pytest.raises(BusyError, match="as many requests"):
                    async with admission.hold("two"):
                        pass

    asyncio.run(play())


def test_memory_is_given_back_whatever_happens():
    async def play():
        clock = Clock()
        admission = Admission(9, 100, 1, clock)

        async def fail():
            async with admission.hold("one") as held:
                held.take(60)
                async with admission.hold("two") as other:
                    with pytest.raises(BusyError) as caught:
                        other.take(50)
                    assert caught.value.code == "bodies_full"
                    other.take(40)
                    assert admission.bytes == 100
                assert admission.bytes == 60
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert admission.bytes == 0

    asyncio.run(play())
