"""HEAD answers what GET would, without the body; the live tests see it on the wire."""

import re

import pytest
from starlette.testclient import TestClient

from app.main import create_admin_app, create_app
from app.service.files import photo_files
from tests.app.conftest import LOCAL, READ_KEY, open_client, settings_for, sketch
from tests.app.live import exchange, live, request

PATHS = [
    "/healthz", "/readyz", "/metrics", "/gallery", "/docs", "/docs/style.css", "/openapi.json", "/", "/index.html",
    "/icon.svg", "/favicon.ico", "/robots.txt", "/css/base.css", "/js/main.js", "/photos/ID", "/photos/ID/thumbnail",
    "/photos/ID/similar", "/photos/unknown", "/nothing", "/gallery?unknown=1", "/docs/",
]  # fmt: skip
VARYING = {"x-request-id", "date"}


@pytest.fixture(scope="module")
def photo_id(service):
    return service.post("/search", files={"sketch": sketch()}).json()["results"][0]["photo_id"]


def headers_of(answer):
    return {name: value for name, value in answer.headers.items() if name not in VARYING}


@pytest.mark.parametrize("path", PATHS)
def test_the_headers_are_those_of_get(service, photo_id, path):
    address = path.replace("ID", photo_id)
    got = service.get(address, follow_redirects=False)
    asked = service.head(address, follow_redirects=False)
    assert asked.status_code == got.status_code
    assert asked.content == b""
    expected, found = headers_of(got), headers_of(asked)
    if path == "/metrics":  # grows by the request that is counted
        assert int(found.pop("content-length")) > 1000
        del expected["content-length"]
    assert found == expected
    assert path == "/docs/" or got.content == b"" or int(got.headers["content-length"]) == len(got.content)


def test_on_the_wire_nothing_follows_the_headers(shared_gallery, network, photo_id):
    settings = settings_for(shared_gallery)
    with live(create_app(settings, network), settings) as port:
        for path in PATHS:
            address = path.replace("ID", photo_id)
            got = exchange(port, request("GET", address))
            asked = exchange(port, request("HEAD", address))
            assert asked.endswith(b"\r\n\r\n"), path
            assert asked.count(b"\r\n\r\n") == 1, path
            assert length_of(asked) == length_of(got) or path == "/metrics", path
        # The connection stays in step: the second answer is the second request's.
        two = request("HEAD", f"/photos/{photo_id}").replace(b"Connection: close\r\n", b"") + request("GET", "/healthz")
        assert exchange(port, two).endswith(b'{"status":"alive"}')


def length_of(answer):
    found = re.search(rb"content-length: (\d+)", answer.lower())
    return found and int(found[1])


def test_a_file_is_not_read_for_its_headers(service, photo_id, monkeypatch):
    read = []
    real = photo_files.chunks_of

    def counted(file):
        for chunk in real(file):
            read.append(file)
            yield chunk

    monkeypatch.setattr(photo_files, "_CHUNK", 1)
    monkeypatch.setattr(photo_files, "chunks_of", counted)
    assert int(service.head(f"/photos/{photo_id}").headers["content-length"]) > 50
    assert len(read) < 5
    assert read[0].closed


def test_addresses_that_only_take_other_methods_say_so(service):
    refused = service.head("/search")
    assert (refused.status_code, refused.headers["allow"], refused.content) == (405, "POST", b"")


@pytest.mark.parametrize(
    ("path", "allowed"), [("/", "GET, HEAD"), ("/gallery", "GET, HEAD"), ("/icon.svg", "GET, HEAD")]
)
def test_the_allowed_methods_name_head(service, path, allowed):
    assert service.put(path).headers["allow"] == allowed


def test_keys_and_host_names_are_checked_as_for_get(shared_gallery, network):
    with open_client(create_app(settings_for(shared_gallery, read_key=READ_KEY), network)) as client:
        assert client.head("/gallery").status_code == 401
        assert client.head("/gallery", headers={"Host": "evil.example"}).status_code == 421
        assert client.head("/gallery", headers={"Authorization": f"Bearer {READ_KEY}"}).status_code == 200
        metrics = client.get("/metrics", headers={"Authorization": f"Bearer {READ_KEY}"}).text
    assert 'sketchseek_requests_total{method="HEAD",route="/gallery",status="200"} 1.0' in metrics


def test_the_port_of_the_probes_answers_it(shared_gallery, network):
    main = create_app(settings_for(shared_gallery, admin_port=9999), network)
    with TestClient(main, base_url=LOCAL):
        admin = TestClient(create_admin_app(main), base_url=LOCAL)
        assert admin.head("/healthz").status_code == admin.head("/metrics").status_code == 200
        assert admin.put("/healthz").headers["allow"] == "GET, HEAD"
