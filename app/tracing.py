"""OpenTelemetry traces: a span for each request and for each stage of a search, where the environment asks for them.

Attributes name routes, stages and codes. What a client sent, paths of photos and texts of errors are in none.
"""

from __future__ import annotations

import contextlib
import os
import threading
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
_END_S = 2.0  # a collector that cannot be reached delays the end by no more
_DONE = {  # what of OpenTelemetry's choices this service does; lists are of names between commas
    "OTEL_TRACES_EXPORTER": frozenset({"otlp"}),
    "OTEL_EXPORTER_OTLP_PROTOCOL": frozenset({"http/protobuf"}),
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": frozenset({"http/protobuf"}),
    "OTEL_PROPAGATORS": frozenset({"tracecontext", "baggage"}),  # the default; baggage is in no span
}
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
            headers: of the request; `traceparent` is read. `tracestate` is not: a client may write anything in it.
        """
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = {"traceparent": headers.get("traceparent", "")}
        known = method if method in _METHODS else "_OTHER"
        with self._tracer.start_as_current_span(
            known,
            context=TraceContextTextMapPropagator().extract(parent),
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
        """Send what is left, for two seconds at most."""
        sending = threading.Thread(target=self._provider.shutdown, name="last-traces", daemon=True)
        sending.start()
        sending.join(_END_S)


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
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    off = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() == "none"
    if disabled or off or not any(os.environ.get(name) for name in _ENDPOINTS):
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
    _warn_of_what_is_not_done()
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # `close` does, and waits less
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)


def _warn_of_what_is_not_done() -> None:
    for variable, done in _DONE.items():
        asked = {name.strip() for name in os.environ.get(variable, "").split(",")} - {""}
        if asked - done:
            text = (
                "this variable of OpenTelemetry asks for what this service does not do; it does as if it were not set"
            )
            _log.warning(text, variable=variable, known=",".join(sorted(done)))
