"""Changes of the gallery in progress, for clients that do not wait for them."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

from app.logs import get_logger
from app.service.changes.upload_notes import forget, leave_for_the_next_start
from app.service.files.photo_files import StoredFile
from app.service_errors import BusyError, RequestError
from index_builder.photo_record import PhotoRecord, shown_path
from index_builder.store.places import GalleryPlace
from model.errors import SketchseekError

_log = get_logger("app.service.changes.jobs")
_MOST_REMEMBERED = 1000
_MOST_RUNNING = 32


@dataclass
class Upload:
    """The outcome of one uploaded file.

    Attributes:
        file: its name, sanitised.
        path: relative to the root, once stored.
        photo_id: once it is in the gallery; before, the one that it will most likely have.
        code, detail: why it was refused, or None.
        known: the gallery had this content already, so the file was not kept.
        content_hash: SHA-256 of the file.
        stored: where the file lies as long as it is not in the gallery.
        note: file of the note that it is on its way, see `upload_notes`.
        first: another file of the same content that came with this one; both become one photo.
    """

    file: str
    path: str | None = None
    photo_id: str | None = None
    code: str | None = None
    detail: str | None = None
    known: bool = False
    content_hash: bytes = b""
    stored: StoredFile | None = None
    note: GalleryPlace | None = None
    first: Upload | None = None

    def is_there(self, photo: PhotoRecord) -> None:
        """The gallery has this content as another photo, or as one that came with the same upload."""
        self.path, self.photo_id, self.known = photo.path, photo.photo_id, True

    def refuse(self, code: str, detail: str) -> None:
        """It does not become a photo; where it was stored, its file goes away again."""
        self.code, self.detail, self.photo_id = code, detail, None
        self.discard()

    def discard(self) -> None:
        """Delete the file where it was stored, if it was. One that cannot be deleted is left to the next start."""
        stored, self.stored = self.stored, None
        if stored is not None:
            try:
                stored.remove()
            except SketchseekError as error:
                _log.warning("a refused upload could not be removed", path=shown_path(stored.raw_path), code=error.code)
                if self.note is not None:
                    leave_for_the_next_start(self.note, stored.raw_path)
                self.note = None
        self.settle()

    def settle(self) -> None:
        """It is known what became of the file: it is a photo now, or goes away."""
        note, self.note, self.stored = self.note, None, None
        if note is not None:
            forget(note)


@dataclass
class Job:
    """One change.

    Attributes:
        job_id: opaque.
        uploads: the files it concerns.
        status: its progress.
        gallery_version: the version that has the change.
        code: why it failed, or None.
        is_fault: it failed as a whole, for no reason that lies in a file.
    """

    uploads: list[Upload]
    job_id: str = field(default_factory=lambda: secrets.token_hex(16))
    status: Literal["running", "done", "failed"] = "running"
    gallery_version: str | None = None
    code: str | None = None
    is_fault: bool = False

    def end(self, gallery_version: str | None) -> None:
        """It ended. It has failed if none of its files is a photo now."""
        self.gallery_version = gallery_version
        if all(one.code is not None for one in self.uploads):
            self.status, self.code = "failed", self.uploads[0].code if self.uploads else None
        else:
            self.status = "done"

    def fail(self, code: str) -> None:
        """It failed as a whole."""
        self.status, self.code, self.is_fault = "failed", code, True


class Jobs:
    """The latest jobs; the oldest are forgotten."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def add(self, job: Job) -> Job:
        """Remember `job`."""
        self._jobs[job.job_id] = job
        while len(self._jobs) > _MOST_REMEMBERED:
            self._jobs.popitem(last=False)
        return job

    def get(self, job_id: str) -> Job:
        """The job of this id.

        Raises:
            RequestError: `unknown_job`.
        """
        try:
            return self._jobs[job_id]
        except KeyError:
            raise RequestError(
                "unknown_job", "There is no such job, or it ended long ago and was forgotten.", 404
            ) from None

    def make_sure_of_room(self, retry_after_s: int) -> None:
        """Refuse a change before its body is read if too many are running.

        Raises:
            BusyError: `queue_full`.
        """
        if sum(job.status == "running" for job in self._jobs.values()) >= _MOST_RUNNING:
            raise BusyError("queue_full", "Too many changes are waiting; try again later.", retry_after_s)


async def run_to_its_end(job: Job, work: Coroutine[Any, Any, None]) -> None:
    """Do the work of a change. If it raises, the job has failed; otherwise it would count as running for ever."""
    try:
        await work
    except Exception as error:
        job.status = "failed"
        job.code = error.code if isinstance(error, SketchseekError) else "internal_error"
        raise
