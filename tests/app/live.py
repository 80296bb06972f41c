"""The application behind a real port, served by the product's own server, for tests that write bytes."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

from fastapi import FastAPI

from app.server import _AdminServer, configuration
from app.settings import Settings

_opened: list[socket.socket] = []


@contextlib.contextmanager
def live(app: FastAPI, settings: Settings) -> Iterator[int]:
    """Its port, once it is ready."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        port = int(listener.getsockname()[1])
        options = configuration(app, settings)
        options.timeout_graceful_shutdown = 1
        server = _AdminServer(options)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        wait_for(lambda: server.started and b" 200 " in exchange(port, request("GET", "/readyz")).split(b"\r\n")[0])
        try:
            yield port
        finally:
            # Whatever became of the test, its clients go first: nothing is left to wait for.
            while _opened:
                _opened.pop().close()
            wait_for(lambda: not server.server_state.tasks)
            server.should_exit = True
            thread.join(60)


def wait_for(true, seconds: float = 100.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def request(method: str, path: str, *headers: str, body: bytes = b"", host: str = "127.0.0.1") -> bytes:
    """The bytes of a request that ends its connection."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def connect(port: int, *, receive_buffer: int | None = None, source: str | None = None) -> socket.socket:
    """A connection; `receive_buffer` bytes are all that the system takes for a client that does not read."""
    client = socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if source is not None:
        client.bind((source, 0))
    _opened.append(client)
    client.settimeout(60)
    client.connect(("127.0.0.1", port))
    return client


def read_all(client: socket.socket) -> bytes:
    """What comes until the connection ends."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := client.recv(65536):
            received += data
    return received


def exchange(port: int, data: bytes) -> bytes:
    """Send bytes as they are; what comes until the connection ends."""
    with connect(port) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(data)
        return read_all(client)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0


def code(answer: bytes) -> str:
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["code"])
