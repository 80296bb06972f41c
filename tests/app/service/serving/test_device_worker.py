"""The worker that owns the device: batches, limits, deadlines, and what happens when something goes wrong."""

import asyncio
import json
import threading
import time
from concurrent.futures import CancelledError
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from app.main import create_app
from app.metrics import Metrics
from app.service.serving.deadline import Deadline
from app.service.serving.device_worker import DeviceWorker
from app.service_errors import BusyError
from index_builder import BuildOptions, build_gallery
from tests.app.conftest import dropped, open_client, picture, service_in, settings_for, sketch, wait_until


class Held:
    """Something that a test lets go."""

    def __init__(self):
        self.batches = []
        self.started, self.go = threading.Event(), threading.Event()

    def __call__(self, tickets):
        self.batches.append([ticket.item for ticket in tickets])
        self.started.set()
        self.go.wait(60)
        for ticket in tickets:
            ticket.resolve(ticket.item * 10)


@pytest.fixture
def make():
    workers = []

    def made(process, queue_limit=10, batch_limit=4):
        worker = DeviceWorker(
            process, queue_limit=queue_limit, batch_limit=batch_limit, retry_after_s=3, metrics=Metrics()
        )
        worker.start()
        workers.append(worker)
        return worker

    yield made
    for worker in workers:
        worker.stop(5)


def soon(seconds=100.0, count=lambda: None):
    return Deadline(seconds, 3, count)


def test_what_waits_while_a_batch_runs_is_the_next_batch(make):
    held = Held()
    worker = make(held)
    first = worker.submit(0, soon())
    held.started.wait(60)
    rest = [worker.submit(number, soon()) for number in range(1, 8)]
    held.go.set()
    assert [ticket.future.result(60) for ticket in [first, *rest]] == [0, 10, 20, 30, 40, 50, 60, 70]
    assert held.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]


def test_a_lone_ticket_does_not_wait_for_company(make):
    worker = make(lambda tickets: [ticket.resolve(1) for ticket in tickets])
    started = time.monotonic()
    assert worker.submit(0, soon()).future.result(60) == 1
    assert time.monotonic() - started < 5


@pytest.fixture
def patient(monkeypatch):
    """A worker that waits for company much longer than a test takes, however long that is prepared."""
    monkeypatch.setattr("app.service.serving.device_worker._SOON_S", 600.0)
    monkeypatch.setattr("app.service.serving.device_worker._COMPANY_S", 60.0)


def test_a_batch_waits_for_those_on_their_way(make, patient):  # noqa: ARG001
    held = Held()
    held.go.set()
    worker = make(held, batch_limit=3)
    with worker.expecting():
        first = worker.submit(0, soon())
        time.sleep(0.05)
        assert not held.batches
        second = worker.submit(1, soon())
        time.sleep(0.05)
        assert not held.batches
    third = worker.submit(2, soon())  # nobody else comes
    assert [ticket.future.result(30) for ticket in (first, second, third)] == [0, 10, 20]
    assert held.batches == [[0, 1, 2]]
    with worker.expecting():  # a full batch waits for nobody
        tickets = [worker.submit(number, soon()) for number in range(3)]
        assert [ticket.future.result(30) for ticket in tickets] == [0, 10, 20]
    assert held.batches[1:] == [[0, 1, 2]]


@pytest.mark.parametrize("ends", ["call", "stop"])
def test_waiting_for_company_holds_nothing_up(make, patient, ends):  # noqa: ARG001
    worker = make(lambda tickets: [ticket.resolve(1) for ticket in tickets])
    with worker.expecting():
        ticket = worker.submit(0, soon())
        time.sleep(0.05)
        assert not ticket.future.done()
        if ends == "call":
            assert worker.call(lambda: 2).result(30) == 2
        else:
            worker.stop(30)
        assert ticket.future.result(30) == 1


def test_company_that_does_not_come_is_not_waited_for_long(make):
    worker = make(lambda tickets: [ticket.resolve(time.monotonic()) for ticket in tickets])
    waits = []
    for number in range(5):
        with worker.expecting():
            started = time.monotonic()
            waits.append(worker.submit(number, soon()).future.result(60) - started)
    assert 0.001 < min(waits) < 0.1


def test_company_whose_preparation_fails_is_not_waited_for(make, patient):  # noqa: ARG001
    worker = make(lambda tickets: [ticket.resolve(1) for ticket in tickets])

    def fail():
        with worker.expecting():
            ticket = worker.submit(0, soon())
            time.sleep(0.05)
            assert not ticket.future.done()
            fails.append(ticket)
            raise ValueError("blank")

    fails: list[Any] = []
    with pytest.raises(ValueError, match="blank"):
        fail()
    assert fails[0].future.result(30) == 1


def test_what_takes_long_to_prepare_is_not_waited_for(make, patient, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr("app.service.serving.device_worker._SOON_S", 0.05)
    worker = make(lambda tickets: [ticket.resolve(1) for ticket in tickets])
    with worker.expecting():
        time.sleep(0.1)
        assert worker.submit(0, soon()).future.result(30) == 1


def test_a_full_queue_is_said_at_once(make):
    held = Held()
    worker = make(held, queue_limit=2)
    worker.submit(0, soon())
    held.started.wait(60)
    waiting = [worker.submit(number, soon()) for number in (1, 2)]
    started = time.monotonic()
    with pytest.raises(BusyError) as caught:
        worker.submit(3, soon())
    assert time.monotonic() - started < 5
    assert (caught.value.code, caught.value.status, caught.value.headers) == ("queue_full", 503, {"Retry-After": "3"})
    waiting[0].future.cancel()  # its client left, so its place is free
    worker.submit(4, soon())
    held.go.set()


def test_dropped_tickets_are_never_worked_on(make):
    held = Held()
    worker = make(held)
    worker.submit(0, soon())
    held.started.wait(60)
    dropped, kept = worker.submit(1, soon()), worker.submit(2, soon())
    dropped.future.cancel()
    held.go.set()
    assert kept.future.result(60) == 20
    assert held.batches == [[0], [2]]


def test_a_ticket_past_its_deadline_is_answered_not_worked_on(make):
    held = Held()
    worker = make(held)
    worker.submit(0, soon())
    held.started.wait(60)
    counted = []
    late = worker.submit(1, soon(0.05, lambda: counted.append(1)))
    time.sleep(0.1)
    held.go.set()
    with pytest.raises(BusyError) as caught:
        late.future.result(60)
    assert caught.value.code == "deadline_exceeded"
    assert held.batches == [[0]]
    assert counted == [1]


def test_a_defect_fails_its_batch_and_the_next_one_is_served(make):
    def process(tickets):
        for ticket in tickets:
            ticket.resolve(1 // ticket.item)

    worker = make(process)
    with pytest.raises(ZeroDivisionError):
        worker.submit(0, soon()).future.result(60)
    assert worker.submit(1, soon()).future.result(60) == 1


def test_a_worker_that_dies_starts_again_and_its_tickets_fail_fast(make):
    def process(tickets):
        if tickets[0].item == "die":
            raise SystemExit
        tickets[0].resolve("alive")

    worker = make(process)
    with pytest.raises(BusyError) as caught:
        worker.submit("die", soon()).future.result(60)
    assert caught.value.code == "worker_died"
    assert worker.alive
    assert worker.submit("live", soon()).future.result(60) == "alive"
    assert worker._metrics.worker_restarts._value.get() == 1


class Panic(BaseException):
    """What a library's Rust panic is to Python."""


@pytest.mark.parametrize("panics", ["batch", "call"])
@pytest.mark.usefixtures("_unlogged")
def test_whatever_kills_the_worker_no_call_is_lost(make, panics):
    started, gate = threading.Event(), threading.Event()

    def panic(*_):
        started.set()
        gate.wait(60)
        raise Panic

    def process(tickets):
        if panics == "batch":
            panic()
        for ticket in tickets:
            ticket.resolve(1)

    worker = make(process)
    held = worker.call(lambda: gate.wait(0.1))  # the next batch and the next call wait together
    ticket = worker.submit(0, soon())
    call = worker.call(panic if panics == "call" else lambda: 2)
    assert started.wait(60)
    gate.set()
    lost, kept = (ticket.future, call) if panics == "batch" else (call, ticket.future)
    with pytest.raises(BusyError) as caught:
        lost.result(30)
    assert caught.value.code == "worker_died"
    assert kept.result(30) == (2 if panics == "batch" else 1)
    held.result(30)
    assert worker.call(lambda: 3).result(30) == 3


def test_a_batch_that_forgets_a_ticket_does_not_leave_it_waiting(make):
    worker = make(lambda tickets: None)  # noqa: ARG005
    with pytest.raises(RuntimeError):
        worker.submit(0, soon()).future.result(60)


def test_calls_get_their_turn_between_batches_and_batches_between_calls(make):
    order = []
    started, gate = threading.Event(), threading.Event()

    def process(tickets):
        order.append("batch")
        for ticket in tickets:
            ticket.resolve(None)

    worker = make(process, queue_limit=12)

    def hold():
        started.set()
        gate.wait(60)

    worker.call(hold)
    started.wait(60)
    calls = [worker.call(lambda: order.append("call")) for _ in range(3)]
    tickets = [worker.submit(number, soon()) for number in range(12)]
    gate.set()
    for future in [*calls, *(ticket.future for ticket in tickets)]:
        future.result(60)
    assert order == ["batch", "call", "batch", "call", "batch", "call"]


def test_an_error_of_a_call_is_its_callers(make):
    worker = make(lambda tickets: None)  # noqa: ARG005
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 / 0).result(60)
    assert worker.call(lambda: worker.is_own_thread).result(60)
    assert not worker.is_own_thread


def test_stopping_finishes_what_waits_and_takes_nothing_new(make):
    held = Held()
    worker = make(held)
    tickets = [worker.submit(number, soon()) for number in range(6)]
    held.started.wait(60)
    threading.Timer(0.1, held.go.set).start()
    worker.stop(60)
    assert [ticket.future.result(0) for ticket in tickets] == [0, 10, 20, 30, 40, 50]
    assert not worker.alive
    with pytest.raises(BusyError, match="shutting down"):
        worker.submit(9, soon())
    with pytest.raises(CancelledError):
        worker.call(lambda: 1).result(1)


def test_what_a_hanging_device_holds_back_fails_at_the_end(make):
    held = Held()
    worker = make(held)
    worker.submit(0, soon())
    held.started.wait(60)
    stuck = worker.submit(1, soon())
    worker.stop(0.1)
    with pytest.raises(BusyError):
        stuck.future.result(1)
    held.go.set()


def slow(service, monkeypatch, gate):
    searcher = type(service_in(service).gallery.serve().searcher)
    real = searcher.encode
    entered = threading.Event()

    def encode(self, sketches):
        entered.set()
        gate.wait(60)
        return real(self, sketches)

    monkeypatch.setattr(searcher, "encode", encode)
    return entered


def post(client):
    return client.post("/search", files={"sketch": sketch()})


def test_over_http_a_full_queue_is_a_503_with_retry_after(shared_gallery, network, monkeypatch):
    settings = settings_for(shared_gallery, queue_limit=1, batch_limit=1)
    with open_client(create_app(settings, network)) as client:
        gate, answers = threading.Event(), []
        entered = slow(client, monkeypatch, gate)
        threads = [threading.Thread(target=lambda: answers.append(post(client))) for _ in range(5)]
        threads[0].start()
        assert entered.wait(60)
        for thread in threads[1:]:
            thread.start()
        wait_until(lambda: len(answers) == 3)
        assert {(a.status_code, a.json()["code"], a.headers["retry-after"]) for a in answers} == {
            (503, "queue_full", "6")
        }
        gate.set()
        for thread in threads:
            thread.join()
        assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503]
        assert dropped(client) == {"queue_full": 3, "deadline": 0, "client_left": 0}


def test_over_http_a_deadline_is_a_503_with_retry_after(shared_gallery, network, monkeypatch):
    settings = settings_for(shared_gallery, request_timeout_s=0.5)
    with open_client(create_app(settings, network)) as client:
        gate = threading.Event()
        slow(client, monkeypatch, gate)
        started = time.monotonic()
        answer = post(client)
        assert time.monotonic() - started < 30
        assert (answer.status_code, answer.json()["code"]) == (503, "deadline_exceeded")
        assert answer.headers["retry-after"] == "1"
        gate.set()
        assert post(client).status_code == 200, "the late search is over"
        assert dropped(client) == {"queue_full": 0, "deadline": 1, "client_left": 0}


def leave(client, path, body):
    """The status of a request at the ASGI level whose body comes, and then the disconnection."""
    messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
    sent = []

    async def receive():
        if messages:
            return messages.pop()
        await asyncio.sleep(0.05)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http"}
    client.portal.call(client.app, scope, receive, send)
    return sent[0]["status"]


@pytest.mark.parametrize("path", ["/search", "/explain"])
def test_a_client_that_leaves_is_dropped(shared_gallery, network, monkeypatch, path):
    """Nothing is left waiting, and nothing is computed for it."""
    with open_client(create_app(settings_for(shared_gallery), network)) as client:
        body = {"strokes": [[[0, 9], [0, 9]]]}
        if path == "/explain":
            body["photo_id"] = post(client).json()["results"][0]["photo_id"]
        gate = threading.Event()
        entered = slow(client, monkeypatch, gate)
        blocker = threading.Thread(target=post, args=(client,))
        blocker.start()
        assert entered.wait(60)
        explained = []
        monkeypatch.setattr("app.http.routes.explain.explain_rows", lambda *_: explained.append(1))
        assert leave(client, path, body) == 499
        gate.set()
        blocker.join()
        assert post(client).status_code == 200
        assert dropped(client) == {"queue_full": 0, "deadline": 0, "client_left": 1}
        searches = 2 if path == "/search" else 3
        assert f"sketchseek_batch_size_sum {searches}.0" in client.get("/metrics").text
        assert not explained


LOST = torch.AcceleratorError("CUDA error: unspecified launch failure", 719)
SHORT = torch.OutOfMemoryError("CUDA out of memory")


def refuse(error):
    def refused(*_args, **_options):
        raise error

    return refused


def request_of(client, route):
    photo_id = post(client).json()["results"][0]["photo_id"]
    if route == "similar":
        return lambda: client.get(f"/photos/{photo_id}/similar")
    if route == "explain":
        return lambda: client.post("/explain", files={"sketch": sketch()}, data={"photo_id": photo_id})
    return lambda: post(client)


@pytest.fixture
def _unlogged():
    """Tracebacks take a test longer than everything else."""
    with capture_logs():
        yield


@pytest.mark.usefixtures("_unlogged")
@pytest.mark.parametrize(
    ("route", "fails"),
    [
        ("search", "encode"),
        ("search", "relate"),
        ("explain", "encode"),
        ("explain", "tokens"),
        ("similar", "recall"),
    ],
)
def test_a_lost_gpu_turns_the_service_unready_and_fails_fast(shared_gallery, network, monkeypatch, route, fails):
    with open_client(create_app(settings_for(shared_gallery), network)) as client:
        ask = request_of(client, route)
        searcher = service_in(client).gallery.serve().searcher
        stage = type(searcher.reranking if fails in ("relate", "tokens") else searcher)
        monkeypatch.setattr(stage, fails, refuse(SHORT))
        answer = ask()
        assert (answer.status_code, answer.json()["code"]) == (503, "device_memory")
        assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/readyz").status_code == 200, "a lack of memory passes"
        monkeypatch.setattr(stage, fails, refuse(LOST))
        answer = ask()
        assert (answer.status_code, answer.json()["code"]) == (503, "device_lost")
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "failed")
        assert "GPU" in ready.json()["reason"]
        assert client.get("/healthz").status_code == 200


def test_a_gallery_that_memory_was_too_short_for_is_loaded_once_there_is_some(shared_gallery, network, monkeypatch):
    encode, calls = network.encode_sketch, iter([torch.OutOfMemoryError("injected")] * 2)

    def short(images):
        for error in calls:
            raise error
        return encode(images)

    monkeypatch.setattr(network, "encode_sketch", short)
    with open_client(create_app(settings_for(shared_gallery), network)) as client:
        assert post(client).status_code == 200
        failures = 'sketchseek_gallery_failures_total{step="load"} 1.0'
        assert failures in client.get("/metrics").text, "counted once, not at every attempt"


@pytest.mark.usefixtures("_unlogged")
@pytest.mark.parametrize("during", ["indexing", "warm-up"])
def test_a_gpu_lost_in_the_background_turns_the_service_unready(gallery, photos, network, monkeypatch, during):
    settings = settings_for(gallery, photos=photos, watch=False)
    with open_client(create_app(settings, network)) as client:
        service = service_in(client)
        if during == "indexing":
            shared = service.changes._network
            monkeypatch.setattr(type(network), "encode_photo", refuse(LOST))
            with pytest.raises(BusyError):
                shared.encode_photo(torch.zeros(3, 3, 64, 64))
        else:
            monkeypatch.setattr("app.service.serving.served_gallery.warm_up", refuse(LOST))
            picture(5).save(photos / "animals" / "new.png")
            build_gallery(photos, gallery, network, options=BuildOptions(workers=1))
        wait_until(lambda: client.get("/readyz").status_code == 503)
        assert client.get("/readyz").json()["status"] == "failed"


def test_photos_are_encoded_in_smaller_steps_where_memory_is_short(shared_gallery, network, monkeypatch):
    with open_client(create_app(settings_for(shared_gallery, encode_batch=8), network)) as client:
        shared = service_in(client).changes._network
        images = torch.rand(11, 3, network.preprocess.image_size, network.preprocess.image_size)
        whole = shared.encode_photo(images)
        real = type(network).encode_photo

        def encode(self, some):
            if len(some) > 3:
                raise SHORT
            return real(self, some)

        monkeypatch.setattr(type(network), "encode_photo", encode)
        assert torch.allclose(shared.encode_photo(images).descriptor, whole.descriptor, atol=1e-6)
        assert client.get("/readyz").status_code == 200
