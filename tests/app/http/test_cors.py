"""Pages of other sites read answers, errors included, only where the settings name their origin."""

import pytest
from starlette.testclient import TestClient

from app.http.routes.photos import VERSION_HEADER
from app.logs import configure_logging
from app.main import create_app
from app.settings import load_settings
from model.errors import ConfigurationError
from tests.app.conftest import LOCAL, READ_KEY, WRITE_KEY, open_client, settings_for, sketch

SHOP, OTHER = "https://shop.example", "https://other.example"
KEY = {"Authorization": f"Bearer {READ_KEY}"}


@pytest.fixture(scope="module")
def shared(shared_gallery, network):
    settings = settings_for(shared_gallery, read_key=READ_KEY, write_key=WRITE_KEY, cors_origins=[SHOP])
    with open_client(create_app(settings, network)) as client:
        yield client


def test_a_named_page_reads_an_answer_and_its_request_id(shared):
    answer = shared.post("/search", files={"sketch": sketch()}, headers={**KEY, "Origin": SHOP})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    shown = answer.headers["access-control-expose-headers"].split(", ")
    assert {"X-Request-ID", VERSION_HEADER} <= set(shown)
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/gallery", {}, 401),
        ("GET", "/gallery?unknown=1", KEY, 422),
        ("POST", "/gallery/reload", KEY, 403),
        ("GET", "/nothing", KEY, 404),
        ("PUT", "/gallery", KEY, 405),
        ("GET", "/gallery", {"Host": "evil.example"}, 421),
    ],
)
def test_a_named_page_reads_why_it_was_refused(shared, method, path, headers, status):
    answer = shared.request(method, path, headers={**headers, "Origin": SHOP})
    assert answer.status_code == status
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["access-control-allow-origin"] == SHOP


def test_a_named_page_reads_of_defects_and_limits(shared_gallery, network, monkeypatch):
    settings = settings_for(shared_gallery, cors_origins=[SHOP], rate_limit_per_minute=1, rate_limit_burst=4)
    app = create_app(settings, network)
    with TestClient(app, base_url=LOCAL, raise_server_exceptions=False, headers={"Origin": SHOP}) as client:
        answers = [client.get("/nothing") for _ in range(5)]
        monkeypatch.setattr("app.http.routes.health.service_of", lambda _: 1 / 0)
        answers.append(client.get("/readyz"))
    assert [answer.status_code for answer in answers[-2:]] == [429, 500]
    assert {answer.headers["access-control-allow-origin"] for answer in answers} == {SHOP}


@pytest.mark.parametrize("origin", [OTHER, "null", f"{SHOP}.evil.example", "http://shop.example", f"{SHOP}:8443"])
def test_any_other_page_reads_nothing(shared, origin):
    answer = shared.get("/gallery", headers={**KEY, "Origin": origin})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Origin"
    asked = preflight(shared, origin)
    assert asked.status_code == 400
    assert "access-control-allow-origin" not in asked.headers


def preflight(client, origin, method="POST", headers="authorization, content-type"):
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return client.options("/search", headers=asked)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_a_browser_may_ask_before_it_sends_a_key(shared, method):
    answer = preflight(shared, SHOP, method)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    assert len(answer.headers["x-request-id"]) == 16
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_without_the_setting_no_page_may_ask(service):
    answer = service.get("/gallery", headers={"Origin": SHOP})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert preflight(service, SHOP).status_code == 405


def test_every_page_may_ask_where_nobody_needs_a_key_and_the_log_says_so(shared_gallery, network, capsys):
    configure_logging()
    with open_client(create_app(settings_for(shared_gallery, cors_origins=["*"]), network)) as client:
        assert client.get("/gallery", headers={"Origin": OTHER}).headers["access-control-allow-origin"] == "*"
    assert "any web page" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["read_key", "write_key"])
def test_with_a_key_the_pages_are_named(key):
    with pytest.raises(ConfigurationError, match=r"^SKETCHSEEK_CORS_ORIGINS cannot be used: a service with a key"):
        load_settings(cors_origins="https://a.example, *", **{key: "k"})


@pytest.mark.parametrize(
    "text",
    [
        *("shop.example", "null", "ftp://a", "https://a/b", "https://u@a", "https://a:x", "https://"),
        *("https://*.shop.example", "https://shop.example:", "https://shop.example:0", "https://shop.example//"),
        *("https://fa\u00df.example", "https://a..b", "https://[::g]", "https://" + "a" * 70 + "\u00fc"),
    ],
)
def test_what_is_no_origin_is_refused(text):
    with pytest.raises(ConfigurationError, match="an origin is a scheme and a host"):
        load_settings(cors_origins=text)


def test_origins_are_taken_as_people_write_them(monkeypatch):
    monkeypatch.setenv("SKETCHSEEK_CORS_ORIGINS", "https://Shop.example/, http://localhost:5173,https://a.example:443")
    assert load_settings().cors_origins == (SHOP, "http://localhost:5173", "https://a.example")


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("https://b\u00fccher.example", "https://xn--bcher-kva.example"),
        ("https://shop.example:0443", "https://shop.example"),
        ("http://localhost:05173", "http://localhost:5173"),
        ("http://[0:0::1]:5173", "http://[::1]:5173"),
        ("HTTPS://Shop_1.example:8443/", "https://shop_1.example:8443"),
    ],
)
def test_an_origin_is_what_browsers_send(text, sent):
    assert load_settings(cors_origins=text).cors_origins == (sent,)
