"""OpenTelemetry traces: a span for each request and for each stage of a search, where the environment asks for them.

Attributes name routes, stages and codes. What a client sent, paths of photos and texts of errors are in none.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from app.logs import get_logger

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_log = get_logger("app.tracing")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_SERVICE = "sketchseek"
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})  # any other is a client's own word


class Traces:
    """Where spans go.

    Args:
        provider: exports what ends.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(_SERVICE)

    @contextlib.contextmanager
    def request(self, method: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """The span of a request, which belongs to the trace that its headers name.

        Args:
            method: of HTTP.
            headers: of the request; `traceparent` is read.
        """
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        known = method if method in _METHODS else "_OTHER"
        with self._tracer.start_as_current_span(
            known,
            context=TraceContextTextMapPropagator().extract(headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": known},
            record_exception=False,  # its text may repeat what was sent
            set_status_on_exception=False,
        ) as span:
            yield span

    def stages(self, laps: Mapping[str, tuple[float, float]]) -> None:
        """A span for each stage that has ended, below the request's.

        Args:
            laps: name of the stage -> when it began and ended, in seconds of `time.perf_counter`.
        """
        offset = time.time() - time.perf_counter()
        for name, (began, ended) in laps.items():
            span = self._tracer.start_span(name, start_time=round((began + offset) * 1e9))
            span.end(round((ended + offset) * 1e9))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def finish(span: Span, method: str, route: str, status: int, code: str | None) -> None:
    """Write into a request's span what became of it.

    Args:
        span: of the request.
        method: of HTTP.
        route: the pattern of its address, such as /photos/{photo_id}.
        status: of the answer; 0 if there was none.
        code: of the problem, if it was one.
    """
    from opentelemetry.trace import StatusCode

    if method in _METHODS:
        span.update_name(f"{method} {route}")
    span.set_attribute("http.route", route)
    if status:
        span.set_attribute("http.response.status_code", status)
    if code is not None:
        span.set_attribute("error.type", code)
    if status >= 500 or not status:
        span.set_status(StatusCode.ERROR)


def traces_of_environment() -> Traces | None:
    """Traces to the collector that OpenTelemetry's own variables name; None if they name none, or turn it off."""
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if disabled or exporter == "none" or not any(os.environ.get(name) for name in _ENDPOINTS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _log.warning("the environment asks for traces, but the extra is missing: pip install 'sketchseek[otel]'")
        return None
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):  # nobody named it
        resource = Resource.create({SERVICE_NAME: _SERVICE})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)
