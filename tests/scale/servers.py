"""The servers around a gallery that outgrew one machine, each a process of its own, with an end that is certain."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2

_STORE = """
import sys, time
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=int(sys.argv[1]), verbose=False)
server.start()
time.sleep(10**6)
"""
BUCKET = "galleries"


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Look ten times a second. Raises TimeoutError, naming `what` did not happen."""
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            raise TimeoutError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.1)


@contextlib.contextmanager
def process(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to a file; killed at the end if it still runs."""
    with log.open("ab") as file:
        running = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **environment})
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait(30)


@contextlib.contextmanager
def object_store(folder: Path) -> Iterator[dict[str, str]]:
    """An S3 server with one bucket. Yields the variables with which everybody finds it."""
    import boto3

    port = free_port()
    address = f"http://127.0.0.1:{port}"
    variables = {
        "AWS_ENDPOINT": address,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_REGION": "us-east-1",
    }
    with process([sys.executable, "-c", _STORE, str(port)], folder / "store.log", {}):
        wait_until(lambda: answers(address), 60, "the start of the object store")
        client = boto3.client(
            "s3",
            endpoint_url=address,
            region_name="us-east-1",
            aws_access_key_id="nobody",
            aws_secret_access_key="nothing",
        )
        client.create_bucket(Bucket=BUCKET)
        yield variables


@contextlib.contextmanager
def replica(arguments: list[str], folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """A service that only reads. Yields its address once it answers searches."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-c", "from app.cli import main; main()", "serve", "--port", str(port), *arguments]
    with process(command, folder / f"replica-{port}.log", environment):
        wait_until(lambda: answers(f"{address}/readyz"), 180, "the start of a replica")
        yield address


def answers(address: str) -> bool:
    """Whether somebody answers there with success."""
    with contextlib.suppress(httpx2.HTTPError):
        return httpx2.get(address, timeout=5).is_success
    return False
