"""Changes of the gallery while it is served: reconcile, add, remove. One at a time, on a thread."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from app.logs import get_logger
from app.metrics import Metrics
from app.service.changes.indexed_uploads import adopt_uploads, index_uploads, refuse_pending
from app.service.changes.jobs import Job
from app.service.changes.progress import Standing
from app.service.changes.runner import ChangeRunner, StoppedError
from app.service.files import photo_files as files
from app.service.serving.search_batches import Worker
from app.service.serving.served_gallery import ServedGallery
from app.service.serving.shared_network import SharedNetwork
from app.service_errors import RequestError
from app.settings import Settings, usable_cores
from index_builder import (
    BuildOptions,
    BuildReport,
    Gallery,
    PhotoRecord,
    build_gallery,
    remove_photos,
    sync_gallery,
)
from index_builder.gallery_errors import GalleryError
from index_builder.ingest.partial_update import update_gallery
from index_builder.photo_folders import PhotoFolders
from index_builder.scanning.scope import Scope
from index_builder.store.folder_looks import FolderLooks
from index_builder.store.layout import POINTER
from model.errors import SketchseekError
from model.images.limits import ImageLimits
from model.networks.network import Network

_log = get_logger("app.service.changes.gallery_changes")
_LOCK_POLL_S = 1.0


class GalleryChanges:
    """The only part of the service that changes a gallery or its folder of photos.

    Args:
        settings: where the gallery and the photos are.
        network: encodes photos. Each of its steps runs on `worker`, between searches.
        worker: owns the device.
        served_gallery: refreshed after every change.
        metrics: counts changes.
        photo_limits: what a photo may cost.
    """

    def __init__(
        self,
        settings: Settings,
        network: Network,
        worker: Worker,
        served_gallery: ServedGallery,
        metrics: Metrics,
        *,
        photo_limits: ImageLimits,
    ) -> None:
        self._settings = settings
        self._network = SharedNetwork(network, worker, settings.encode_batch)
        self._served_gallery = served_gallery
        self._metrics = metrics
        self._runner = ChangeRunner(served_gallery, metrics)
        self._options = BuildOptions(
            workers=max(1, usable_cores() // 2),
            limits=photo_limits,
            wait_s=_LOCK_POLL_S,
            most_lost=settings.most_lost,
        )

    @property
    def progress(self) -> Standing | None:
        """Of the current build or sync, or None."""
        return self._runner.progress

    @property
    def problem(self) -> SketchseekError | None:
        """What went wrong and still holds, or None."""
        return self._runner.problem

    def exists(self) -> bool:
        """Whether there is a gallery on disk."""
        return (self._settings.gallery / POINTER).is_file()

    def folders(self) -> PhotoFolders:
        """Where the photos lie, with what the settings say of them; the rest is what the gallery remembers.

        Raises:
            RequestError: `no_photos_folder`.
        """
        if self._settings.photos is not None:
            return self._settings.refined(self._settings.photos)
        if self._served_gallery.current is not None:
            return self._settings.refined(self._served_gallery.current.folders)
        raise RequestError("no_photos_folder", "This service knows no folder of photos; set SKETCHSEEK_PHOTOS.", 409)

    async def reconcile(self, scope: Scope | None = None) -> bool:
        """Bring the gallery in line with the folder of photos; build it if there is none. Whether that succeeded.

        Args:
            scope: where something may have changed; None takes everything.
        """
        try:
            if not await asyncio.to_thread(self.exists):
                await self._runner.run("build", self._sync)
            # While photos are held, each change may end that, which only a look at everything tells.
            elif scope is None or scope.everything or FolderLooks.read(self._settings.gallery).held:
                await self._runner.run("sync", self._sync)
            else:
                await self._runner.run("update", lambda: self._update(scope))
        except SketchseekError:  # logged, counted and remembered
            return False
        return True

    def remembered_folders(self) -> PhotoFolders:
        """Where the photos lie, with what the gallery remembers of them. Reads the gallery.

        Raises:
            RequestError: `no_photos_folder`.
        """
        try:
            opened = Gallery.open(self._settings.gallery)
            remembered = opened.metadata(opened.dataset()).folders
        except GalleryError:
            return self.folders()
        return (self._settings.photo_folders or self._settings.refined(remembered)).over(remembered)

    async def accept_loss(self, job: Job) -> None:
        """Drop all photos whose files are not found now, and record the outcome in `job`."""
        folders, gallery, options = self.folders(), self._settings.gallery, replace(self._options, accept_loss=True)
        try:
            report = await self._runner.run(
                "sync",
                lambda: sync_gallery(
                    gallery, self._network, photos=folders, options=options, progress=self._runner.report
                ),
            )
        except SketchseekError as error:
            job.fail(error.code)
            return
        job.gallery_version, job.status = report.version, "done"
        self._metrics.photos_changed.labels("removed").inc(report.removed)

    async def add(self, job: Job) -> None:
        """Add stored uploads to the gallery and record the outcome in `job`. On failure their files are deleted."""
        folders, gallery = self.folders(), self._settings.gallery
        try:
            report = await self._runner.run(
                "add", lambda: index_uploads(job.uploads, gallery, folders, self._network, self._options)
            )
        except StoppedError as error:  # the next start takes them
            job.fail(error.code)
            return
        except SketchseekError as error:
            job.fail(error.code)
            await asyncio.to_thread(refuse_pending, job.uploads, error.code)
            return
        job.end(report.version)
        self._metrics.photos_changed.labels("added").inc(report.added + report.changed)

    async def adopt_uploads(self) -> None:
        """Add uploads that were stored but not indexed when the service was ended."""
        settings = self._settings
        with contextlib.suppress(SketchseekError):  # logged, counted and remembered
            await self._runner.run(
                "add",
                lambda: adopt_uploads(
                    settings.gallery, settings.photos, settings.upload_folder, self._network, self._options
                ),
            )

    async def remove(self, job: Job, photo: PhotoRecord) -> None:
        """Delete a photo and record the outcome in `job`: its file first, so that no sync brings it back, then its row.

        Raises:
            RequestError: `photos_read_only`: nothing was changed.
        """
        await asyncio.to_thread(files.remove, self.folders(), photo)
        try:
            report = await self._runner.run("remove", lambda: remove_photos(self._settings.gallery, [photo.photo_id]))
        except SketchseekError as error:  # the next sync removes the row
            job.fail(error.code)
            return
        job.gallery_version = report.version
        job.status = "done"
        self._metrics.photos_changed.labels("removed").inc(report.removed)

    def stop(self) -> None:
        """Make the current change stop at its next batch."""
        self._runner.stop()

    def close(self) -> None:
        """Wait for the thread to end."""
        self._runner.close()

    def _update(self, scope: Scope) -> BuildReport:
        report = update_gallery(
            self._settings.gallery,
            self._network,
            scope,
            photos=self.folders(),
            options=self._options,
            progress=self._runner.report,
        )
        return self._sync() if report is None else report

    def _sync(self) -> BuildReport:
        folders, gallery, report = self.folders(), self._settings.gallery, self._runner.report
        self._runner.progress = Standing("scanning", 0, None)
        if self.exists():
            return sync_gallery(gallery, self._network, photos=folders, options=self._options, progress=report)
        _log.info("there is no gallery yet: building it", gallery=str(gallery), photos=str(folders))
        return build_gallery(folders, gallery, self._network, options=self._options, progress=report)
