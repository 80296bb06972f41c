"""Jobs: what became of a change that takes a while."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi import Path as PathParameter
from starlette.responses import JSONResponse, Response

from app.http.access import require_write
from app.http.documented_problems import problems
from app.http.problems import STATUS_OF_CODE
from app.http.requests.unknown_names import only_known_parameters
from app.http.routes.service_of import service_of
from app.service.changes.jobs import Job, Upload, run_to_its_end
from app.service.service import Service
from app.service_errors import RequestError
from sketchseek_client import ChangedPhoto, RefusedPhoto
from sketchseek_client import Job as JobDocument

router = APIRouter(tags=["photos"])


@router.get(
    "/jobs/{job_id}",
    response_model=JobDocument,
    responses=problems(401, 403, 404, 422),
    dependencies=[Depends(require_write), Depends(only_known_parameters)],
    summary="How far a change is",
)
async def job_status(
    request: Request,
    job_id: Annotated[str, PathParameter(description="From the answer to the change.", examples=["0" * 32])],
) -> Response:
    """The state of an upload or a deletion that was answered 202."""
    return JSONResponse(_document(request, service_of(request).jobs.get(job_id)))


async def wait_a_while(service: Service, job: Job, work: Coroutine[Any, Any, None]) -> None:
    """Wait for a change for as long as a request may take; after that it goes on in the background."""
    task = service.background.spawn(run_to_its_end(job, work), "change")
    await asyncio.wait({task}, timeout=service.settings.upload_wait_s)
    if task.done():
        task.result()


def change_answer(request: Request, job: Job, done: int) -> Response:
    """The answer to a change: status `done` if it is done, 202 with the job's address while it runs.

    Raises:
        RequestError: the change failed.
    """
    if job.status == "failed":
        code, refused = job.code or "change_failed", [one.model_dump() for one in refused_photos(job.uploads)]
        if job.is_fault or not refused:
            status = STATUS_OF_CODE.get(code, 500)
            raise RequestError(code, "The change failed; GET /gallery and the log say more.", status, refused=refused)
        raise RequestError(code, refused[0]["detail"], STATUS_OF_CODE.get(code, 422), refused=refused)
    document = _document(request, job)
    if job.status == "running":
        return JSONResponse(document, 202, {"Location": document["url"], "Retry-After": "1"})
    return JSONResponse(document, done)


def _document(request: Request, job: Job) -> dict[str, Any]:
    return JobDocument(
        job_id=job.job_id,
        status=job.status,
        photos=_changed_photos(job.uploads),
        refused=refused_photos(job.uploads),
        gallery_version=job.gallery_version,
        code=job.code,
        url=f"{request.scope.get('root_path', '')}/jobs/{job.job_id}",
    ).model_dump()


def _changed_photos(uploads: list[Upload]) -> list[ChangedPhoto]:
    return [
        ChangedPhoto(file=one.file, photo_id=one.photo_id, path=one.path, known=one.known)
        for one in uploads
        if one.photo_id is not None and one.path is not None
    ]


def refused_photos(uploads: list[Upload]) -> list[RefusedPhoto]:
    """The files that did not become photos, and why."""
    return [
        RefusedPhoto(file=one.file, code=one.code, detail=one.detail or "") for one in uploads if one.code is not None
    ]
