"""Addresses to listen on and to open, by IPv4 and IPv6."""

import asyncio
import socket

import pytest

from app.addresses import authority, listening_socket
from app.http.root_path import TrustedProxies
from app.server import PortTakenError, address_of, listen
from app.settings import load_settings

ALL_IPV4 = "0.0.0.0"  # noqa: S104
ELSEWHERE = ", and at this machine's other addresses"


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("localhost", "http://localhost:8000"),
        ("::1", "http://[::1]:8000"),
        ("[::1]", "http://[::1]:8000"),
        ("::", f"http://127.0.0.1:8000{ELSEWHERE}"),
        ("0::0", f"http://127.0.0.1:8000{ELSEWHERE}"),
        (ALL_IPV4, f"http://127.0.0.1:8000{ELSEWHERE}"),
        ("192.0.2.7", "http://192.0.2.7:8000"),
    ],
)
def test_the_address_that_is_printed_can_be_opened(host, said):
    assert address_of(load_settings(host=host), 8000) == said


@pytest.mark.parametrize(
    ("host", "by_ipv4", "by_ipv6"),
    [
        ("::", True, True),
        ("[0::0]", True, True),
        ("::1", False, True),
        ("127.0.0.1", True, False),
        (ALL_IPV4, True, False),
    ],
)
def test_who_reaches_what_listens_there(host, by_ipv4, by_ipv6):
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        for address, reached in (("127.0.0.1", by_ipv4), ("::1", by_ipv6)):
            try:
                socket.create_connection((address, port), timeout=5).close()
            except ConnectionRefusedError:
                assert not reached, address
            else:
                assert reached, address


def test_a_name_of_both_kinds_is_listened_to_by_ipv4(monkeypatch):
    both = [(socket.AF_INET6, 1, 6, "", ("::1", 0, 0, 0)), (socket.AF_INET, 1, 6, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_given, **_named: both)
    with listening_socket("both.example", 0) as bound:
        assert bound.family == socket.AF_INET


def test_a_taken_ipv6_port_is_written_as_in_a_url():
    with listen("::1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"cannot listen at \[::1\]:{port} "):
            listen("::1", port)
    assert authority("[::1]", 1) == authority("::1", 1) == "[::1]:1"


@pytest.mark.parametrize(
    ("peer", "trusted"), [("127.0.0.1", True), ("::ffff:127.0.0.1", True), ("::ffff:10.0.0.1", False)]
)
def test_a_proxy_is_known_on_a_socket_for_both_families(peer, trusted):
    seen = []

    async def app(scope, _receive, _send):
        seen.append((scope["client"][0], scope.get("root_path", "")))

    headers = [(b"x-forwarded-for", b"203.0.113.5"), (b"x-forwarded-prefix", b"/seek")]
    scope = {"type": "http", "client": (peer, 1), "headers": headers}
    asyncio.run(TrustedProxies(app, "127.0.0.1")(scope, None, None))
    assert seen == [("203.0.113.5", "/seek") if trusted else ("10.0.0.1", "")]
