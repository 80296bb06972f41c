"""The version of the gallery being served, and the switch to a newer one while requests continue."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from app.logs import get_logger
from app.metrics import Metrics
from app.search.query_and_answer import Query
from app.search.query_parts import QueryParts
from app.search.searcher import TwoStageSearcher
from app.service.serving.search_batches import Worker
from app.service_errors import BusyError
from app.settings import Settings
from index_builder import GallerySnapshot, PhotoRecord, latest_version
from index_builder.gallery_errors import (
    GalleryAwayError,
    GalleryNotFoundError,
    GalleryVersionGoneError,
    RecallServerError,
    UnknownPhotoError,
)
from index_builder.photo_folders import PhotoFolders
from model.errors import DeviceError, SketchseekError
from model.networks.network import Network

T = TypeVar("T")
_PASSING = (DeviceError, BusyError, RecallServerError, GalleryAwayError)
_log = get_logger("app.service.serving.served_gallery")


@dataclass(frozen=True)
class ServedVersion:
    """One version of the gallery, loaded and warm.

    Attributes:
        searcher: over its snapshot.
    """

    searcher: TwoStageSearcher

    @property
    def folders(self) -> PhotoFolders:
        """Where its photos lie."""
        return self.snapshot.folders

    @property
    def snapshot(self) -> GallerySnapshot:
        """The version's photos."""
        return self.searcher.snapshot

    def photo(self, photo_id: str) -> PhotoRecord:
        """The record of a photo.

        Raises:
            UnknownPhotoError: this version has no photo of that id.
        """
        return self.snapshot.photo(self.snapshot.row_of(photo_id))

    def has(self, photo_id: str) -> bool:
        """Whether this version has a photo of that id."""
        try:
            self.snapshot.row_of(photo_id)
        except UnknownPhotoError:
            return False
        return True


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
        self._current: ServedVersion | None = None
        self._lock = asyncio.Lock()
        self._load_s = 0.0
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
        if version is None or _number(self.serve().snapshot.version) >= _number(version):
            return
        with contextlib.suppress(SketchseekError):  # the version that is served goes on
            await self.refresh()
        if _number(self.serve().snapshot.version) < _number(version):
            raise BusyError(
                "version_not_there_yet",
                f"Version {version} of the gallery is not served here yet.",
                self._settings.retry_after_s,
                409,
            )

    async def answer(self, attempt: Callable[[ServedVersion], Awaitable[T]]) -> T:
        """The result of `attempt` on the version being served, or on the next one if its files are gone by then.

        Raises:
            BusyError: nothing can be served yet.
            GalleryVersionGoneError: the files are gone, and there is no other version or its files are gone as well.
            SketchseekError: another version exists but cannot be served; also whatever `attempt` raises.
        """
        served = self.serve()
        try:
            return await attempt(served)
        except GalleryVersionGoneError:
            # The version was cleaned up on disk during the request. A newer one can answer.
            if self.serve() is served:
                await self.refresh()
            if self.serve() is served:
                raise
        return await attempt(self.serve())

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
                version = await asyncio.to_thread(latest_version, self._settings.gallery)
                if await asyncio.to_thread(self._still_serves, version):
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
            await asyncio.sleep(max(self._settings.follow_interval_s, 3 * self._load_s))

    def _still_serves(self, version: str) -> bool:
        """Whether a version is served, and candidates are found in it. A server that lost it has to get it again."""
        served = self._current
        return served is not None and served.snapshot.version == version and served.snapshot.look_at_recall()

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
            served = await asyncio.to_thread(self._load)
            await asyncio.wrap_future(self._worker.call(lambda: _warm_up(served.searcher)))
        except (torch.AcceleratorError, torch.OutOfMemoryError) as error:  # while it was loaded, beside the worker
            raise self._worker.errors.told(error) from error
        finally:
            self._load_s = time.monotonic() - started
        return served

    def _load(self) -> ServedVersion:
        network = self._network
        snapshot = GallerySnapshot.load(
            self._settings.gallery,
            network.identity,
            photos=self._settings.photo_folders,
            recall=self._settings.recall_settings,
            hash_projection=network.hash_projection,
            device=network.device,
            dtype=network.dtype,
            cache_bytes=self._settings.token_cache_bytes,
            preload=True,
        )
        pairs = self._settings.pairs_together(on_gpu=network.device.type == "cuda")
        return ServedVersion(TwoStageSearcher(network, snapshot, pairs))

    def _swap(self, served: ServedVersion) -> None:
        self._current, self.problem, self._refused = served, None, None
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


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _warm_up(searcher: TwoStageSearcher) -> None:
    """One whole search, so that the first client does not pay for one-time work; on the device's own thread."""
    searcher.network.warm_up()
    size = searcher.network.preprocess.image_size
    next(searcher.search_many([QueryParts(torch.zeros(3, size, size))], [Query()]))
    searcher.snapshot.facets()  # makes the arrays that filters look at
