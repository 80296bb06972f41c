"""What `Client.delete` and its asynchronous twin return."""

from __future__ import annotations

from dataclasses import dataclass

import httpx2

from sketchseek_client.service_documents import Job

_VERSION_HEADER = "Gallery-Version"


@dataclass(frozen=True)
class Deleted:
    """The outcome of deleting a photo.

    Attributes:
        gallery_version: the version that lacks the photo, to pass on as `min_version`; None while the job runs.
        job: how far the deletion is, if it takes a while; None once it is done.
    """

    gallery_version: str | None
    job: Job | None

    @classmethod
    def of(cls, answer: httpx2.Response) -> Deleted:
        """From the answer to `DELETE /photos/{photo_id}`."""
        if answer.content:
            job = Job.model_validate_json(answer.content)
            return cls(job.gallery_version, job)
        return cls(answer.headers.get(_VERSION_HEADER) or None, None)
