"""The version of the gallery being served, and the switch to a newer one while requests continue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import torch

from app.logs import get_logger
from app.metrics import Metrics
from app.search.remembered_encodings import RememberedEncodings
from app.service.serving.newer_versions import NewerVersions, Number, number_of
from app.service.serving.search_batches import Worker
from app.service.serving.served_version import ServedVersion, load_version, warm_up
from app.service.serving.unjoined_threads import on_unjoined_thread
from app.service_errors import BusyError
from app.settings import Settings
from index_builder import latest_version
from index_builder.gallery_errors import (
    GalleryAwayError,
    GalleryNotFoundError,
    GalleryVersionGoneError,
    RecallServerError,
    UnknownPhotoError,
)
from model.errors import DeviceError, SketchseekError
from model.networks.network import Network

T = TypeVar("T")
_PASSING = (DeviceError, BusyError, RecallServerError, GalleryAwayError)
_log = get_logger("app.service.serving.served_gallery")


class ServedGallery:
    """Looks for new versions, loads each beside the one being served, warms it, and swaps.

    Args:
        settings: where the gallery is and how often to look.
        network: encodes the sketches.
        worker: owns the device.
        metrics: shows swaps and sizes.
    """

    def __init__(self, settings: Settings, network: Network, worker: Worker, metrics: Metrics) -> None:
        self._settings = settings
        self._network = network
        self._worker = worker
        self._metrics = metrics
        self._remembered = RememberedEncodings(settings.query_cache_bytes)
        self._current: ServedVersion | None = None
        self._lock = asyncio.Lock()
        self._newer = NewerVersions(self._latest, self._take_latest, settings.request_timeout_s / 2)
        self._load_s = 0.0
        self._again_at = 0.0  # of `time.monotonic`; later than now after a load that failed
        self._lost: ServedVersion | None = None  # by the server that finds its candidates
        self._refused: str | None = None
        self.problem: SketchseekError | None = None

    @property
    def current(self) -> ServedVersion | None:
        """The version being served; None until the first one is warm."""
        return self._current

    def serve(self) -> ServedVersion:
        """The version being served, for one request to keep.

        Raises:
            BusyError: `not_ready`.
        """
        if self._current is None:
            raise BusyError("not_ready", "There is no gallery to search yet.", self._settings.retry_after_s)
        return self._current

    async def reach(self, version: str | None) -> None:
        """Look for a version, "GENERATION.COMMIT", or a later one, if the one being served is older.

        Raises:
            BusyError: `not_ready`; `version_not_there_yet`, with 409.
        """
        await self.look_for(version)
        self.check(version)

    async def look_for(self, version: str | None) -> None:
        """As `reach`, without a word if it is not there.

        Raises:
            BusyError: `not_ready`.
        """
        if version is not None and number_of(self.serve().snapshot.version) < number_of(version):
            await self._newer.wait_for(number_of(version))

    def check(self, version: str | None) -> None:
        """Check that a version is served, or a later one. Raises as `reach`."""
        if version is not None and number_of(self.serve().snapshot.version) < number_of(version):
            raise BusyError(
                "version_not_there_yet",
                f"Version {version} of the gallery is not served here yet.",
                self._settings.retry_after_s,
                409,
            )

    async def with_photos(self, *photo_ids: str) -> ServedVersion:
        """The version being served. If it lacks a photo, which another service may have found, a newer one if there is.

        Raises:
            BusyError: `not_ready`.
        """
        served = self.serve()
        return served if all(map(served.has, photo_ids)) else await self._newer_than(served)

    async def answer(self, attempt: Callable[[ServedVersion], Awaitable[T]]) -> T:
        """The result of `attempt` on the version being served, or on the next one if that may have what it lacks.

        Raises:
            BusyError: nothing can be served yet.
            GalleryVersionGoneError: the files are gone, and there is no other version or its files are gone as well.
            SketchseekError: whatever `attempt` raises.
        """
        served = self.serve()
        try:
            return await attempt(served)
        except (GalleryVersionGoneError, UnknownPhotoError):
            # It was cleaned up on disk during the request, or another service has found a photo in a newer one.
            if await self._newer_than(served) is served:
                raise
        return await attempt(self.serve())

    async def _newer_than(self, served: ServedVersion) -> ServedVersion:
        """A newer version if there is one that can be served soon; else the same."""
        if self.serve() is served:
            generation, commit = number_of(served.snapshot.version)
            await self._newer.wait_for((generation, commit + 1))
        return self.serve()

    async def _latest(self) -> Number:
        """The latest version of the gallery; () if it cannot be known."""
        try:
            return number_of(await on_unjoined_thread(self._find_latest, "latest_version"))
        except SketchseekError:
            return ()
        except Exception as error:
            _log.error("looking for the latest version failed", exc_info=error)
            return ()

    async def _take_latest(self) -> Number:
        """Serve the latest version, unless one could not be loaded a moment ago: asking does not shorten that pause.

        Returns what is served then.
        """
        if time.monotonic() >= self._again_at:
            try:
                await self.refresh()
            except SketchseekError as error:
                _log.info("cannot serve a version that was asked for", code=error.code)
            except Exception as error:
                _log.error("loading a version that was asked for failed", exc_info=error)
        return () if self._current is None else number_of(self._current.snapshot.version)

    async def refresh(self, *, retry: bool = False) -> bool:
        """Load the latest version unless it is already served; True if it was swapped in.

        Args:
            retry: also try again a version that could not be loaded before.

        Raises:
            SketchseekError: it cannot be served; the old one stays.
        """
        async with self._lock:
            version = None
            try:
                version = await on_unjoined_thread(self._find_latest, "latest_version")
                if retry:
                    await self._look_at_recall()
                if self._serves(version):
                    self.problem = None
                    return False
                if version == self._refused and not retry:
                    return False
                served = await self._loaded()
            except SketchseekError as error:
                if not self._is_being_built(error):
                    if self.problem is None or self.problem.code != error.code:
                        self._metrics.gallery_failures.labels("load").inc()
                    # Memory or a server may be there the next time; what is damaged or lost stays so.
                    passes = isinstance(error, _PASSING) and not self._worker.device_lost
                    self._refused, self.problem = None if passes else version, error
                raise
            self._swap(served)
            return True

    async def follow(self) -> None:
        """Refresh for ever. The pause is at least three times as long as loading took, even if it failed."""
        said: str | None = None
        while True:
            try:
                await self.refresh()
                said = None
            except SketchseekError as error:
                if str(error) != said and not self._is_being_built(error):  # once, not at every attempt
                    level = _log.info if isinstance(error, GalleryNotFoundError) else _log.error
                    level("cannot serve the gallery's latest version", code=error.code, reason=str(error))
                said = str(error)
            except Exception as error:
                self._metrics.gallery_failures.labels("load").inc()
                _log.error("following the gallery failed", exc_info=error)
            await asyncio.sleep(self._pause_s)

    @property
    def _pause_s(self) -> float:
        return max(self._settings.follow_interval_s, 3 * self._load_s)

    async def watch_recall(self) -> None:
        """Find out for ever whether candidates are found. Loads, and the pauses after them, do not hold that up."""
        while True:
            await asyncio.sleep(self._settings.follow_interval_s)
            try:
                await self._look_at_recall()
            except Exception as error:
                _log.error("looking at recall failed", exc_info=error)

    async def _look_at_recall(self) -> None:
        if (served := self._current) is not None:
            found = await on_unjoined_thread(served.snapshot.look_at_recall, "look_at_recall")
            self._lost = None if found else served

    def _serves(self, version: str) -> bool:
        """Whether a version is served, and no server has lost it: then it has to get it again."""
        served = self._current
        return served is not None and served.snapshot.version == version and self._lost is not served

    def _find_latest(self) -> str:
        return latest_version(self._settings.gallery)

    def _is_being_built(self, error: SketchseekError) -> bool:
        """Whether `error` only means that the first build is not done: no gallery yet, but photos to build it from."""
        builds = self._settings.photos is not None and self._settings.may_change
        return isinstance(error, GalleryNotFoundError) and self._current is None and builds

    async def _loaded(self) -> ServedVersion:
        """The latest version, warm.

        Raises:
            SketchseekError: it cannot be served.
        """
        started = time.monotonic()
        try:
            # It only reads, or fills a server, which a kill may cut off: nothing that the end must wait for.
            served = await on_unjoined_thread(self._load, "load_version")
            await asyncio.wrap_future(self._worker.call(lambda: warm_up(served.searcher)))
        except (torch.AcceleratorError, torch.OutOfMemoryError) as error:  # while it was loaded, beside the worker
            raise self._worker.errors.told(error) from error
        finally:
            self._load_s = time.monotonic() - started
            self._again_at = time.monotonic() + self._pause_s
        self._again_at = 0.0
        return served

    def _load(self) -> ServedVersion:
        return load_version(self._settings, self._network, self._remembered)

    def _swap(self, served: ServedVersion) -> None:
        self._current, self.problem, self._refused, self._lost = served, None, None, None
        generation, commit = served.snapshot.version.split(".")
        self._metrics.gallery_photos.set(len(served.snapshot))
        self._metrics.gallery_generation.set(int(generation))
        self._metrics.gallery_commit.set(int(commit))
        self._metrics.gallery_swaps.inc()
        # A first build begins with a version without photos, which is not worth a line.
        log = _log.info if len(served.snapshot) else _log.debug
        log(
            "serving gallery",
            version=served.snapshot.version,
            photos=len(served.snapshot),
            loaded_in_ms=round(self._load_s * 1000),
        )
