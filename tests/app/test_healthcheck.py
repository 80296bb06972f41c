"""The health check asks the address that the service listens on."""

import contextlib
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from app.addresses import listening_socket
from app.healthcheck import main
from app.settings import Settings

ALL_IPV4 = "0.0.0.0"  # noqa: S104


@contextlib.contextmanager
def answering(host, status=200):
    """The port of a server that answers every address with its path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, *_given):
            """Say nothing."""

    with listening_socket(host, 0) as listener:
        listener.listen()
        server = HTTPServer(listener.getsockname()[:2], Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.shutdown()
            thread.join(10)


@pytest.mark.parametrize("host", ["127.0.0.1", ALL_IPV4, "127.0.0.2", "::", "::1", "[::1]", "localhost", ""])
def test_it_asks_where_the_service_listens(host, monkeypatch, capsys):
    monkeypatch.setenv("SKETCHSEEK_HOST", host)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with answering(host or "127.0.0.1") as port:
        monkeypatch.setenv("SKETCHSEEK_PORT", str(port))
        assert main() == 0
        assert main("/readyz") == 0
    assert capsys.readouterr().out == "/healthz\n/readyz\n"


def test_it_reaches_what_listens_everywhere_where_the_loopback_has_no_ipv6(monkeypatch):
    monkeypatch.setenv("SKETCHSEEK_HOST", "::")
    with answering(ALL_IPV4) as port:
        monkeypatch.setenv("SKETCHSEEK_PORT", str(port))
        assert main() == 0


def test_it_asks_the_port_of_the_probes_if_there_is_one(monkeypatch):
    with answering("127.0.0.1") as port:
        monkeypatch.setenv("SKETCHSEEK_PORT", "1")
        assert main() == 1
        monkeypatch.setenv("SKETCHSEEK_ADMIN_PORT", str(port))
        assert main() == 0
        monkeypatch.setenv("SKETCHSEEK_ADMIN_PORT", "0")
        assert main() == 1


def test_a_service_that_answers_otherwise_is_not_healthy(monkeypatch):
    with answering("127.0.0.1", 503) as port:
        monkeypatch.setenv("SKETCHSEEK_PORT", str(port))
        assert main("/readyz") == 1


def test_nobody_there_is_one_line(monkeypatch, capsys):
    monkeypatch.setenv("SKETCHSEEK_HOST", "::1")
    monkeypatch.setenv("SKETCHSEEK_PORT", "1")
    assert main() == 1
    assert capsys.readouterr().err == "nothing answers at http://[::1]:1/healthz (ConnectionRefusedError)\n"
    monkeypatch.setenv("SKETCHSEEK_PORT", "eight")
    assert main() == 1


def test_its_defaults_are_those_of_the_settings(monkeypatch):
    fields = Settings.model_fields
    asked = []

    def connect(host, port, **_given):
        asked.append((host, port))
        raise ConnectionRefusedError

    monkeypatch.setattr("app.healthcheck.HTTPConnection", connect)
    with pytest.raises(ConnectionRefusedError):
        main()
    assert asked == [(fields["host"].default, fields["port"].default)]
    assert fields["admin_port"].default == 0


def test_it_needs_no_other_package():
    """It runs every few seconds beside a busy service."""
    code = (
        "import sys, app.healthcheck; print(sorted(m for m in ('typer', 'pydantic', 'structlog') if m in sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert ended.stdout.strip() == "[]"
