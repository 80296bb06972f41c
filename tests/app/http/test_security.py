"""Keys, headers, host names, rates, and what the log keeps to itself."""

import json
from functools import partial

import pytest
from starlette.testclient import TestClient

from app.http.rate_limit import RateLimiter
from app.logs import configure_logging
from app.main import create_admin_app, create_app
from tests.app.conftest import (
    LOCAL,
    READ_KEY,
    WRITE_KEY,
    encoded,
    open_client,
    picture,
    service_in,
    settings_for,
    sketch,
    wait_until,
)

READ_ROUTES = [("GET", "/gallery"), ("POST", "/search"), ("GET", "/photos/x"), ("GET", "/photos/x/thumbnail"),
               ("GET", "/photos/x/similar"), ("GET", "/metrics")]  # fmt: skip
WRITE_ROUTES = [("POST", "/photos"), ("DELETE", "/photos/x"), ("POST", "/gallery/reload"), ("GET", "/jobs/x")]
OPEN_ROUTES = ["/healthz", "/readyz", "/", "/docs", "/openapi.json"]


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def locked(shared_gallery, network):
    settings = settings_for(shared_gallery, read_key=READ_KEY, write_key=WRITE_KEY)
    with open_client(create_app(settings, network)) as client:
        yield client


@pytest.mark.parametrize(("method", "path"), READ_ROUTES + WRITE_ROUTES)
@pytest.mark.parametrize(
    "headers", [{}, bearer("wrong"), bearer(""), bearer(READ_KEY + "x"), {"Authorization": f"Basic {READ_KEY}"},
                bearer("ü".encode())]
)  # fmt: skip
def test_without_the_right_key_nothing_is_answered(locked, method, path, headers):
    answer = locked.request(method, path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "key_required")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), READ_ROUTES)
@pytest.mark.parametrize("key", [READ_KEY, WRITE_KEY])
def test_either_key_reads(locked, method, path, key):
    assert locked.request(method, path, headers=bearer(key)).status_code not in (401, 403)


@pytest.mark.parametrize(("method", "path"), WRITE_ROUTES)
def test_the_read_key_changes_nothing(locked, method, path):
    answer = locked.request(method, path, headers=bearer(READ_KEY))
    assert (answer.status_code, answer.json()["code"]) == (403, "write_key_required")


@pytest.mark.parametrize(("method", "path"), WRITE_ROUTES)
@pytest.mark.parametrize("headers", [{}, bearer("anything"), bearer("")])
def test_without_a_write_key_the_write_routes_are_off(service, method, path, headers):
    answer = service.request(method, path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "writes_disabled")


@pytest.mark.parametrize("path", OPEN_ROUTES)
def test_probes_page_and_documents_need_no_key(locked, path):
    assert locked.get(path).status_code == 200


def test_keys_are_compared_in_constant_time(locked, monkeypatch):
    import hmac

    compared = []
    real = hmac.compare_digest

    def counted(one, other):
        compared.append(1)
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    locked.get("/gallery", headers=bearer(READ_KEY))
    first, compared[:] = len(compared), []
    locked.get("/gallery", headers=bearer("wrong"))
    assert first == len(compared) > 0


@pytest.mark.parametrize("path", ["/", "/docs", "/gallery", "/nothing", "/healthz", "/search"])
def test_every_answer_carries_the_security_headers(service, path):
    headers = service.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert len(headers["x-request-id"]) == 16


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_obey_their_own_policy(service, path):
    text = service.get(path).text
    assert "<script>" not in text
    assert " style=" not in text
    assert "<style" not in text
    assert " onclick" not in text
    assert "//cdn" not in text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "169.254.169.254"])
def test_a_local_service_is_not_reached_by_another_name(service, host):
    answer = service.get("/gallery", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "unknown_host")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]", "[::1]:8000"])
def test_a_local_service_is_reached_by_local_names(service, host):
    assert service.get("/gallery", headers={"Host": host}).status_code == 200


def test_hosts_can_be_listed(shared_gallery, network):
    settings = settings_for(shared_gallery, host="0.0.0.0", allowed_hosts=["photos.example"])  # noqa: S104
    with open_client(create_app(settings, network)) as client:
        assert client.get("/gallery", headers={"Host": "photos.example"}).status_code == 200
        assert client.get("/gallery", headers={"Host": "localhost"}).status_code == 421


def test_a_public_service_without_a_key_warns(shared_gallery, network, capsys):
    configure_logging()
    for host, keys, warned in (("0.0.0.0", {}, True), ("0.0.0.0", {"read_key": "k"}, False), ("127.0.0.1", {}, False)):  # noqa: S104
        with TestClient(create_app(settings_for(shared_gallery, host=host, **keys), network), base_url=LOCAL):
            pass
        assert ("without a key" in capsys.readouterr().err) == warned


def test_more_requests_than_allowed_are_turned_away(shared_gallery, network):
    settings = settings_for(shared_gallery, rate_limit_per_minute=60, rate_limit_burst=5)
    with TestClient(create_app(settings, network), base_url=LOCAL) as client:
        answers = [client.get("/gallery") for _ in range(8)]
        assert [answer.status_code for answer in answers[:5]] == [200] * 5
        last = answers[-1]
        assert (last.status_code, last.json()["code"]) == (429, "rate_limited")
        assert 1 <= int(last.headers["retry-after"]) <= 3
        assert client.get("/healthz").status_code == 200


def test_a_right_key_has_a_rate_of_its_own_and_a_wrong_one_has_not(shared_gallery, network):
    settings = settings_for(shared_gallery, rate_limit_per_minute=1, rate_limit_burst=2, read_key=READ_KEY)
    with TestClient(create_app(settings, network), base_url=LOCAL) as client:
        statuses = [client.get("/gallery", headers=bearer(f"guess-{n}")).status_code for n in range(4)]
        assert statuses == [401, 401, 429, 429]
        assert client.get("/gallery", headers=bearer(READ_KEY)).status_code == 200


def test_keys_are_guessed_no_faster_where_metrics_are(shared_gallery, network):
    settings = settings_for(shared_gallery, rate_limit_per_minute=1, rate_limit_burst=2, read_key=READ_KEY)
    with TestClient(create_app(settings, network), base_url=LOCAL, client=("10.0.0.7", 1)) as client:
        statuses = [client.get("/metrics", headers=bearer(f"guess-{n}")).status_code for n in range(4)]
        assert statuses == [401, 401, 429, 429]
        assert [client.get("/metrics", headers=bearer(READ_KEY)).status_code for _ in range(4)] == [200] * 4
        assert client.get("/readyz").status_code != 429


def test_the_token_bucket():
    now = [0.0]
    limiter = RateLimiter(60, 3, clock=lambda: now[0])
    assert [limiter.wait("a") for _ in range(3)] == [0, 0, 0]
    assert limiter.wait("a") == pytest.approx(1)
    assert limiter.wait("b") == 0
    now[0] = 0.5
    assert limiter.wait("a") == pytest.approx(0.5)
    now[0] = 1.0
    assert limiter.wait("a") == 0
    now[0] = 1000.0
    assert [limiter.wait("a") == 0 for _ in range(4)] == [True, True, True, False]
    for number in range(20_000):
        limiter.wait(f"stranger {number}")
    assert len(limiter._buckets) <= 10_000


def test_the_log_has_no_keys_no_queries_and_no_pictures(gallery, photos, network, capsys):
    configure_logging("debug")
    settings = settings_for(gallery, photos=photos, read_key=READ_KEY, write_key=WRITE_KEY, upload_wait_s=100)
    with open_client(create_app(settings, network)) as client:
        headers = bearer(WRITE_KEY)
        client.post("/search", files={"sketch": sketch()}, headers=headers)
        client.get("/gallery?private=yes", headers={**headers, "X-Request-ID": "follow-me"})
        client.post("/photos", files={"photo": ("secret-name.png", encoded(picture(3)))}, headers=headers)
        client.post("/search", files={"sketch": b"PNG-bytes"}, headers=headers)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    text = json.dumps(lines)
    for secret in (READ_KEY, WRITE_KEY, "private", "PNG-bytes", "secret-name"):
        assert secret not in text
    (followed,) = [line for line in lines if line.get("request_id") == "follow-me"]
    assert followed["event"] == "request"
    assert (followed["method"], followed["route"], followed["status"]) == ("GET", "/gallery", 422)
    assert followed["ms"] > 0
    (refused,) = [line for line in lines if line.get("code") == "unreadable_image"]
    assert refused["status"] == 422


@pytest.mark.parametrize("style", ["json", "console"])
def test_the_trace_of_a_defect_shows_no_values(shared_gallery, network, monkeypatch, capsys, style):
    """Functions on the way hold pictures, queries and keys in their variables."""
    configure_logging("info", style)

    def broken(*_given, **_named):
        raise ZeroDivisionError

    monkeypatch.setattr("app.http.routes.search.parse_options", broken)
    settings = settings_for(shared_gallery, read_key=READ_KEY)
    with open_client(create_app(settings, network), raise_server_exceptions=False) as client:
        body = {"strokes": [[[0, 98_765], [0, 50]]], "tag": ["a-private-word"]}
        assert client.post("/search", json=body, headers=bearer(READ_KEY)).status_code == 500
    logged = capsys.readouterr().err
    assert "ZeroDivisionError" in logged
    for secret in (READ_KEY, "a-private-word", "98765"):
        assert secret not in logged


def test_metrics_count_what_happened(shared_gallery, network):
    with open_client(create_app(settings_for(shared_gallery), network)) as client:
        for _ in range(3):
            client.post("/search", files={"sketch": sketch()})
        client.post("/search", files={"sketch": b""})
        text = client.get("/metrics").text
    assert 'sketchseek_requests_total{method="POST",route="/search",status="200"} 3.0' in text
    assert 'sketchseek_requests_total{method="POST",route="/search",status="422"} 1.0' in text
    assert 'sketchseek_problems_total{code="empty_file"} 1.0' in text
    for stage in ("decode", "encode", "recall", "rerank"):
        assert f'sketchseek_stage_seconds_count{{stage="{stage}"}} 3.0' in text
    assert "sketchseek_batch_size_count 3.0" in text
    assert "sketchseek_queue_depth 0.0" in text
    assert "sketchseek_gallery_photos 13.0" in text
    assert "sketchseek_gallery_generation 1.0" in text
    assert "sketchseek_ready 1.0" in text
    assert "process_resident_memory_bytes" in text


def test_what_alarms_watch_begins_with_nothing(shared_gallery, network):
    """Prometheus' increase() does not see the first event of a series that begins with it."""
    with open_client(create_app(settings_for(shared_gallery), network)) as client:
        text = client.get("/metrics").text
    for code in ("internal_error", "overloaded", "bodies_full", "client_too_slow"):
        assert f'sketchseek_problems_total{{code="{code}"}} 0.0' in text
    for reason in ("queue_full", "deadline", "client_left"):
        assert f'sketchseek_dropped_searches_total{{reason="{reason}"}} 0.0' in text
    for step in ("load", "build", "sync", "add", "remove"):
        assert f'sketchseek_gallery_failures_total{{step="{step}"}} 0.0' in text
    assert "sketchseek_worker_restarts_total 0.0" in text


def answers(client, path):
    return client.get(path).status_code == 200


def test_probes_and_metrics_may_sit_on_a_port_of_their_own(shared_gallery, network):
    main = create_app(settings_for(shared_gallery, admin_port=9999, read_key=READ_KEY), network)
    with TestClient(main, base_url=LOCAL) as client:
        admin = TestClient(create_admin_app(main), base_url=LOCAL)
        for path in ("/healthz", "/readyz", "/metrics"):
            assert client.get(path).status_code == 404
            wait_until(partial(answers, admin, path))
        assert admin.get("/gallery").status_code == 404


def test_the_port_of_the_probes_is_as_careful(shared_gallery, network, monkeypatch):
    main = create_app(settings_for(shared_gallery, admin_port=9999), network)
    with TestClient(main, base_url=LOCAL) as client:
        admin = TestClient(create_admin_app(main), base_url=LOCAL)
        for path in ("/healthz", "/metrics", "/nothing"):
            headers = admin.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert len(headers["x-request-id"]) == 16
        assert admin.get("/healthz", headers={"Host": "evil.example"}).status_code == 200
        refused = admin.get("/metrics", headers={"Host": "evil.example"})
        assert (refused.status_code, refused.json()["code"]) == (421, "unknown_host")
        monkeypatch.setattr(service_in(client), "readiness", lambda: 1 / 0)
        broken = admin.get("/readyz")
        assert (broken.status_code, broken.json()["code"]) == (500, "internal_error")
