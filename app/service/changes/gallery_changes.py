"""Changes of the gallery: reconcile, add, remove. One at a time, on a thread."""

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
from app.service.changes.served import Served
from app.service.files import photo_files as files
from app.service_errors import RequestError
from app.settings import Settings
from index_builder import (
    BuildOptions,
    BuildReport,
    Gallery,
    PhotoRecord,
    build_gallery,
    latest_version,
    remove_photos,
    sync_gallery,
)
from index_builder.gallery_errors import GalleryAwayError, GalleryError, GalleryNotFoundError
from index_builder.ingest.partial_update import update_gallery
from index_builder.photo_folders import PhotoFolders
from index_builder.scanning.scope import Scope
from index_builder.store.folder_looks import FolderLooks
from index_builder.store.opening_writer import has_pointer
from model.errors import SketchseekError
from model.networks.network import Network

_log = get_logger("app.service.changes.gallery_changes")
_LOCK_POLL_S = 1.0


class GalleryChanges:
    """The only part of a service, or of a writer without one, that changes a gallery or its folder of photos.

    Args:
        settings: where the gallery and the photos are.
        network: encodes photos.
        served_gallery: refreshed after every change.
        metrics: counts changes.
        options: how to build. Another writer is waited for, whatever they say.
    """

    def __init__(
        self, settings: Settings, network: Network, served_gallery: Served, metrics: Metrics, options: BuildOptions
    ) -> None:
        self._settings = settings
        self._network = network
        self._served_gallery = served_gallery
        self._metrics = metrics
        self._runner = ChangeRunner(served_gallery, metrics)
        self._existed = False
        self._remembered: tuple[str, PhotoFolders] | None = None  # the folders of a version
        self._options = replace(options, wait_s=_LOCK_POLL_S)

    @property
    def progress(self) -> Standing | None:
        """Of the current build or sync, or None."""
        return self._runner.progress

    @property
    def problem(self) -> SketchseekError | None:
        """What went wrong and still holds, or None."""
        return self._runner.problem

    def exists(self) -> bool:
        """Whether there is a gallery. Raises GalleryAwayError where the object storage does not answer."""
        exists = has_pointer(self._settings.gallery)
        self._existed = self._existed or exists
        return exists

    def folders(self) -> PhotoFolders:
        """Where the photos lie: what the settings say, and for the rest what the gallery remembers.

        Raises:
            RequestError: `no_photos_folder`.
            GalleryAwayError: the object storage does not answer. Then this also waits for a network.
        """
        if self._served_gallery.current is not None:
            return self._served_gallery.current.folders
        said = self._settings.photo_folders
        try:
            version = latest_version(self._settings.gallery)  # cheap, which opening the gallery is not
            if self._remembered is None or self._remembered[0] != version:
                self._remembered = version, Gallery.folders_of(self._settings.gallery, said)
            return self._remembered[1]
        except GalleryAwayError:
            raise
        except GalleryError:
            if said.folders:
                return said.over(None)
        raise RequestError("no_photos_folder", "This service knows no folder of photos; set SKETCHSEEK_PHOTOS.", 409)

    async def reconcile(self, scope: Scope | None = None) -> bool:
        """Bring the gallery in line with the folder of photos; build it if there is none. Whether that succeeded.

        Args:
            scope: where something may have changed; None takes everything.
        """
        try:
            if await asyncio.to_thread(self._is_to_be_built):
                await self._runner.run("build", self._sync)
            # While photos are held, each change may end that, which only a look at everything tells.
            elif scope is None or scope.everything or (await self._looks()).held:
                await self._runner.run("sync", self._sync)
            else:
                await self._runner.run("update", lambda: self._update(scope))
        except SketchseekError:  # logged, counted and remembered
            return False
        return True

    async def accept_loss(self, job: Job) -> None:
        """Believe the losses that are held now, and no more, and record the outcome in `job`."""
        said, gallery = self._settings.photo_folders, self._settings.gallery
        # Before the change waits for its turn: what is held by then, nobody was shown.
        options = replace(self._options, accept_loss=(await self._looks()).held)
        try:
            report = await self._runner.run(
                "sync",
                lambda: sync_gallery(
                    gallery,
                    self._network,
                    photos=said,
                    options=options,
                    progress=self._runner.report,
                ),
            )
        except SketchseekError as error:
            job.fail(error.code)
            return
        job.gallery_version, job.status = report.version, "done"
        self._metrics.photos_changed.labels("removed").inc(report.removed)

    async def add(self, job: Job) -> None:
        """Add stored uploads to the gallery and record the outcome in `job`. On failure their files are deleted."""
        try:
            report = await self._runner.run("add", lambda: self._add(job))
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
        gallery, said = self._settings.gallery, self._settings.photo_folders
        with contextlib.suppress(SketchseekError):  # logged, counted and remembered
            await self._runner.run("add", lambda: adopt_uploads(gallery, said, self._network, self._options))

    async def remove(self, job: Job, photo: PhotoRecord) -> None:
        """Delete a photo and record the outcome in `job`: its file first, so that no sync brings it back, then its row.

        Raises:
            RequestError: `photos_read_only`: nothing was changed.
        """
        await asyncio.to_thread(lambda: files.remove(self.folders(), photo))
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

    async def _looks(self) -> FolderLooks:
        return await asyncio.to_thread(FolderLooks.read, self._settings.gallery)

    def _is_lost(self) -> bool:
        """Whether there was a gallery and is none any more: its disk is away, and a new one must not take its place."""
        return (self._existed or self._served_gallery.current is not None) and not self.exists()

    def _is_to_be_built(self) -> bool:
        return not self.exists() and not self._is_lost()

    def _check_not_lost(self) -> None:
        if self._is_lost():
            raise GalleryNotFoundError(
                f"the gallery {self._settings.gallery} was there and is gone; mount its disk, or end the service, "
                "which builds a new gallery at its next start"
            )

    def _add(self, job: Job) -> BuildReport:
        self._check_not_lost()
        settings = self._settings
        return index_uploads(job.uploads, settings.gallery, settings.photo_folders, self._network, self._options)

    def _update(self, scope: Scope) -> BuildReport:
        self._check_not_lost()
        report = update_gallery(
            self._settings.gallery,
            self._network,
            scope,
            photos=self._settings.photo_folders,
            options=self._options,
            progress=self._runner.report,
        )
        return self._sync() if report is None else report

    def _sync(self) -> BuildReport:
        self._check_not_lost()
        said, gallery, report = self._settings.photo_folders, self._settings.gallery, self._runner.report
        self._runner.progress = Standing("scanning", 0, None)
        if self.exists():
            return sync_gallery(gallery, self._network, photos=said, options=self._options, progress=report)
        _log.info("there is no gallery yet: building it", gallery=str(gallery), photos=str(said))
        return build_gallery(said, gallery, self._network, options=self._options, progress=report)
