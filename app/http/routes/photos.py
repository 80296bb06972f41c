"""Photos: looking at them, and finding similar ones."""

from __future__ import annotations

from functools import partial
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.http.access import require_read
from app.http.documented_problems import problems
from app.http.requests.photo_id import PhotoId
from app.http.requests.unknown_names import only_known_parameters
from app.http.routes.service_of import service_of
from app.search.answer_documents import result_of
from app.service import photo_files as files
from app.service import thumbnails
from app.service.served_gallery import ServedVersion
from app.service_errors import RequestError
from sketchseek_client import SimilarAnswer

router = APIRouter(tags=["photos"])

_A_FILE_ALONE = "default-src 'none'; frame-ancestors 'none'; sandbox"  # whatever else the picture's bytes may be
_FOR_A_DAY = "private, max-age=86400"


@router.get(
    "/photos/{photo_id}",
    responses={200: {"content": {"image/*": {}}, "description": "The file as it is."}, **problems(401, 404, 422)},
    dependencies=[Depends(require_read), Depends(only_known_parameters)],
    response_class=Response,
    summary="A photo's file",
)
async def photo(request: Request, photo_id: PhotoId) -> Response:
    """The file, unchanged."""
    service = service_of(request)
    served = service.gallery.serve()
    record = served.photo(photo_id)
    etag = f'"{record.content_hash[:32]}"'
    file = await service.decode(lambda: files.open_photo(served.root, record))
    # An id stands for one content, so what was fetched stays right; unless the file was changed a moment ago.
    unchanged = files.is_unchanged(file, record)
    if unchanged and request.headers.get("if-none-match") == etag:
        file.close()
        return Response(status_code=304, headers={"ETag": etag, "Cache-Control": _FOR_A_DAY})
    headers = {"ETag": etag, "Cache-Control": _FOR_A_DAY} if unchanged else {"Cache-Control": "no-store"}
    headers |= {"Content-Length": str(files.size_of(file)), "Content-Security-Policy": _A_FILE_ALONE}
    return _FileResponse(file, files.media_type_of(record), headers)


class _FileResponse(StreamingResponse):
    """A file in pieces; it is closed also where the client leaves before the end."""

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
        200: {"content": {thumbnails.MEDIA_TYPE: {}}, "description": "A WebP picture."},
        **problems(401, 404, 422),
    },
    dependencies=[Depends(require_read), Depends(only_known_parameters)],
    response_class=Response,
    summary="A small version of a photo",
)
async def thumbnail(request: Request, photo_id: PhotoId) -> Response:
    """The photo, upright, its longer side at most the service's thumbnail size."""
    service = service_of(request)
    served = service.gallery.serve()
    record = served.photo(photo_id)
    headers = {"ETag": service.thumbnails.etag(record), "Cache-Control": _FOR_A_DAY}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    data, unchanged = await service.decode(lambda: service.thumbnails.get(served.root, record), service.deadline())
    if not unchanged:
        headers = {"Cache-Control": "no-store"}
    return Response(data, media_type=thumbnails.MEDIA_TYPE, headers=headers)


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
