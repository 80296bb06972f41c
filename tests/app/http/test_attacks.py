"""A stranger with a socket: bytes that no client library would send, against the server as it is run."""

import gzip
import json
import os
import socket
import struct
import time
from pathlib import Path

import pytest

from app.logs import configure_logging
from app.main import create_app
from tests.app.conftest import READ_KEY, WRITE_KEY, encoded, fill, open_client, picture, settings_for, sketch
from tests.app.live import code, connect, exchange, live, read_all, request, status, wait_for

SEARCH = b'{"strokes": [[[0, 50], [0, 50]]], "top_k": 3}'
JSON = "Content-Type: application/json"


@pytest.fixture(scope="module")
def port(shared_gallery, network):
    settings = settings_for(shared_gallery)
    with live(create_app(settings, network), settings) as one:
        yield one


@pytest.fixture(scope="module")
def locked(shared_gallery, network):
    settings = settings_for(shared_gallery, read_key=READ_KEY, write_key=WRITE_KEY)
    with live(create_app(settings, network), settings) as one:
        yield one


def lines(*head, body=b""):
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


# --- requests that two servers in a row could read differently

SMUGGLED = b"GET /gallery HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
AMBIGUOUS = {
    "length and chunks": lines(
        "POST /search HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        body=b"0\r\n\r\n" + SMUGGLED,
    ),
    "two lengths": lines(
        "POST /search HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 5", "Content-Length: 50", body=b"12345" + SMUGGLED
    ),
    "a list of lengths": lines("POST /search HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 5, 50", body=SMUGGLED),
    "a signed length": lines(
        "POST /search HTTP/1.1", "Host: 127.0.0.1", "Content-Length: +5", body=b"12345" + SMUGGLED
    ),
    "a length with a blank": lines(
        "POST /search HTTP/1.1", "Host: 127.0.0.1", "Content-Length : 5", body=b"12345" + SMUGGLED
    ),
    "a hexadecimal length": lines("POST /search HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 0x5", body=b"12345"),
    "a huge length": lines("POST /search HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 99999999999999999999999"),
    "chunks, but not last": lines(
        "POST /search HTTP/1.1", "Host: 127.0.0.1", "Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + SMUGGLED
    ),
    "chunks by another name": lines(
        "POST /search HTTP/1.1", "Host: 127.0.0.1", "Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SMUGGLED
    ),
    "a chunk of negative size": lines(
        "POST /search HTTP/1.1", "Host: 127.0.0.1", "Transfer-Encoding: chunked", body=b"-1\r\nx\r\n0\r\n\r\n"
    ),
    "a chunk of absurd size": lines(
        "POST /search HTTP/1.1", "Host: 127.0.0.1", "Transfer-Encoding: chunked", body=b"fffffffffffffffff\r\nx"
    ),
    "a folded header": lines("POST /search HTTP/1.1", "Host: 127.0.0.1", "X: a", " Content-Length: 5", body=b"12345"),
    "a bare line feed in a header": lines(
        "GET /gallery HTTP/1.1", "Host: 127.0.0.1", "X: a\nTransfer-Encoding: chunked"
    ),
    "a null in a header": lines("GET /gallery HTTP/1.1", "Host: 127.0.0.1", "X: a\0b"),
    "no version": b"GET /gallery\r\n\r\n",
    "a version of the future": lines("GET /gallery HTTP/9.9", "Host: 127.0.0.1"),
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 500,
    "CONNECT": lines("CONNECT example.org:443 HTTP/1.1", "Host: 127.0.0.1"),
    "bytes in the address": b"GET /photos/\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_refused_and_the_connection_ends(port, name):
    answer = exchange(port, AMBIGUOUS[name])
    assert answer.count(b"HTTP/1.1 ") == 1, "nothing behind it is taken for another request"
    assert 400 <= status(answer) < 500
    assert b"x-content-type-options: nosniff" in answer
    assert b"application/problem+json" in answer


def test_chunks_without_a_length_are_read_and_trailers_are_no_headers(locked):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (SEARCH[:7], SEARCH[7:]))
    head = lines("POST /search HTTP/1.1", "Host: 127.0.0.1", JSON, "Transfer-Encoding: chunked", "Connection: close")
    trailer = f"0\r\nAuthorization: Bearer {READ_KEY}\r\nX-Request-ID: from-a-trailer\r\n\r\n".encode()
    answer = exchange(locked, head + chunks + trailer)
    assert (status(answer), code(answer)) == (401, "key_required")
    assert b"from-a-trailer" not in answer
    right = lines(
        "POST /search HTTP/1.1",
        "Host: 127.0.0.1",
        JSON,
        "Transfer-Encoding: chunked",
        "Connection: close",
        f"Authorization: Bearer {READ_KEY}",
    )
    assert status(exchange(locked, right + chunks + b"0\r\n\r\n")) == 200


ENDLESS = {
    "one header": (b"GET /gallery HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", b"x" * 65536),
    "many headers": (b"GET /gallery HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"x: y\r\n" * 10_000),
    "an address": (b"GET /", b"x" * 65536),
    "one trailer": (
        b"POST /search HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        b"x" * 65536,
    ),
    "many trailers": (
        b"POST /search HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"x: y\r\n" * 10_000,
    ),
    "a chunk's extension": (
        b"POST /search HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        b"x" * 65536,
    ),
    "a body that nobody reads": (
        b"GET /gallery HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 999999999999\r\n\r\n",
        b"x" * 65536,
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_nothing_goes_on_for_ever(port, name):
    begin, more = ENDLESS[name]
    before = memory()
    with connect(port) as client:
        client.sendall(begin)
        sent, started = 0, time.monotonic()
        try:
            while time.monotonic() - started < 60:
                client.sendall(more)
                sent += len(more)
                if name == "a body that nobody reads":
                    time.sleep(0.05)
        except OSError:
            pass
        else:
            pytest.fail("it goes on for ever")
    assert memory() - before < 100_000_000
    if name != "a body that nobody reads":
        assert sent < 20_000_000


def memory():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_large_headers_are_refused_by_name(port):
    answer = exchange(
        port, lines("GET /gallery HTTP/1.1", "Host: 127.0.0.1", "Connection: close", "X: " + "x" * 63_000)
    )
    assert status(answer) == 200
    answer = exchange(port, lines("GET /gallery HTTP/1.1", "Host: 127.0.0.1", "X: " + "x" * 65_000))
    assert (status(answer), code(answer)) == (431, "headers_too_large")


def test_requests_one_behind_another_are_answered_in_their_order(port):
    body = lines("POST /search HTTP/1.1", "Host: 127.0.0.1", JSON, f"Content-Length: {len(SEARCH)}", body=SEARCH)
    answer = exchange(port, (body + SMUGGLED) * 3 + request("GET", "/nothing"))
    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [200, 200] * 3 + [404]


def test_endless_requests_one_behind_another_keep_nobody_waiting(port):
    """They are parsed far faster than they are answered, so a line without an end would take memory and time."""
    many = lines("GET /healthz HTTP/1.1", "Host: 127.0.0.1") * 20_000
    before, started = memory(), time.process_time()
    answer = exchange(port, many)
    assert status(exchange(port, request("GET", "/healthz"))) == 200
    assert time.process_time() - started < 5
    assert memory() - before < 50_000_000
    assert answer.count(b"HTTP/1.1 200") < 20_000, "the connection ends"
    few = lines("GET /healthz HTTP/1.1", "Host: 127.0.0.1") * 40
    assert exchange(port, few + request("GET", "/healthz")).count(b"HTTP/1.1 200") == 41


def test_who_asks_often_and_leaves_is_no_defect(shared_gallery, network, capsys):
    configure_logging()
    settings = settings_for(shared_gallery)
    with live(create_app(settings, network), settings) as port:
        found = exchange(port, request("POST", "/search", JSON, body=SEARCH))
        path = found.partition(b'"url":"')[2].partition(b'"')[0].decode()
        for _ in range(20):
            client = connect(port)
            client.sendall(lines(f"GET {path} HTTP/1.1", "Host: 127.0.0.1") * 30)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            time.sleep(0.01)
            client.close()
        assert status(exchange(port, request("GET", "/gallery"))) == 200
    logged = capsys.readouterr().err
    assert "request failed" not in logged
    assert "Exception in ASGI" not in logged


def test_there_are_no_web_sockets_and_nothing_is_upgraded(port):
    for protocol in ("websocket", "h2c"):
        answer = exchange(
            port,
            request(
                "GET",
                "/gallery",
                f"Upgrade: {protocol}",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            ).replace(b"Connection: close", b"Connection: Upgrade, close"),
        )
        assert status(answer) != 101
        assert status(answer) < 500


# --- bodies


def form(*parts, head=""):
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    return request("POST", "/search", f"Content-Type: multipart/form-data; boundary=b{head}", body=body)


def field(name, value=b"5"):
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value


FILE = b'Content-Disposition: form-data; name="sketch"; filename="x.png"\r\n\r\n' + sketch()
FORMS = {
    "10 000 parts": (form(*[field("top_k")] * 10_000), "malformed_form"),
    "10 000 files": (form(*[FILE[:-200]] * 1000), "malformed_form"),
    "10 000 headers of a part": (form(b"X: y\r\n" * 10_000 + field("top_k")), "malformed_form"),
    "a header of a megabyte": (form(b"X: " + b"y" * 1_000_000 + b"\r\n" + field("top_k")), "malformed_form"),
    "a field of a megabyte": (form(field("top_k", b"5" * 1_000_000), FILE), "malformed_form"),
    "a codec that takes minutes": (
        form(*[field("tag", b"-" + b"b" * 60_000)] * 60, FILE, head="; charset=punycode"),
        "malformed_form",
    ),
    "a codec that is none": (form(FILE, head="; charset=zlib"), "malformed_form"),
    "a file cut in the middle": (form(FILE)[:-100].replace(b"Content-Length: ", b"X: ", 1), "malformed_form"),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_that_cost_more_than_they_should(port, name):
    data, expected = FORMS[name]
    if name == "a file cut in the middle":
        body = data.partition(b"\r\n\r\n")[2]
        data = request("POST", "/search", "Content-Type: multipart/form-data; boundary=b", body=body)
    started = time.process_time()
    answer = exchange(port, data)
    assert (status(answer), code(answer)) == (400, expected)
    assert time.process_time() - started < 5


DRAWN = b'{"strokes": [[[0, 50], [0, 50]]]'
BODIES = {
    "three million empty lists": b'{"strokes": [' + b"[]," * 3_000_000 + b"[]]}",
    "three million numbers": b'{"strokes": [[' + b"[1]," * 2_000_000 + b"[]]]}",
    "nested as deep as it goes": b'{"strokes": ' + b"[" * 5_000_000,
    "objects as deep as they go": b'{"a":' * 1_500_000,
    "a number of five million digits": b'{"strokes": [[[' + b"9" * 5_000_000 + b"],[1]]]}",
    "one long string": b'{"image": "' + b"x" * 9_000_000 + b'"}',
    "a picture of nothing but blanks": b'{"image": "data:image/png;base64,' + b" " * 9_000_000 + b'"}',
    "300 000 fields": DRAWN + b"," + b",".join(b'"x%d":1' % number for number in range(300_000)) + b"}",
    "300 000 wrong tags": DRAWN + b', "tag": [' + b"1," * 300_000 + b"1]}",
}
CHEAP = ("300 000 fields", "300 000 wrong tags")
TOLD = {"three million empty lists": "too_many_points", "three million numbers": "too_many_points"}


@pytest.mark.parametrize("name", BODIES)
def test_json_that_costs_more_than_it_should(port, name):
    started = time.process_time()
    answer = exchange(port, request("POST", "/search", JSON, body=BODIES[name]))
    assert 400 <= status(answer) < 500
    assert code(answer) == TOLD.get(name, code(answer)), "said before anything of it is parsed"
    assert time.process_time() - started < (3 if name not in CHEAP else 0.7)


def test_photos_to_explain_beside_are_counted_before_they_are_looked_at(port):
    body = DRAWN + b', "photo_id": "x", "among": [' + b"1," * 300_000 + b"1]}"
    started = time.process_time()
    answer = exchange(port, request("POST", "/explain", JSON, body=body))
    assert (status(answer), code(answer)) == (422, "invalid_among")
    assert time.process_time() - started < 0.5


def test_nothing_is_unpacked_on_the_way_in(port):
    bomb = gzip.compress(b"0" * 50_000_000)
    for encoding in ("gzip", "deflate", "br", "gzip, gzip"):
        answer = exchange(port, request("POST", "/search", JSON, f"Content-Encoding: {encoding}", body=bomb))
        assert (status(answer), code(answer)) == (400, "malformed_json")
    answer = exchange(
        port,
        request("POST", "/search", JSON, "Transfer-Encoding: gzip, chunked")
        + b"%x\r\n" % len(bomb)
        + bomb
        + b"\r\n0\r\n\r\n",
    )
    assert 400 <= status(answer) < 500


# --- addresses

SECRETS = [
    "/../settings.py",
    "/js/../../settings.py",
    "/js/..%2f..%2fsettings.py",
    "/js/%2e%2e/%2e%2e/settings.py",
    "/js/..%5c..%5csettings.py",
    "/js//etc/passwd",
    "//etc/passwd",
    "/js/%00",
    "/js/....//....//settings.py",
    "/js/%252e%252e%252fsettings.py",
    "/css/../index.html/../../main.py",
    "/photos/..%2f..%2f..%2fetc%2fpasswd",
    "/photos/%2e%2e%2f%2e%2e%2fetc%2fpasswd/thumbnail",
    "/photos/../../../etc/passwd",
    "/js",
    "/js/",
    "/.env",
    "/js/.",
    "/js/app.js/../../../main.py",
    "/index.html/../main.py",
    "/js/" + "../" * 500 + "etc/passwd",
]


@pytest.mark.parametrize("path", SECRETS)
def test_no_address_leads_out_of_the_page(port, path):
    answer = exchange(port, request("GET", path))
    assert status(answer) in (400, 404, 405, 307), answer[:200]
    assert b"root:" not in answer
    assert b"import " not in answer
    if status(answer) == 307:
        assert b"evil" not in answer


@pytest.mark.parametrize(
    "target", ["http://evil.example/gallery", "//evil.example/gallery", "*", "/gallery#x", "/%67allery"]
)
def test_odd_targets_are_no_way_around_the_host(port, target):
    answer = exchange(port, request("GET", target, host="evil.example"))
    assert status(answer) in (400, 404, 421)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1@evil.example",
        "evil.example#127.0.0.1",
        "127.0.0.1.",
        "[::1]evil",
        "127.0.0.1:80:80",
        "0x7f000001.evil.example",
        " ",
        "localhost\t.evil.example",
    ],
)
def test_odd_hosts_are_refused(port, host):
    assert status(exchange(port, request("GET", "/gallery", host=host))) in (400, 421)


def test_two_hosts_are_not_read_as_the_better_one(port):
    answer = exchange(
        port, lines("GET /gallery HTTP/1.1", "Host: evil.example", "Host: 127.0.0.1", "Connection: close")
    )
    assert status(answer) in (400, 421)


def test_a_page_that_points_its_own_name_here_reads_no_metrics(port):
    assert status(exchange(port, request("GET", "/metrics", host="evil.example"))) == 421
    assert status(exchange(port, request("GET", "/metrics"))) == 200
    for probe in ("/healthz", "/readyz"):
        assert status(exchange(port, request("GET", probe, host="10.0.0.7"))) == 200


# --- keys

KEYS = {
    "twice, the right one last": ["Bearer wrong", f"Bearer {READ_KEY}"],
    "two in one": [f"Bearer wrong, Bearer {READ_KEY}"],
    "with a blank before": [f"Bearer  wrong{READ_KEY}"],
    "with something behind": [f"Bearer {READ_KEY} x"],
    "half": [f"Bearer {READ_KEY[:-1]}"],
    "as basic": [f"Basic {READ_KEY}"],
    "alone": [READ_KEY],
    "empty": ["Bearer"],
    "60 000 letters": ["Bearer " + "x" * 60_000],
    "bytes": ["Bearer \xff\xfe\xfd"],
}


@pytest.mark.parametrize("name", KEYS)
def test_odd_keys_open_nothing(locked, name):
    answer = exchange(locked, request("GET", "/gallery", *(f"Authorization: {value}" for value in KEYS[name])))
    assert status(answer) in (400, 401)


def test_keys_in_the_address_open_nothing(locked):
    for query in (f"?key={READ_KEY}", f"?authorization=Bearer%20{READ_KEY}", f"?access_token={READ_KEY}"):
        assert status(exchange(locked, request("GET", "/gallery" + query))) == 401
    assert status(exchange(locked, request("GET", "/gallery", f"Cookie: Authorization=Bearer {READ_KEY}"))) == 401


def test_addresses_that_are_none_count_as_one(shared_gallery, network, capsys):
    """A proxy on this machine is believed; what it passes on may still be anything."""
    configure_logging()
    settings = settings_for(shared_gallery, rate_limit_per_minute=1, rate_limit_burst=4)
    forwarded = [f"someone-{number}" for number in range(4)] + ["x" * 60_000, "1.2.3.4.5", "::ffff:1.2.3.999"]
    with live(create_app(settings, network), settings) as port:
        answers = [exchange(port, request("GET", "/gallery", f"X-Forwarded-For: {one}")) for one in forwarded]
        assert [status(answer) for answer in answers] == [200] * 4 + [429] * 3
        mapped = ["10.1.1.1", "::ffff:10.1.1.1", "::FFFF:a01:101", "0::ffff:10.1.1.1", "10.1.1.1"]
        answers = [exchange(port, request("GET", "/gallery", f"X-Forwarded-For: {one}")) for one in mapped]
        assert [status(answer) for answer in answers] == [200] * 4 + [429]
        near = [f"2001:db8::{number}%{'z' * number}" for number in range(1, 6)]
        answers = [exchange(port, request("GET", "/gallery", f"X-Forwarded-For: {one}")) for one in near]
        assert [status(answer) for answer in answers] == [200] * 4 + [429]
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {line["client"] for line in logged if "client" in line} == {
        "10.1.1.1",
        *(f"2001:db8::{n}" for n in range(1, 6)),
    }
    assert max(len(line.get("client", "")) for line in logged) < 50


def test_no_line_of_the_log_has_a_key_wherever_it_was_sent(shared_gallery, network, capsys):
    configure_logging("debug")
    settings = settings_for(shared_gallery, read_key=READ_KEY, write_key=WRITE_KEY)
    with live(create_app(settings, network), settings) as port:
        for secret in (READ_KEY, WRITE_KEY):
            exchange(port, request("GET", f"/gallery?key={secret}"))
            exchange(port, request("GET", f"/photos/{secret}", f"Authorization: Bearer {secret}"))
            exchange(port, request("GET", f"/{secret}/{secret}"))
            exchange(port, request("GET", "/gallery", f"X-Request-ID: {secret}!", f"User-Agent: {secret}"))
            exchange(port, lines("GET /gallery HTTP/1.1", "Host: 127.0.0.1", f"Bad : {secret}"))
            exchange(port, request("POST", "/search", f"Content-Type: {secret}", f"Authorization: Bearer {WRITE_KEY}"))
        exposed = exchange(port, request("GET", "/metrics", f"Authorization: Bearer {READ_KEY}")).decode()
    logged = capsys.readouterr().err
    assert "request" in logged
    for secret in (READ_KEY, WRITE_KEY):
        assert secret not in logged
        assert secret not in exposed


# --- browsers


def test_other_sites_are_told_nothing_and_may_ask_for_nothing(port):
    asks = request(
        "OPTIONS",
        "/photos",
        "Origin: https://evil.example",
        "Access-Control-Request-Method: DELETE",
        "Access-Control-Request-Headers: authorization",
    )
    answers = [exchange(port, asks)]
    for path in ("/gallery", "/", "/openapi.json", "/nothing"):
        answers.append(exchange(port, request("GET", path, "Origin: https://evil.example")))
        answers.append(exchange(port, request("GET", path, "Origin: null")))
    assert status(answers[0]) == 405
    for answer in answers:
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert b"access-control-" not in head
        assert b"cross-origin-resource-policy: same-origin" in head


POLYGLOTS = {
    "a GIF that is a page": (
        b"GIF89a/*" + encoded(picture(1), "GIF")[8:] + b"<html><script>alert(1)</script></html>",
        "gif",
    ),
    "a JPEG that is a page": (encoded(picture(2), "JPEG") + b"<script>alert(1)</script>", "jpeg"),
    "a PNG that is an archive": (encoded(picture(3)) + b"PK\x03\x04" + b"\0" * 200, "png"),
}


@pytest.mark.parametrize("name", POLYGLOTS)
def test_pictures_that_are_something_else_as_well_stay_pictures(gallery, photos, network, name):
    data, kind = POLYGLOTS[name]
    (photos / "animals" / f"two.{kind}").write_bytes(data)
    settings = settings_for(gallery, photos=photos, watch=True)
    with open_client(create_app(settings, network)) as client:
        wait_for(lambda: client.get("/gallery").json()["photos"] == 14)
        results = client.post("/search", files={"sketch": sketch()}, data={"tag": "animals", "top_k": "50"}).json()
        (url,) = [one["url"] for one in results["results"] if one["path"].endswith(f"two.{kind}")]
        answer = client.get(url)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"image/{kind}"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"


HOSTILE = {
    "a page": b"<!doctype html><script>alert(1)</script>",
    "a vector drawing with a script": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "a document": b"%PDF-1.7",
    "nothing": b"",
    "secrets": b"root:x:0:0:root:/root:/bin/bash",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_photo_replaced_by_something_else_is_not_served(gallery, photos, network, name):
    with open_client(create_app(settings_for(gallery, photos=photos), network)) as client:
        one = client.post("/search", files={"sketch": sketch()}).json()["results"][0]
        (photos / one["path"]).write_bytes(HOSTILE[name])
        for url in (one["url"], one["thumbnail_url"]):
            answer = client.get(url)
            assert (answer.status_code, answer.json()["code"]) == (404, "photo_gone")
        explained = client.post(
            "/explain", files={"sketch": sketch()}, data={"photo_id": one["photo_id"], "format": "overlay"}
        )
        assert explained.status_code == 404


def test_a_gallery_whose_root_is_a_strangers_choice_shows_pictures_alone(tmp_path, network):
    """A gallery says which folder its photos lie in; one that came from elsewhere may say anything."""
    from index_builder import BuildOptions, build_gallery

    photos = fill(tmp_path / "photos", 1)
    build_gallery(photos, tmp_path / "gallery", network, options=BuildOptions(workers=1))
    secrets = tmp_path / "photos" / "animals"
    for file in secrets.iterdir():
        file.write_bytes(b"a secret that the gallery's author knows the path of")
    with open_client(create_app(settings_for(tmp_path / "gallery"), network)) as client:
        results = client.post("/search", files={"sketch": sketch()}, data={"tag": "animals"}).json()["results"]
        assert results
        for one in results:
            assert client.get(one["url"]).status_code == 404


def test_a_link_that_turns_after_indexing_leads_nowhere(gallery, photos, network, tmp_path):
    outside = tmp_path / "outside.png"
    outside.write_bytes(encoded(picture(5)))
    with open_client(create_app(settings_for(gallery, photos=photos), network)) as client:
        one = client.post("/search", files={"sketch": sketch()}).json()["results"][0]
        inside = photos / one["path"]
        inside.unlink()
        for target in (outside, Path("/proc/self/environ"), Path("/dev/stdin"), inside):
            inside.symlink_to(target)
            assert client.get(one["url"]).status_code == 404
            assert client.get(one["thumbnail_url"]).status_code == 404
            inside.unlink()


def test_the_service_opens_no_connection_of_its_own(port, monkeypatch):
    """Whatever a request names, nothing is fetched."""
    real, made = socket.socket.connect, []

    def counted(self, address):
        made.append(address)
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", counted)
    with socket.create_server(("127.0.0.1", 0)) as bait:
        url = f"http://127.0.0.1:{bait.getsockname()[1]}/x.png"
        for value in (url, f"data:text/html;base64,{url}", "file:///etc/passwd"):
            body = json.dumps({"image": value}).encode()
            assert status(exchange(port, request("POST", "/search", JSON, body=body))) == 422
        assert all(address[1] == port for address in made)


def test_nothing_of_a_client_is_read_twice(port):
    """An answer that came early: what is still coming is no request."""
    with connect(port) as client:
        body = b"x" * 20_000_000
        head = lines("POST /search HTTP/1.1", "Host: 127.0.0.1", JSON, f"Content-Length: {len(body) + len(SMUGGLED)}")
        try:
            client.sendall(head + body + SMUGGLED)
        except ConnectionError:
            return
        client.shutdown(socket.SHUT_WR)
        answer = read_all(client)
    assert answer.count(b"HTTP/1.1 ") <= 1
