"""Changes of the gallery under way, for clients that do not wait for them."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal

from app.service_errors import RequestError

_MOST_JOBS = 1000


@dataclass
class Upload:
    """What became of one uploaded file.

    Attributes:
        file: its name, made harmless.
        path: relative to the root, once stored.
        photo_id: once it is in the gallery.
        code, detail: why it was refused, if it was.
    """

    file: str
    path: str | None = None
    photo_id: str | None = None
    code: str | None = None
    detail: str | None = None


@dataclass
class Job:
    """One change.

    Attributes:
        job_id: opaque.
        uploads: the files it is about.
        status: how far it is.
        gallery_version: the version that has the change.
        code: why it failed, if it did.
    """

    uploads: list[Upload]
    job_id: str = field(default_factory=lambda: secrets.token_hex(16))
    status: Literal["running", "done", "failed"] = "running"
    gallery_version: str | None = None
    code: str | None = None


class Jobs:
    """The latest jobs; the oldest are forgotten."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def add(self, job: Job) -> Job:
        """Remember `job`."""
        self._jobs[job.job_id] = job
        while len(self._jobs) > _MOST_JOBS:
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
            raise RequestError("unknown_job", "There is no such job, or it is long done and forgotten.", 404) from None

    @property
    def running(self) -> int:
        """Jobs not done yet."""
        return sum(job.status == "running" for job in self._jobs.values())
