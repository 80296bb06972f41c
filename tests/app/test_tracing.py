"""Traces: a span for each request and each stage, which say nothing of what was sent."""

import json
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.main import create_app
from app.tracing import Traces, traces_of_environment
from tests.app.conftest import open_client, settings_for, sketch

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def spans(shared_gallery, network, monkeypatch):
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), trace.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("app.main.traces_of_environment", lambda: Traces(provider))
    with open_client(create_app(settings_for(shared_gallery), network)) as client:
        yield client, exporter


def test_a_search_is_a_span_with_one_for_each_stage(spans):
    client, exporter = spans
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    answer = client.post(
        "/search", files={"sketch": sketch()}, data={"explain": "true", "tag": "things"}, headers=headers
    )
    assert answer.status_code == 200
    *stages, request = exporter.get_finished_spans()
    assert [one.name for one in stages] == ["decode", "encode", "recall", "rerank", "explain"]
    assert request.name == "POST /search"
    assert dict(request.attributes) == {
        "http.request.method": "POST",
        "http.route": "/search",
        "http.response.status_code": 200,
    }
    assert {format(one.context.trace_id, "032x") for one in (*stages, request)} == {TRACE}
    assert {one.parent.span_id for one in stages} == {request.context.span_id}
    times = [time for one in stages for time in (one.start_time, one.end_time)]
    assert times == sorted(times)
    slack = 5_000_000  # the two clocks that the times come from
    assert request.start_time - slack <= times[0] <= times[-1] <= request.end_time + slack
    told = answer.json()["timings_ms"]
    for one in stages:
        assert (one.end_time - one.start_time) / 1e6 == pytest.approx(told[one.name], abs=0.02)


def test_spans_say_nothing_of_what_was_sent(spans, monkeypatch):
    client, exporter = spans
    assert client.get("/gallery/facets", params={"tag": "secret"}).status_code == 422
    assert client.get("/photos/secret/thumbnail").status_code == 404
    assert client.get("/secret").status_code == 404
    assert client.request("SECRET", "/gallery").status_code == 405
    quiet = SimpleNamespace(**dict.fromkeys(("debug", "info", "error"), lambda *_, **__: None))
    monkeypatch.setattr("app.http.middleware._log", quiet)  # writing a traceback with all values takes seconds
    monkeypatch.setattr("app.http.routes.gallery.service_of", lambda _: 1 / len("") if "secret" else None)
    assert client.get("/gallery").status_code == 500
    assert client.get("/healthz").status_code == 200
    own = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "tracestate": "shop=secret", "baggage": "word=secret"}
    assert client.get("/photos/none/thumbnail", headers=own).status_code == 404
    *ended, joined = exporter.get_finished_spans()
    assert (format(joined.context.trace_id, "032x"), joined.context.trace_state) == (TRACE, {})
    assert [(one.name, one.attributes["error.type"]) for one in ended] == [
        ("GET /gallery/facets", "unknown_tag"),
        ("GET /photos/{photo_id}/thumbnail", "unknown_photo"),
        ("GET other", "not_found"),
        ("_OTHER", "method_not_allowed"),
        ("GET /gallery", "internal_error"),
    ]
    assert [one.status.is_ok for one in ended] == [True] * 4 + [False]
    said = json.dumps([one.to_json() for one in (*ended, joined)]).lower()
    assert "secret" not in said
    assert "division" not in said


def test_they_are_off_unless_the_environment_asks(monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER"):
        monkeypatch.delenv(name, raising=False)
    assert traces_of_environment() is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    for name, value in (("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")):
        with monkeypatch.context() as off:
            off.setenv(name, value)
            assert traces_of_environment() is None


def test_without_the_extra_it_says_so(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with capture_logs() as lines:
        assert traces_of_environment() is None
    assert "sketchseek[otel]" in lines[0]["event"]


@pytest.mark.parametrize(
    ("variable", "asked", "warned"),
    [
        ("OTEL_TRACES_EXPORTER", "console", True),
        ("OTEL_TRACES_EXPORTER", "otlp", False),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", True),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", True),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf", False),
        ("OTEL_PROPAGATORS", "b3, tracecontext", True),
        ("OTEL_PROPAGATORS", "tracecontext, baggage", False),
    ],
)
def test_it_says_what_it_does_not_do(variable, asked, warned, monkeypatch):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(variable, asked)
    with capture_logs() as lines:
        traces = traces_of_environment()
    assert traces is not None
    traces.close()
    assert [line["variable"] for line in lines] == [variable] * warned


def test_a_collector_that_does_not_answer_hardly_delays_the_end(monkeypatch):
    monkeypatch.setattr("app.tracing._END_S", 0.1)
    answered = threading.Event()
    provider: Any = SimpleNamespace(get_tracer=lambda _: None, shutdown=lambda: answered.wait(5))
    traces = Traces(provider)
    began = time.monotonic()
    traces.close()
    assert time.monotonic() - began < 2
    answered.set()
