"""A server that speaks S3, started by the tests themselves, which can be told to fail."""

from __future__ import annotations

import io
import itertools
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from index_builder.object_storage import stores

_numbers = itertools.count()
Fault = Callable[[str, str], int | None]
"""From a request's method and path with query to the status it is answered with.

0 cuts the connection. None answers as it should be.
"""
HALF = -1
"""In place of a status: the answer breaks off in its middle."""
UNANSWERED = -2
"""In place of a status: the request is carried out, and its answer is lost."""


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Nothing: a test's output is for its own words."""


class ObjectStore:
    """The server.

    Attributes:
        address: of the server, as a URL.
        fault: decides which requests fail; None lets all through.
        requests: method and path of every request.
    """

    def __init__(self) -> None:
        self._store = DomainDispatcherApplication(create_backend_app)
        self.fault: Fault | None = None
        self.requests: list[str] = []
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)
        self.address = f"http://127.0.0.1:{self._server.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def bucket(self) -> str:
        """The name of a new bucket."""
        name = f"bucket-{next(_numbers)}"
        self._send("PUT", name)
        return name

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Write an object."""
        self._send("PUT", f"{bucket}/{quote(key)}", data)

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object."""
        self._send("DELETE", f"{bucket}/{quote(key)}")

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Let requests fail for a while."""
        self.fault = fault
        try:
            yield
        finally:
            self.fault = None

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _send(self, method: str, path: str, data: bytes | None = None) -> None:
        key = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request"}
        kind = {"Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{self.address}/{path}", data, key | kind, method=method)  # noqa: S310
        urllib.request.urlopen(request).close()  # noqa: S310 - our own server

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"] + (f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else "")
        self.requests.append(f"{environ['REQUEST_METHOD']} {path}")
        if length := int(environ.get("CONTENT_LENGTH") or 0):
            body = environ["wsgi.input"].read(length)
            if len(body) < length:  # its sender has died; a store does nothing then, moto would store what came
                return self._cut(environ)
            environ["wsgi.input"] = io.BytesIO(body)
        status = self.fault(environ["REQUEST_METHOD"], path) if self.fault is not None else None
        if status is None:
            answer: Iterable[bytes] = self._store(environ, start)
            return answer
        if status == 0:
            return self._cut(environ)
        if status == UNANSWERED:
            for _ in self._store(environ, lambda *_: None):
                pass
            return self._cut(environ)
        if status == HALF:
            data = b"".join(self._store(environ, start))
            return [data[: len(data) // 2]]
        start(f"{status} Refused", [("Content-Type", "text/plain"), ("Content-Length", "0")])
        return []

    @staticmethod
    def _cut(environ: dict[str, Any]) -> Iterable[bytes]:
        environ["werkzeug.socket"].close()
        return []


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectStore]:
    store = ObjectStore()
    yield store
    store.close()


@pytest.fixture
def object_store(object_server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The server, with what the environment must say to reach it. Requests that fail are tried once more, soon."""
    values = {
        "AWS_ENDPOINT": object_server.address,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "a-key",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_REGION": "us-east-1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stores, "TRIES", 1)
    stores.open_store.cache_clear()
    object_server.requests.clear()
    return object_server
