"""Prometheus metrics of one application. Each has its own registry, so that several can live in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from index_builder.index.gpu_resources import GPUS

_STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 32)
# Prometheus sees no increase in a series that begins with 1. Series that alarms watch therefore begin with 0.
_PROBLEMS = ("internal_error", "overloaded", "bodies_full", "client_too_slow")
_DROPS = ("queue_full", "deadline", "client_left")
_STEPS = ("load", "build", "sync", "update", "add", "remove")


class _RecallFallbacks(Collector):
    """Counted where FAISS is, for the whole process, since the GPUs are the process's."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Called at every scrape."""
        family = CounterMetricFamily(
            "sketchseek_recall_fallbacks",
            "Loads and searches of the recall stage that went to the CPU because the GPU could not.",
            labels=["reason"],
        )
        for reason, count in GPUS.fallbacks.items():
            family.add_metric([reason], count)
        yield family


class Metrics:
    """Everything that is measured; docs/operations.md explains each name."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a time stamp beside each series, which no scraper needs
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter(
            "sketchseek_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self.problems = Counter(
            "sketchseek_problems", "Answers that were an error, by code.", ["code"], registry=registry
        )
        self.request_seconds = Histogram(
            "sketchseek_request_seconds",
            "Seconds from the first byte of a request to the last of its answer.",
            ["route"],
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "sketchseek_stage_seconds",
            "Seconds of one stage of a search.",
            ["stage"],
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        self.batch_size = Histogram(
            "sketchseek_batch_size", "Searches done together.", buckets=_BATCH_BUCKETS, registry=registry
        )
        self.dropped = Counter(
            "sketchseek_dropped_searches", "Requests that got no answer, by why.", ["reason"], registry=registry
        )
        self.in_flight = Gauge("sketchseek_requests_in_flight", "Requests being served.", registry=registry)
        self.queue_depth = Gauge("sketchseek_queue_depth", "Searches waiting for the device.", registry=registry)
        self.worker_restarts = Counter(
            "sketchseek_worker_restarts", "Times the device's worker died and was started again.", registry=registry
        )
        self.task_restarts = Counter(
            "sketchseek_task_restarts",
            "Times work in the background ended unexpectedly and was started again.",
            ["task"],
            registry=registry,
        )
        self.tasks_down = Gauge(
            "sketchseek_tasks_down", "Tasks in the background that ended and do not run again yet.", registry=registry
        )
        self.gallery_photos = Gauge("sketchseek_gallery_photos", "Photos in the gallery served.", registry=registry)
        self.held_photos = Gauge(
            "sketchseek_held_photos",
            "Photos that stay although their files were not found, because a folder is not believed.",
            registry=registry,
        )
        self.gallery_generation = Gauge(
            "sketchseek_gallery_generation", "Version of the gallery served, first part.", registry=registry
        )
        self.gallery_commit = Gauge(
            "sketchseek_gallery_commit", "Version of the gallery served, second part.", registry=registry
        )
        self.gallery_swaps = Counter(
            "sketchseek_gallery_swaps", "Times a new version was swapped in.", registry=registry
        )
        self.gallery_failures = Counter(
            "sketchseek_gallery_failures",
            "Times a version or a change of the gallery failed.",
            ["step"],
            registry=registry,
        )
        self.photos_changed = Counter(
            "sketchseek_photos_changed", "Photos added or removed by this service.", ["change"], registry=registry
        )
        self.thumbnail_bytes = Gauge(
            "sketchseek_thumbnail_cache_bytes", "Memory held by thumbnails.", registry=registry
        )
        self.screen_bytes = Gauge(
            "sketchseek_screen_cache_bytes", "Memory held by photos in the size of a screen.", registry=registry
        )
        self.ready = Gauge("sketchseek_ready", "1 while the service is ready.", registry=registry)
        self.device_memory = Gauge(
            "sketchseek_device_memory_bytes", "Memory of the GPU held by tensors; 0 on a CPU.", registry=registry
        )

        registry.register(_RecallFallbacks())
        for counter, values in ((self.problems, _PROBLEMS), (self.dropped, _DROPS), (self.gallery_failures, _STEPS)):
            for value in values:
                counter.labels(value)

    def observe_stage(self, stage: str, seconds: float) -> None:
        """One stage of a search took so long."""
        self.stage_seconds.labels(stage).observe(seconds)

    def watch_value(self, gauge: Gauge, read: Callable[[], float]) -> None:
        """Make `gauge` call `read` for its value whenever it is scraped."""
        gauge.set_function(read)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
