"""Changes to the gallery: adding photos, deleting one, and what became of either."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi import Path as PathParameter
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, Response

from app.http.access import require_write
from app.http.documented_problems import problems
from app.http.problems import STATUS_OF_CODE, code_of
from app.http.requests.photo_id import PhotoId
from app.http.requests.unknown_names import only_known_parameters, unknown_field
from app.http.requests.uploads import media_type, read_form
from app.http.routes.service_of import service_of
from app.service import photo_files as files
from app.service.change_jobs import Job, Upload
from app.service.service import Service
from app.service_errors import BusyError, RequestError
from index_builder.ingest.changes import relative_path
from index_builder.photo_record import photo_id as id_of
from index_builder.photo_record import shown_path
from model.errors import ImageError
from model.images.opening import read_image
from sketchseek_client import ChangedPhoto, RefusedPhoto
from sketchseek_client import Job as JobDocument

router = APIRouter(tags=["photos"])

_MOST_JOBS = 32
_UPLOAD_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "title": "UploadForm",
                "properties": {
                    "photo": {
                        "type": "array",
                        "items": {"type": "string", "format": "binary"},
                        "minItems": 1,
                        "description": "One or several pictures, each as a field `photo`.",
                    }
                },
                "required": ["photo"],
                "additionalProperties": False,
            },
            "example": {"photo": ["(a file)", "(another file)"]},
        }
    },
}


@router.post(
    "/photos",
    status_code=201,
    response_model=JobDocument,
    responses={
        202: {"model": JobDocument, "description": "Taken in; `url` says when the photos can be found."},
        **problems(400, 401, 403, 408, 409, 413, 415, 422, 507),
    },
    dependencies=[Depends(require_write), Depends(only_known_parameters)],
    openapi_extra={"requestBody": _UPLOAD_BODY},
    summary="Add photos",
)
async def add(request: Request) -> Response:
    """Stores the pictures in the photos' folder and takes them into the gallery; 202 where that takes a while."""
    service = service_of(request)
    settings = service.settings
    root = service.changes.root()
    _make_sure_of_room(service)
    if media_type(request) != "multipart/form-data":
        raise RequestError(
            "unsupported_media_type", "Send photos as multipart/form-data, each as a field `photo`.", 415
        )
    form = await read_form(
        request,
        settings.max_upload_bytes,
        settings.body_timeout_s,
        max_files=settings.max_upload_files + 1,
        in_memory=False,
    )
    try:
        sent = form.files.get("photo", [])
        for name in [*form.fields, *form.files]:
            if name != "photo":
                raise unknown_field(name, ["photo"])
        if "photo" in form.fields:
            raise RequestError("no_photo", "The field `photo` came as text; send a file (with curl: photo=@cat.jpg).")
        if not sent:
            raise RequestError("no_photo", "The form needs at least one file in the field `photo`.")
        if len(sent) > settings.max_upload_files:
            raise RequestError("too_many_files", f"At most {settings.max_upload_files} photos may come at once.")
        folder = root / settings.upload_folder
        taken = [await service.decode(partial(_store, service, root, folder, file)) for file in sent]
    finally:
        await form.close()
    uploads = [upload for upload, _ in taken]
    stored = [path for _, path in taken if path is not None]
    if not stored:
        first = uploads[0]
        code = first.code or "no_photo"
        refused = [one.model_dump() for one in _refused(uploads)]
        raise RequestError(code, first.detail or "", STATUS_OF_CODE.get(code, 422), refused=refused)
    job = service.jobs.add(Job(uploads))
    await _wait(service, job, service.changes.add(job, stored))
    return _answer(request, job, done=201)


def _store(service: Service, root: Path, folder: Path, file: UploadFile) -> tuple[Upload, Path | None]:
    """Check one upload and store it; runs on a thread for images."""
    data = file.file.read()
    try:
        if not data:
            return Upload(_shown(file.filename), code="empty_file", detail="The file is empty."), None
        opened = read_image(data, service.image_limits, longest_side=64)
    except ImageError as error:
        return Upload(_shown(file.filename), code=error.code, detail=str(error)), None
    path = files.store(folder, root, files.safe_name(file.filename or "", opened.format), data)
    raw = relative_path(root, path)
    identity = id_of(raw, hashlib.sha256(data).digest())
    return Upload(_shown(file.filename), path=shown_path(raw), photo_id=identity), path


def _shown(name: str | None) -> str:
    """A client's file name, short and without control characters."""
    return "".join(character for character in name or "" if character.isprintable())[-120:]


@router.delete(
    "/photos/{photo_id}",
    status_code=204,
    responses={
        204: {"description": "Deleted, and found no more."},
        202: {"model": JobDocument, "description": "The file is deleted; `url` says when it is found no more."},
        **problems(401, 403, 404, 409, 422),
    },
    dependencies=[Depends(require_write), Depends(only_known_parameters)],
    response_class=Response,
    summary="Delete a photo",
)
async def delete(request: Request, photo_id: PhotoId) -> Response:
    """Deletes the photo's file from the photos' folder, and its entry in the gallery. This cannot be undone."""
    service = service_of(request)
    record = service.gallery.serve().photo(photo_id)
    _make_sure_of_room(service)
    job = service.jobs.add(Job([Upload(record.path.rpartition("/")[2], path=record.path, photo_id=photo_id)]))
    await _wait(service, job, service.changes.remove(job, record))
    return Response(status_code=204) if job.status == "done" else _answer(request, job, done=200)


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
    return _answer(request, service_of(request).jobs.get(job_id), done=200, always=True)


def _make_sure_of_room(service: Service) -> None:
    if service.jobs.running >= _MOST_JOBS:
        raise BusyError("queue_full", "Too many changes are waiting; come again.", service.settings.retry_after_s)


async def _to_its_end(job: Job, work: Coroutine[Any, Any, None]) -> None:
    """A change that ends with an error waits no longer; otherwise it would take a place for ever."""
    try:
        await work
    except Exception as error:
        job.status, job.code = "failed", code_of(error)
        raise


async def _wait(service: Service, job: Job, work: Coroutine[Any, Any, None]) -> None:
    """Give a change its time to finish within the request; after that it goes on beside."""
    task = service.spawn(_to_its_end(job, work), "change")
    await asyncio.wait({task}, timeout=service.settings.upload_wait_s)
    if task.done():
        task.result()


def _answer(request: Request, job: Job, *, done: int, always: bool = False) -> Response:
    """The job as JSON: 202 while it runs; a failed change is an error, unless its state is all that was asked for."""
    if job.status == "failed" and not always:
        raise RequestError(job.code or "change_failed", "The change failed; GET /gallery and the log say more.", 500)
    url = f"{request.scope.get('root_path', '')}/jobs/{job.job_id}"
    document = JobDocument(
        job_id=job.job_id,
        status=job.status,
        photos=_changed(job.uploads),
        refused=_refused(job.uploads),
        gallery_version=job.gallery_version,
        code=job.code,
        url=url,
    )
    running = job.status == "running" and not always
    headers = {"Location": url, "Retry-After": "1"} if running else {}
    return JSONResponse(document.model_dump(), 202 if running else done, headers)


def _changed(uploads: list[Upload]) -> list[ChangedPhoto]:
    return [
        ChangedPhoto(file=one.file, photo_id=one.photo_id, path=one.path)
        for one in uploads
        if one.photo_id is not None and one.path is not None
    ]


def _refused(uploads: list[Upload]) -> list[RefusedPhoto]:
    return [
        RefusedPhoto(file=one.file, code=one.code, detail=one.detail or "") for one in uploads if one.code is not None
    ]
