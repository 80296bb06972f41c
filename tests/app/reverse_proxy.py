"""A small reverse proxy that serves a service under a path, as users' proxies do."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "date", "server"}


@contextlib.contextmanager
def reverse_proxy(port: int, prefix: str, *, strip: bool, headers: dict[str, str] | None = None) -> Iterator[str]:
    """Its address, such as http://127.0.0.1:4711, while it runs.

    Args:
        port: where the service listens on this machine.
        prefix: all that is passed on lies below this path; anything else is answered 404 by the proxy itself.
        strip: whether the path is passed on without the prefix.
        headers: what the proxy adds to each request.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            inside = self.path == prefix or self.path.startswith((f"{prefix}/", f"{prefix}?"))
            if not inside:
                self.send_error(404, "not below the prefix")
                return
            path = self.path
            if strip:
                path = path.removeprefix(prefix)
                path = path if path.startswith("/") else f"/{path}"
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            sent = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=100)) as connection:
                connection.request(self.command, path, body, sent | (headers or {}))
                answer = connection.getresponse()
                if answer.getheader("Content-Type", "").startswith("text/event-stream"):
                    self._pass_pieces_on(answer)
                    return
                data = answer.read()
            with contextlib.suppress(ConnectionError):  # a browser leaves as soon as it wants something else
                self._answer(answer, data)

        def _answer(self, answer: http.client.HTTPResponse, data: bytes) -> None:
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                    self.send_header(name, value)
            length = answer.headers.get("Content-Length") if self.command == "HEAD" else str(len(data))
            if length is not None and answer.status not in (204, 304):
                self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(data)

        def _pass_pieces_on(self, answer: http.client.HTTPResponse) -> None:
            """An answer that may never end, until the client leaves."""
            self.close_connection = True
            with contextlib.suppress(ConnectionError):
                self.send_response(answer.status)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                while piece := answer.read1(4096):
                    self.wfile.write(piece)

        def log_message(self, *_given: Any) -> None:
            """Say nothing."""

    for method in ("GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS"):
        setattr(Handler, f"do_{method}", Handler._pass_on)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
