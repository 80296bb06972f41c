"""Changes of the gallery while it is served: reconcile, watch, add, remove. One at a time, on a thread."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import watchfiles

from app.logs import get_logger
from app.metrics import Metrics
from app.service import photo_files as files
from app.service.change_jobs import Job
from app.service.search_batches import Worker
from app.service.served_gallery import ServedGallery
from app.service.shared_network import SharedNetwork
from app.service_errors import RequestError
from app.settings import Settings, usable_cores
from index_builder import (
    BuildOptions,
    BuildProgress,
    BuildReport,
    PhotoRecord,
    add_photos,
    build_gallery,
    remove_photos,
    sync_gallery,
)
from index_builder.gallery_errors import GalleryBusyError, GalleryError
from index_builder.photo_folders import PhotoFolders
from index_builder.store.layout import POINTER
from model.errors import SketchseekError
from model.networks.network import Network

T = TypeVar("T")
_log = get_logger("app.service.gallery_changes")
_LOCK_POLL_S = 1.0
_DEBOUNCE_MS = 800
_REPORT_EVERY_S = 5.0
_REPEAT_AFTER_FAILURE_S = 30.0


@dataclass(frozen=True)
class Standing:
    """Progress of a change: the step, files done, and files in total (None while unknown)."""

    step: str
    done: int
    total: int | None

    def __str__(self) -> str:
        return f"{self.step} {self.done} of {self.total}" if self.total is not None else self.step


class StoppedError(Exception):
    """The service is stopping. What was committed stays; the rest continues at the next start."""


class GalleryChanges:
    """The only part of the service that changes a gallery or its folder of photos.

    Args:
        settings: where the gallery and the photos are.
        network: encodes photos. Each of its steps runs on `worker`, between searches.
        worker: owns the device.
        served_gallery: refreshed after every change.
        metrics: counts changes.

    Attributes:
        progress: of the current build or sync, or None.
        problem: what went wrong in the last change, or None.
    """

    def __init__(
        self, settings: Settings, network: Network, worker: Worker, served_gallery: ServedGallery, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._network = SharedNetwork(network, worker, settings.encode_batch)
        self._served_gallery = served_gallery
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gallery-changes")
        self._stopped = threading.Event()
        self._options = BuildOptions(workers=max(1, usable_cores() // 2), wait_s=_LOCK_POLL_S)
        self._reported_at = 0.0
        self.progress: Standing | None = None
        self.problem: SketchseekError | None = None

    def exists(self) -> bool:
        """Whether there is a gallery on disk."""
        return (self._settings.gallery / POINTER).is_file()

    def folders(self) -> PhotoFolders:
        """Where the photos lie.

        Raises:
            RequestError: `no_photos_folder`.
        """
        if self._settings.photos is not None:
            return self._settings.photos
        if self._served_gallery.current is not None:
            return self._served_gallery.current.folders
        raise RequestError("no_photos_folder", "This service knows no folder of photos; set SKETCHSEEK_PHOTOS.", 409)

    async def reconcile(self) -> None:
        """Bring the gallery in line with the folder of photos; build it if there is none."""
        await self._change("sync" if await asyncio.to_thread(self.exists) else "build", self._sync)

    async def watch(self) -> None:
        """Reconcile whenever the folder changes, for ever."""
        places = [folder.path for folder in self.folders().folders]
        gallery = os.path.realpath(self._settings.gallery)
        while True:
            try:
                async for changes in watchfiles.awatch(
                    *places, watch_filter=_Photos(gallery), debounce=_DEBOUNCE_MS, step=100, rust_timeout=1000
                ):
                    _log.info("the folder of photos changed", paths=len(changes))
                    await self._change("sync", self._sync)
            except (OSError, RuntimeError) as error:
                _log.error("watching the folder of photos failed and is restarted", reason=str(error))
            await asyncio.sleep(_REPEAT_AFTER_FAILURE_S)
            await self._change("sync", self._sync)  # for changes that were missed meanwhile

    async def add(self, job: Job, stored: Sequence[Path]) -> None:
        """Add stored uploads to the gallery and record the outcome in `job`. On failure their files are deleted."""
        folders = self.folders()
        report = await self._change(
            "add", lambda: add_photos(self._settings.gallery, folders, stored, self._network, options=self._options)
        )
        if report is None:
            job.status, job.code = "failed", self.problem.code if self.problem else "internal_error"
            for path in stored:
                await asyncio.to_thread(path.unlink, missing_ok=True)
            return
        served = self._served_gallery.current
        for upload in job.uploads:
            # The id follows from path and content, so it was known before. Whether the photo can be found shows now.
            if upload.photo_id is not None and served is not None and not served.has(upload.photo_id):
                upload.photo_id = None
                upload.code, upload.detail = "unreadable_image", "The photo could not be added to the gallery."
        job.gallery_version = report.version
        job.status = "done"
        self._metrics.photos_changed.labels("added").inc(report.added + report.changed)

    async def remove(self, job: Job, photo: PhotoRecord) -> None:
        """Delete a photo and record the outcome in `job`: its file first, so that no sync brings it back, then its row.

        Raises:
            RequestError: `photos_read_only`: nothing was changed.
        """
        await asyncio.to_thread(files.remove, self.folders(), photo)
        report = await self._change("remove", lambda: remove_photos(self._settings.gallery, [photo.photo_id]))
        if report is None:  # the next sync removes the row
            job.status, job.code = "failed", self.problem.code if self.problem else "internal_error"
            return
        job.gallery_version = report.version
        job.status = "done"
        self._metrics.photos_changed.labels("removed").inc(report.removed)

    def stop(self) -> None:
        """Make the current change stop at its next batch."""
        self._stopped.set()

    def close(self) -> None:
        """Wait for the thread to end."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _change(self, kind: str, change: Callable[[], BuildReport]) -> BuildReport | None:
        """Run one change, then serve its result. None if it failed; `problem` then says why."""
        try:
            report = await asyncio.get_running_loop().run_in_executor(self._thread, self._patiently, change)
            self.problem = None
            _say(kind, report)
            await self._serve()
        except (StoppedError, CancelledError):
            return None
        except SketchseekError as error:
            self.problem = error
            self._metrics.gallery_failures.labels(kind).inc()
            _log.error("changing the gallery failed", change=kind, code=error.code, reason=str(error))
            return None
        finally:
            self.progress = None  # only once the result is served, or a first build would seem ready without photos
        return report

    async def _serve(self) -> None:
        try:
            await self._served_gallery.refresh()
        except SketchseekError as error:
            _log.error("the changed gallery cannot be served", code=error.code, reason=str(error))

    def _patiently(self, change: Callable[[], T]) -> T:
        """Run `change` once no other process writes to the gallery."""
        while True:
            if self._stopped.is_set():
                raise StoppedError
            try:
                return change()
            except GalleryBusyError:
                self.progress = Standing("waiting for another command that writes to the gallery", 0, None)

    def _sync(self) -> BuildReport:
        folders = self.folders()
        self.progress = Standing("scanning", 0, None)
        for folder in folders.folders:
            if not folder.path.is_dir():
                raise GalleryError(f"the folder of photos {folder.path} does not exist; mount or create it")
        if self.exists():
            return sync_gallery(
                self._settings.gallery, self._network, photos=folders, options=self._options, progress=self._report
            )
        _log.info("there is no gallery yet: building it", gallery=str(self._settings.gallery), photos=str(folders))
        return build_gallery(
            folders, self._settings.gallery, self._network, options=self._options, progress=self._report
        )

    def _report(self, progress: BuildProgress) -> None:
        if self._stopped.is_set():
            raise StoppedError
        self.progress = Standing("encoding", progress.done, progress.total)
        now = time.monotonic()
        if progress.done < progress.total and now < self._reported_at + _REPORT_EVERY_S:
            return
        self._reported_at = now
        _log.info(
            "encoding photos",
            done=progress.done,
            total=progress.total,
            photos_per_s=round(progress.rate, 1),
            seconds_left=None if progress.seconds_left is None else round(progress.seconds_left),
        )


def _say(kind: str, report: BuildReport) -> None:
    changes = report.added + report.changed + report.moved + report.removed
    event = "changed the gallery" if changes else "the gallery is up to date"
    _log.info(
        "built the gallery" if kind == "build" else event,
        change=kind,
        added=report.added,
        changed=report.changed,
        moved=report.moved,
        removed=report.removed,
        skipped=len(report.skipped),
        photos=report.photos,
        version=report.version,
        seconds=round(report.seconds, 2),
    )


class _Photos:
    """Which changes matter: all but those of hidden files, such as half-written uploads, and of the gallery itself."""

    def __init__(self, gallery: str) -> None:
        self._gallery = gallery

    def __call__(self, _change: watchfiles.Change, path: str) -> bool:
        inside = path == self._gallery or path.startswith(self._gallery + os.sep)
        return not inside and not os.path.basename(path).startswith(".")  # noqa: PTH119 - called for every event
