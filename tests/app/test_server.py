"""The real server in a process of its own: it starts, is killed under load, and ends well."""

import json
import os
import select
import signal
import socket
import sys
import threading
import time

import httpx2
import pytest

from app import server
from app.cli import main
from app.main import create_app
from app.service.serving.served_gallery import ServedGallery
from tests.app.conftest import settings_for, sketch, wait_until
from tests.forked import Command

pytestmark = pytest.mark.timeout(900)  # starting a process may take a minute on a busy machine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Running:
    """A service in a process of its own."""

    def __init__(self, gallery, checkpoint, log, *arguments, **environment):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.probes = f"http://127.0.0.1:{environment.get('ADMIN_PORT', self.port)}"
        self.log = log
        settings = {"TORCH_THREADS": "1", "RATE_LIMIT_PER_MINUTE": "0", "DRAIN_S": "1", **environment}
        given = ["--gallery", str(gallery), "--checkpoint", str(checkpoint), "--port", str(self.port), *arguments]
        log.write_text("")
        self.process = Command(
            ["serve", *given],
            {f"SKETCHSEEK_{name}": value for name, value in settings.items()},
            output=log.with_name("out"),
            errors=log,
        )

    def get(self, path):
        return httpx2.get(self.url + path, timeout=100)

    def wait_ready(self):
        def ready():
            assert self.process.poll() is None, self.log.read_text()
            try:
                return httpx2.get(self.probes + "/readyz", timeout=10).status_code == 200
            except httpx2.TransportError:
                return False

        wait_until(ready, 300)


@pytest.fixture
def start(shared_gallery, checkpoint, tmp_path):
    running = []

    def started(*arguments, **environment):
        one = Running(shared_gallery, checkpoint, tmp_path / "log", *arguments, **environment)
        running.append(one)
        one.wait_ready()
        return one

    yield started
    for one in running:
        one.process.end()


def hold_back(running: Running, count: int) -> list[socket.socket]:
    """Clients that send the beginning of a request and then nothing."""
    head = (
        b"POST /search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    )
    slow = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(count)]
    for one in slow:
        one.sendall(head)
    return slow


def test_slow_clients_keep_nobody_waiting_and_sigterm_during_load_loses_no_request(start):
    running = start(BODY_TIMEOUT_S="10", SHUTDOWN_TIMEOUT_S="100")
    slow = hold_back(running, 200)
    silent = socket.create_connection(("127.0.0.1", running.port))
    silent.sendall(b"GET /gallery HTTP/1.1\r\nHost: 127")
    answer = httpx2.post(running.url + "/search", files={"sketch": sketch()}, timeout=100)
    assert answer.status_code == 200
    readable, _, _ = select.select(slow, [], [], 0)
    assert readable == [], "the fast client was answered only after the slow ones had been given up"
    slow[0].settimeout(200)
    assert slow[0].recv(100).startswith(b"HTTP/1.1 408")
    silent.settimeout(200)
    assert silent.recv(100) == b"", "a client that never ends its headers is let go"
    for one in (silent, *slow):
        one.close()

    listener = socket.create_connection(("127.0.0.1", running.port))
    listener.sendall(b"GET /gallery/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    began = time.monotonic()
    statuses, late, unready = load_and_terminate(running)
    assert running.process.wait(200) == 0
    assert time.monotonic() - began < 90, "who listens for changes delays no end"
    listener.close()
    assert "draining" in unready
    assert set(statuses) == {200}
    # The door closes a second after the signal; who knocks at that very moment may be turned away, nobody before.
    assert all(seconds > 0.5 for seconds in late)

    first, *lines = running.log.read_text().splitlines()
    assert first == f"Sketchseek listens at {running.url}"
    events = [json.loads(line)["event"] for line in lines]
    assert [event for event in events if event != "request"] == [
        "serving gallery",
        "ready to search",
        "draining",
        "stopped",
    ]


def load_and_terminate(running: Running) -> tuple[list[int], list[float], list[str]]:
    """SIGTERM while clients search.

    Statuses of the answers, seconds after the signal at which requests without an answer began, what /readyz said.
    """
    statuses: list[int] = []
    cut_off: list[float] = []
    unready: list[str] = []
    ended = threading.Event()

    def search() -> None:
        # A new connection each time: those that come after the door is closed are refused, which is no failed request.
        while not ended.is_set():
            began = time.monotonic()
            try:
                answer = httpx2.post(running.url + "/search", files={"sketch": sketch()}, timeout=100)
                statuses.append(answer.status_code)
            except httpx2.ConnectError:
                return
            except httpx2.HTTPError:
                cut_off.append(began)
                return

    def probe() -> None:
        while not ended.is_set():
            try:
                answer = running.get("/readyz")
            except httpx2.HTTPError:
                return
            if answer.status_code == 503:
                unready.append(answer.json()["status"])
            time.sleep(0.02)

    threads = [threading.Thread(target=search) for _ in range(3)] + [threading.Thread(target=probe)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(statuses) >= 10, 200)
    signalled = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    running.process.wait(200)
    ended.set()
    for thread in threads:
        thread.join()
    return statuses, [began - signalled for began in cut_off], unready


def test_a_killed_service_is_ready_again_with_everything_and_probes_have_a_port_of_their_own(start):
    running = start()
    before = running.get("/gallery").json()["photos"]
    running.process.end()
    port = free_port()
    again = start(ADMIN_PORT=str(port))
    assert again.get("/gallery").json()["photos"] == before
    assert httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=100).status_code == 200
    assert again.get("/metrics").status_code == 404
    again.process.send_signal(signal.SIGINT)
    assert again.process.wait(200) == 0


@pytest.fixture
def held():
    """Holds up whatever waits for it, until the test ends."""
    event = threading.Event()
    yield lambda *_: event.wait(60)
    event.set()


def test_the_end_does_not_wait_for_a_load(shared_gallery, network, monkeypatch, held):
    settings = settings_for(shared_gallery, writes="off", drain_s=0.1, shutdown_timeout_s=1)
    ended_at: list[float] = []

    def load(_gallery):
        ended_at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)
        held()

    monkeypatch.setattr(ServedGallery, "_load", load)
    interval = sys.getswitchinterval()
    with server.listen("127.0.0.1", 0) as listener:
        try:
            assert server.serve(create_app(settings, network), settings, listener)
        finally:
            sys.setswitchinterval(interval)
    assert time.monotonic() - ended_at[0] < 20
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with pytest.raises(SystemExit):
        server.end_process(3)
    assert ended == [3], "Python's own end would cut the load in native code"


def run(capsys, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of the command line, in this process."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    code = ended.value.code
    assert isinstance(code, int)
    return code, capsys.readouterr().err


def test_a_taken_port_is_said_in_one_line(shared_gallery, checkpoint, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given = ["--gallery", str(shared_gallery), "--checkpoint", str(checkpoint), "--port", str(port)]
        code, said = run(capsys, "serve", *given)
    assert code == 1
    assert said.count("\n") == 1
    assert f"cannot listen at 127.0.0.1:{port}" in said
    assert "--port" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--checkpoint", "unheard-of"], "no checkpoint"),
        (["--gallery", "/nowhere"], "no gallery at /nowhere"),
        (["--host", "203.0.113.7"], "cannot listen"),
        (["--port", "70000"], "SKETCHSEEK_PORT"),
    ],
)
def test_a_service_that_cannot_start_says_why_in_one_line(shared_gallery, checkpoint, capsys, arguments, says):
    given = ["--gallery", str(shared_gallery), "--checkpoint", str(checkpoint), "--port", str(free_port())]
    code, said = run(capsys, "serve", *given, *arguments)
    assert code == 1
    assert says in said
    assert said.count("\n") == 1
