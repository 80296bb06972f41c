"""The service as one object: its parts, its start and end, and whether it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, TypeVar

import torch

from app.logs import get_logger
from app.metrics import Metrics
from app.search.query_and_answer import Answer
from app.search.text_encoder import TextEncoder
from app.service.background import Background
from app.service.changes.gallery_changes import GalleryChanges
from app.service.changes.held_photos import HeldPhotos
from app.service.changes.jobs import Jobs
from app.service.files.renditions import Renditions
from app.service.first_changes import FOLLOWS, begin_changes
from app.service.following.folder_follower import FolderFollower
from app.service.news import Listeners, news_of
from app.service.readiness import Readiness, readiness_of
from app.service.serving.deadline import Deadline
from app.service.serving.decoding import Decoding
from app.service.serving.search_batches import SearchItem, Worker, run_searches
from app.service.serving.served_gallery import ServedGallery
from app.service.serving.shared_network import SharedNetwork
from app.service_errors import BusyError
from app.settings import Settings, usable_cores
from app.tracing import Traces
from index_builder import BuildOptions
from index_builder.gallery_errors import GalleryNotFoundError
from model.errors import DecodingTimeoutError
from model.networks.network import Network

T = TypeVar("T")
_log = get_logger("app.service.service")
_MOST_CALLS_WAITING = 16  # so that calls never crowd out searches
_LOOK_EVERY_S = 0.1
_STUCK_S = 120.0  # if a batch takes longer, the device hangs

Following = Literal["starting", "events", "rescans", "down"]


class Service:
    """Everything behind the routes.

    Args:
        settings: of this service.
        network: encodes the gallery and the sketches.
        metrics: counts everything.
        traces: where spans of searches go, if anywhere.

    Attributes:
        gallery: the version being served.
        changes: changes the gallery.
        texts: encodes words that search.
        held: photos that stay although their files were not found.
        listeners: who is told how the gallery stands.
        worker: owns the device.
        decoding: decodes what searches send.
        background: what runs beside the requests.
        photo_limits: what a photo may cost, indexed, uploaded or shown.
        sketch_limits: what a sketch may cost.
        searches_together: most searches that are done in one batch.
    """

    def __init__(self, settings: Settings, network: Network, metrics: Metrics, traces: Traces | None = None) -> None:
        self.settings = settings
        self.network = network
        self.metrics, self.traces = metrics, traces
        self.photo_limits = settings.photo_limits()
        self.sketch_limits = settings.sketch_limits()
        on_gpu = network.device.type == "cuda"
        self.searches_together = settings.searches_together(on_gpu=on_gpu)
        self.worker: Worker = Worker(
            partial(run_searches, metrics=metrics),
            queue_limit=settings.queue_limit,
            batch_limit=self.searches_together,
            retry_after_s=settings.retry_after_s,
            metrics=metrics,
        )
        self.gallery = ServedGallery(settings, network, self.worker, metrics)
        encoder = SharedNetwork(network, self.worker, settings.encode_batch)
        options = BuildOptions(
            workers=max(1, usable_cores() // 2), limits=self.photo_limits, most_lost=settings.most_lost
        )
        self.changes = GalleryChanges(settings, encoder, self.gallery, metrics, options)
        self.texts = TextEncoder(network)
        self.held = HeldPhotos(settings.gallery)
        self._follower = FolderFollower(settings, self.changes)
        self.thumbnails = Renditions(
            settings.thumbnail_size, settings.thumbnail_cache_bytes, self.photo_limits, metrics.thumbnail_bytes
        )
        self.screens = Renditions(
            settings.screen_size, settings.screen_cache_bytes, self.photo_limits, metrics.screen_bytes
        )
        self.jobs = Jobs()
        processes = settings.processes_that_decode(on_gpu=on_gpu)
        self.decoding = Decoding(processes, settings, network.preprocess, self.sketch_limits)
        threads = {"sketch": max(settings.decode_threads, processes)}
        self._sketch_threads, self._photo_threads, self._file_threads = (
            ThreadPoolExecutor(threads.get(name, settings.decode_threads), thread_name_prefix=name)
            for name in ("sketch", "photo", "file")
        )
        self.background = Background(metrics)
        self._draining = False
        self._calls_waiting = 0
        now = partial(news_of, self.gallery, self.changes)
        self.listeners = Listeners(now, lambda: self._draining, settings.most_listeners, settings.retry_after_s)
        metrics.watch_value(metrics.ready, lambda: float(self.readiness().status == "ready"))
        metrics.watch_value(metrics.held_photos, lambda: float(self.held.photos))
        metrics.watch_value(metrics.device_memory, self._device_memory)

    async def start(self) -> None:
        """Start. The gallery is loaded, built or reconciled while the probes already answer."""
        torch.set_num_threads(self.settings.threads)
        self.worker.start()
        if not self.settings.is_local and self.settings.read_key is None:
            _log.warning(
                "listening to the network without a key: anyone who reaches this port can search and see the photos"
            )
        self.background.keep(self.gallery.follow, "follow_gallery")
        self.background.keep(self.gallery.watch_recall, "watch_recall")
        self.background.spawn(asyncio.to_thread(self.decoding.start), "start_decoding")
        self.background.spawn(self._say_when_ready(), "say_when_ready")
        if self.settings.may_change:
            begin = begin_changes(self.settings, self.changes, self._follower, self.background)
            self.background.spawn(begin, "begin_changes")

    async def stop(self) -> None:
        """End. Work that waits for the device is finished; everything else is dropped."""
        self.drain()
        self.changes.stop()
        await self.background.stop()
        await asyncio.to_thread(self.worker.stop, self.settings.shutdown_timeout_s)
        await asyncio.to_thread(self.changes.close)
        await asyncio.to_thread(self.decoding.close)
        for threads in (self._sketch_threads, self._photo_threads, self._file_threads):
            threads.shutdown(wait=False, cancel_futures=True)
        _log.info("stopped")

    def drain(self) -> None:
        """Announce that this process ends soon: /readyz turns 503, while requests are still answered."""
        if not self._draining:
            self._draining = True
            _log.info("draining")

    def readiness(self) -> Readiness:
        """Whether a search would be answered, and if not, why."""
        if self._draining:
            return Readiness("draining", reason="The service is shutting down.")
        if self.worker.device_lost:
            return Readiness("failed", reason="The GPU failed; the service has to be restarted.")
        if not self.worker.alive:
            return Readiness("failed", reason="The device's worker does not run.")
        if self.worker.busy_s > _STUCK_S:
            return Readiness(
                "failed", reason=f"The device has been busy with one batch for {self.worker.busy_s:.0f} s."
            )
        if not self.decoding.warm:
            return Readiness("starting", reason="The processes that decode sketches are being started.")
        served, building = self.gallery.current, self.changes.progress is not None
        if served is not None and (len(served.snapshot) or not building):
            return readiness_of(served, self._but())
        problem = self.changes.problem or self.gallery.problem
        if building:
            return Readiness("starting", reason=f"The gallery is being built: {self.changes.progress}.")
        if isinstance(problem, GalleryNotFoundError):
            what = "build one, or set SKETCHSEEK_PHOTOS" if self.settings.may_change else "another process builds it"
            return Readiness("starting", reason=f"There is no gallery yet; {what}.")
        if problem is not None:
            return Readiness("failed", reason=f"The gallery cannot be served ({problem.code}); the log says why.")
        return Readiness("starting", reason="The gallery is being loaded.")

    @property
    def following(self) -> Following | None:
        """How the gallery follows its folder of photos; None if it should not."""
        if not self.settings.watch or not self.settings.may_change:
            return None
        return "down" if FOLLOWS in self.background.down else self._follower.by or "starting"

    def _but(self) -> str | None:
        """What is wrong although searches are answered."""
        if self.following == "down":
            return "The gallery no longer follows its folder of photos; the log says why."
        if held := self.held.now:
            photos, folders = sum(one.photos for one in held), len(held)
            return f"{photos} photos are held, because {folders} of their folders cannot be believed; see GET /gallery."
        if (problem := self.changes.problem or self.gallery.problem) is not None:
            return f"The gallery may not be up to date ({problem.code}); the log says why."
        return None

    def deadline(self, seconds: float | None = None) -> Deadline:
        """When a request that arrives now must have its answer; None takes the time of a search."""
        return Deadline(
            self.settings.request_timeout_s if seconds is None else seconds,
            self.settings.retry_after_s,
            self.metrics.dropped.labels("deadline").inc,
        )

    async def decode(self, function: Callable[[], T], deadline: Deadline) -> T:
        """Run `function` on a thread for sketches, of which each process that decodes has one. None waits for photos.

        Raises:
            BusyError: `deadline_exceeded`.
        """
        return await self._run(self._sketch_threads, function, deadline)

    async def prepare(self, function: Callable[[], T], deadline: Deadline) -> T:
        """`decode` for a search, which a batch of others may wait for."""
        with self.worker.expecting():
            return await self.decode(function, deadline)

    async def decode_photo(self, function: Callable[[], T], deadline: Deadline | None = None) -> T:
        """Run `function` on a thread for photos; at most `decode_threads` run at a time.

        A photo may wait for others, which are indexed at the same time.

        Raises:
            BusyError: `deadline_exceeded`.
        """
        return await self._run(self._photo_threads, function, deadline)

    async def open_file(self, function: Callable[[], T], deadline: Deadline) -> T:
        """Run `function`, which opens a file, on a thread of its own kind: a network's folder may not answer.

        Raises:
            BusyError: `deadline_exceeded`.
        """
        return await self._run(self._file_threads, function, deadline)

    async def _run(self, threads: ThreadPoolExecutor, function: Callable[[], T], deadline: Deadline | None) -> T:
        run = asyncio.get_running_loop().run_in_executor
        if deadline is None:
            return await run(threads, function)
        async with deadline.limit():
            try:
                return await run(threads, function)
            except DecodingTimeoutError:
                raise deadline.exceeded() from None

    async def search(self, item: SearchItem, deadline: Deadline) -> Answer:
        """Search on the device's thread, together with what else waits; cancelling this drops the search.

        Raises:
            BusyError: `queue_full`, `deadline_exceeded`, and what the worker says when it or the device is lost.
        """
        ticket = self.worker.submit(item, deadline)
        async with deadline.limit():
            return await asyncio.wrap_future(ticket.future)

    async def on_device(self, work: Callable[[], T], deadline: Deadline) -> T:
        """Run `work` on the device's thread, between the searches.

        Raises:
            BusyError: `queue_full`: too much waits already; `deadline_exceeded`.
        """
        # Calls that come together, as from a batch, must not turn each other away.
        if self._calls_waiting >= max(_MOST_CALLS_WAITING, 2 * self.searches_together):
            self.metrics.dropped.labels("queue_full").inc()
            raise BusyError(
                "queue_full",
                "Too many requests are waiting for the device; try again later.",
                self.settings.retry_after_s,
            )
        self._calls_waiting += 1
        try:
            async with deadline.limit():
                return await asyncio.wrap_future(self.worker.call(work))
        finally:
            self._calls_waiting -= 1

    async def _say_when_ready(self) -> None:
        """Log one line once searches are answered, which is what people wait for after a start."""
        began = time.monotonic()
        while self.readiness().status != "ready":
            await asyncio.sleep(_LOOK_EVERY_S)
        facts: dict[str, Any] = {"photos": len(self.gallery.serve().snapshot)}
        if (building := self.changes.progress) is not None:
            facts["still"] = str(building)
        _log.info("ready to search", **facts, seconds=round(time.monotonic() - began, 1))

    def _device_memory(self) -> float:
        if self.network.device.type != "cuda":
            return 0.0
        with contextlib.suppress(RuntimeError):
            return float(torch.cuda.memory_allocated(self.network.device))
        return 0.0
