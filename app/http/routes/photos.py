"""Photos: their files and thumbnails, similar ones, adding and deleting them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Annotated, BinaryIO, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.datastructures import UploadFile
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.http.access import require_change, require_read
from app.http.documented_problems import problems
from app.http.head import was_head
from app.http.requests.photo_id import PhotoId
from app.http.requests.photo_upload import UPLOAD_BODY, uploaded_photos
from app.http.requests.unknown_names import only_known_parameters
from app.http.routes.away_folders import away_explained
from app.http.routes.jobs import change_answer, wait_a_while
from app.http.routes.service_of import service_of
from app.search.answer_documents import result_of
from app.service.changes.jobs import Job, Upload
from app.service.changes.stored_uploads import ArrivingUploads, store_upload
from app.service.files import photo_files as files
from app.service.files import renditions, signed_addresses
from app.service.service import Service
from app.service.serving.served_version import ServedVersion
from app.service_errors import RequestError
from index_builder.photo_folders import PhotoFolders
from model.images.formats.endings import media_type_of
from sketchseek_client import Job as JobDocument
from sketchseek_client import SimilarAnswer

VERSION_HEADER = "Gallery-Version"
"""Header of an answer without a body: the version that has the change."""

router = APIRouter(tags=["photos"])

_A_FILE_ALONE = "default-src 'none'; frame-ancestors 'none'; sandbox"  # whatever else the picture's bytes may be
_FOR_A_DAY = "private, max-age=86400"


@router.get(
    "/photos/{photo_id}",
    responses={
        200: {"content": {"image/*": {}}, "description": "The file as it is, or a WebP picture."},
        307: {"description": "The file lies in a bucket, at the address that `Location` gives, for a while."},
        **problems(401, 404, 422),
    },
    dependencies=[Depends(require_read), Depends(only_known_parameters)],
    response_class=Response,
    summary="A photo's file",
)
async def photo(
    request: Request,
    photo_id: PhotoId,
    rendition: Annotated[
        Literal["original", "screen"],
        Query(description="The file itself, or a picture for a screen, which every browser shows."),
    ] = "original",
    redirect: Annotated[
        bool,
        Query(description="False: the file comes from here, even where files in buckets are answered 307 otherwise."),
    ] = True,
) -> Response:
    """The file, unchanged; or a picture of it that every browser shows, its longer side at most the screen size."""
    if rendition == "screen":
        return await _smaller(request, photo_id, service_of(request).screens)
    service = service_of(request)
    served = await service.gallery.with_photos(photo_id)
    record = served.photo(photo_id)
    # An address is signed for GET alone, so HEAD is answered here as well.
    if service.settings.photo_links == "signed" and redirect and not was_head(request.scope):
        seconds = service.settings.photo_link_s
        sign = partial(signed_addresses.signed_address, served.folders, record, seconds)
        if (address := await service.open_file(sign, service.deadline())) is not None:
            headers = {"Cache-Control": f"private, max-age={seconds // 2}"}
            return RedirectResponse(address, status_code=307, headers=headers)
    etag = f'"{record.content_hash[:32]}"'
    with away_explained(service, served.folders, record):
        file = await service.open_file(lambda: files.open_photo(served.folders, record), service.deadline())
    # An id stands for one content, so browsers may keep the file, unless it was changed a moment ago.
    unchanged = files.is_unchanged(file, record)
    if unchanged and request.headers.get("if-none-match") == etag:
        file.close()
        return Response(status_code=304, headers={"ETag": etag, "Cache-Control": _FOR_A_DAY})
    headers = {"ETag": etag, "Cache-Control": _FOR_A_DAY} if unchanged else {"Cache-Control": "no-store"}
    headers |= {"Content-Length": str(files.size_of(file)), "Content-Security-Policy": _A_FILE_ALONE}
    return _FileResponse(file, media_type_of(record.path, files.format_of(file)), headers)


class _FileResponse(StreamingResponse):
    """A file in pieces. It is closed even if the client leaves before the end."""

    def __init__(self, file: BinaryIO, media_type: str, headers: dict[str, str]) -> None:
        super().__init__(files.chunks_of(file), media_type=media_type, headers=headers)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any streamed answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()


@router.get(
    "/photos/{photo_id}/thumbnail",
    responses={
        200: {"content": {renditions.MEDIA_TYPE: {}}, "description": "A WebP picture."},
        **problems(401, 404, 422),
    },
    dependencies=[Depends(require_read), Depends(only_known_parameters)],
    response_class=Response,
    summary="A small version of a photo",
)
async def thumbnail(request: Request, photo_id: PhotoId) -> Response:
    """The photo, upright, its longer side at most the service's thumbnail size."""
    return await _smaller(request, photo_id, service_of(request).thumbnails)


async def _smaller(request: Request, photo_id: str, kind: renditions.Renditions) -> Response:
    service = service_of(request)
    served = await service.gallery.with_photos(photo_id)
    record = served.photo(photo_id)
    headers = {"ETag": kind.etag(record), "Cache-Control": _FOR_A_DAY}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    with away_explained(service, served.folders, record):
        deadline = service.deadline()
        data, unchanged = await service.decode_photo(lambda: kind.get(served.folders, record, deadline.at), deadline)
    if not unchanged:
        headers = {"Cache-Control": "no-store"}
    return Response(data, media_type=renditions.MEDIA_TYPE, headers=headers)


@router.get(
    "/photos/{photo_id}/similar",
    response_model=SimilarAnswer,
    responses=problems(401, 404, 422),
    dependencies=[Depends(require_read), Depends(only_known_parameters)],
    summary="Photos like a photo",
)
async def similar(
    request: Request,
    photo_id: PhotoId,
    top_k: Annotated[int, Query(ge=1, description="Photos wanted.", examples=[20])] = 20,
) -> Response:
    """The photos with the most similar descriptors, the photo itself left out."""
    service = service_of(request)
    deadline = service.deadline()

    async def attempt(served: ServedVersion) -> SimilarAnswer:
        row = served.snapshot.row_of(photo_id)
        if top_k > service.settings.max_top_k:
            raise RequestError("invalid_top_k", f"`top_k` may be at most {service.settings.max_top_k}.")
        found = await service.on_device(partial(served.searcher.similar, row, top_k), deadline)
        return SimilarAnswer(
            results=[result_of(one, request.scope.get("root_path", "")) for one in found.results],
            gallery_version=served.snapshot.version,
            checkpoint=served.snapshot.checkpoint,
            total_photos=found.searched,
        )

    answer = await service.gallery.answer(attempt)
    return Response(answer.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})


@router.post(
    "/photos",
    status_code=201,
    response_model=JobDocument,
    responses={
        200: {"model": JobDocument, "description": "The gallery has every one of them already, under these ids."},
        202: {"model": JobDocument, "description": "Taken in; `url` says when the photos can be found."},
        **problems(400, 401, 403, 408, 409, 413, 415, 422, 507),
    },
    dependencies=[Depends(require_change), Depends(only_known_parameters)],
    openapi_extra={"requestBody": UPLOAD_BODY},
    summary="Add photos",
)
async def add(request: Request) -> Response:
    """Stores the pictures in the photos' folder and takes them into the gallery; 202 where that takes a while."""
    service = service_of(request)
    settings = service.settings
    folders = await asyncio.to_thread(service.changes.folders)
    service.jobs.make_sure_of_room(settings.retry_after_s)
    await asyncio.to_thread(service.held.check_uploads, folders, settings.upload_folder, partial(_paths, service))
    async with uploaded_photos(request, settings) as sent:
        uploads = await _stored(service, sent, folders)
    job = service.jobs.add(Job(uploads))
    if any(one.stored is not None for one in uploads):
        await wait_a_while(service, job, service.changes.add(job))
    else:
        job.end(service.gallery.current.snapshot.version if service.gallery.current is not None else None)
    return change_answer(request, job, done=200 if all(one.known for one in uploads if one.code is None) else 201)


async def _stored(service: Service, sent: list[UploadFile], folders: PhotoFolders) -> list[Upload]:
    """What became of each file: stored, known or refused. If the request ends before, none is left behind."""
    place = service.settings.upload_folder
    served = service.gallery.current

    photos_of = served.snapshot.photos_of if served is not None else lambda _: []
    arriving = ArrivingUploads()

    def store(file: UploadFile) -> None:
        data, limits = file.file.read(), service.photo_limits
        gallery = service.settings.gallery
        arriving.add(store_upload(file.filename, data, folders, place, gallery, limits=limits, photos_of=photos_of))

    try:
        for file in sent:
            await service.decode_photo(partial(store, file))
    except BaseException:
        await asyncio.shield(asyncio.to_thread(arriving.call_off))  # in a bucket, these are requests
        raise
    return arriving.uploads


@router.delete(
    "/photos/{photo_id}",
    status_code=204,
    responses={
        204: {
            "description": "Deleted, and found no more.",
            "headers": {VERSION_HEADER: {"schema": {"type": "string"}, "description": "The version that lacks it."}},
        },
        202: {"model": JobDocument, "description": "The file is deleted; `url` says when it is found no more."},
        **problems(401, 403, 404, 409, 422),
    },
    dependencies=[Depends(require_change), Depends(only_known_parameters)],
    response_class=Response,
    summary="Delete a photo",
)
async def delete(request: Request, photo_id: PhotoId) -> Response:
    """Deletes the photo's file from the photos' folder, and its entry in the gallery. This cannot be undone."""
    service = service_of(request)
    served = service.gallery.serve()
    record = served.photo(photo_id)
    service.jobs.make_sure_of_room(service.settings.retry_after_s)
    paths = partial(_paths, service)
    await asyncio.to_thread(service.held.check_deletion, served.folders, record.raw_path, paths)
    job = service.jobs.add(Job([Upload(record.path.rpartition("/")[2], path=record.path, photo_id=photo_id)]))
    await wait_a_while(service, job, service.changes.remove(job, record))
    headers = {VERSION_HEADER: job.gallery_version or ""}
    return Response(status_code=204, headers=headers) if job.status == "done" else change_answer(request, job, done=200)


def _paths(service: Service) -> Iterator[bytes]:
    """Paths of all photos that are served, as the gallery writes them."""
    return service.gallery.current.snapshot.raw_paths() if service.gallery.current is not None else iter(())
