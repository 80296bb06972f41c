"""The real server in a process of its own: it starts, is killed under load, and ends well."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2
import pytest

from tests.app.conftest import sketch, wait_until

COMMAND = [sys.executable, "-c", "from app.cli import main; main()"]


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
        settings = {"TORCH_THREADS": "1", "RATE_LIMIT_PER_MINUTE": "0", "DRAIN_S": "0.5", **environment}
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [
                    *COMMAND,
                    "serve",
                    "--gallery",
                    gallery,
                    "--checkpoint",
                    checkpoint,
                    "--port",
                    str(self.port),
                    *arguments,
                ],
                env={**os.environ, "OMP_NUM_THREADS": "1", **{f"SKETCHSEEK_{k}": v for k, v in settings.items()}},
                stderr=file,
            )

    def get(self, path):
        return httpx2.get(self.url + path, timeout=10)

    def wait_ready(self):
        def ready():
            assert self.process.poll() is None, self.log.read_text()
            try:
                return httpx2.get(self.probes + "/readyz", timeout=10).status_code == 200
            except httpx2.TransportError:
                return False

        wait_until(ready, 60)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


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
        one.end()


def test_sigterm_during_load_finishes_every_request_and_exits_0(start):
    running = start()
    statuses, failures, unready = [], [], []
    ended = threading.Event()

    def load():
        # A new connection each time: those that come after the door is closed are refused, which is no failed request.
        while not ended.is_set():
            try:
                answer = httpx2.post(running.url + "/search", files={"sketch": sketch()}, timeout=10)
                statuses.append(answer.status_code)
            except httpx2.ConnectError:
                return
            except httpx2.HTTPError as error:
                failures.append(repr(error))
                return

    def probe():
        while not ended.is_set():
            try:
                answer = running.get("/readyz")
            except httpx2.ConnectError:
                return
            except httpx2.HTTPError:
                return
            if answer.status_code == 503:
                unready.append(answer.json()["status"])
            time.sleep(0.02)

    threads = [threading.Thread(target=load) for _ in range(3)] + [threading.Thread(target=probe)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(statuses) >= 10)
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) == 0
    ended.set()
    for thread in threads:
        thread.join()
    assert "draining" in unready
    assert set(statuses) == {200}
    assert failures == []


def test_the_log_is_one_json_object_a_line(start):
    running = start()
    httpx2.post(running.url + "/search", files={"sketch": sketch()})
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(60) == 0
    first, *lines = running.log.read_text().splitlines()
    assert first == f"Sketchseek listens at {running.url}"
    events = [json.loads(line)["event"] for line in lines]
    assert "request" in events
    assert "serving gallery" in events


def test_probes_on_a_port_of_their_own(start):
    port = free_port()
    running = start(ADMIN_PORT=str(port))
    assert httpx2.get(f"http://127.0.0.1:{port}/metrics").status_code == 200
    assert running.get("/metrics").status_code == 404
    assert running.get("/gallery").status_code == 200
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) == 0


def run(*arguments, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SKETCHSEEK_")}
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, env={**clean, **environment}, timeout=60, check=False
    )


def test_a_taken_port_is_said_in_one_line(shared_gallery, checkpoint):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("serve", "--gallery", shared_gallery, "--checkpoint", checkpoint, "--port", str(port))
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert f"cannot listen at 127.0.0.1:{port}" in ended.stderr
    assert "--port" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["--checkpoint", "unheard-of"], {}, "no checkpoint"),
        (["--gallery", "/nowhere"], {}, "no gallery at /nowhere"),
        ([], {"SKETCHSEEK_MAX_PIXELS": "many"}, "SKETCHSEEK_MAX_PIXELS"),
    ],
)
def test_a_service_that_cannot_start_says_why_in_one_line(shared_gallery, checkpoint, arguments, environment, says):
    given = ["--gallery", str(shared_gallery), "--checkpoint", str(checkpoint), "--port", str(free_port())]
    ended = run("serve", *given, *arguments, **environment)
    assert ended.returncode == 1
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stderr


def test_a_slow_body_does_not_keep_others_waiting_and_is_ended(start):
    running = start(BODY_TIMEOUT_S="1.5")
    head = (
        b"POST /search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    )
    slow = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(200)]
    for one in slow:
        one.sendall(head)
    started = time.monotonic()
    answer = httpx2.post(running.url + "/search", files={"sketch": sketch()}, timeout=10)
    assert answer.status_code == 200
    assert time.monotonic() - started < 1.5
    slow[0].settimeout(10)
    assert slow[0].recv(100).startswith(b"HTTP/1.1 408")
    for one in slow:
        one.close()


def test_a_killed_service_is_ready_again_with_everything(start, shared_gallery, checkpoint, tmp_path):
    running = start()
    before = running.get("/gallery").json()["photos"]
    running.process.kill()
    running.process.wait()
    started = time.monotonic()
    again = Running(shared_gallery, checkpoint, Path(tmp_path / "log2"))
    try:
        again.wait_ready()
        assert time.monotonic() - started < 30
        assert again.get("/gallery").json()["photos"] == before
    finally:
        again.end()
