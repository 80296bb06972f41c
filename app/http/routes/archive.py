"""POST /archive: several photos' files as one ZIP archive, sent while it is made."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import BinaryIO

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import iterate_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.http.access import require_read
from app.http.documented_problems import problems
from app.http.requests.archive_request import archive_body, read_archive
from app.http.requests.unknown_names import only_known_parameters, shown
from app.http.routes.away_folders import away_explained
from app.http.routes.service_of import service_of
from app.service.files import photo_files as files
from app.service.files.zip_pieces import Names, ZipPieces
from app.service.service import Service
from app.service.serving.served_version import ServedVersion
from app.service_errors import BusyError, RequestError
from index_builder import PhotoRecord
from index_builder.gallery_errors import UnknownPhotoError
from model.errors import SketchseekError

router = APIRouter(tags=["photos"])

_LEFT_OUT = "left-out.txt"
_MOST_WAITS = 2  # in vain, for files of one folder: a single slow file says nothing of its folder
_Opened = tuple[PhotoRecord, BinaryIO]
_HEADERS = {
    "Content-Disposition": 'attachment; filename="photos.zip"',
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cache-Control": "no-store",
}


@router.post(
    "/archive",
    responses={
        200: {"content": {"application/zip": {}}, "description": "The photos' files, as they are."},
        **problems(400, 401, 404, 408, 413, 415, 422),
    },
    dependencies=[Depends(require_read), Depends(only_known_parameters)],
    openapi_extra={"requestBody": archive_body()},
    response_class=Response,
    summary="Several photos as a ZIP archive",
)
async def archive(request: Request) -> Response:
    """Send ids; get the files in one archive. Photos that cannot be had are left out and named in `left-out.txt`."""
    service = service_of(request)
    service.gallery.serve()
    ids = await read_archive(request, service.settings)
    request.scope["state"]["charge"](len(ids) - 1)  # each of them counts for the rate limit
    asked = _Asked(service, await service.gallery.with_photos(*ids), ids)
    _check_size(asked.known, service.settings.max_archive_bytes)
    opened = asked.opened()
    try:
        first = await anext(opened)
    except StopAsyncIteration:
        raise next(iter(asked.left_out.values())) from None
    return _ArchiveResponse(asked, first, opened)


def _check_size(records: list[PhotoRecord], limit: int) -> None:
    """Refuse what is too large, by what the gallery knows, before a file is opened."""
    total = sum(record.size for record in records)
    if total > limit:
        text = f"These photos have {total:,} bytes together, and an archive may have {limit:,}; ask for fewer."
        raise RequestError("archive_too_large", text, 413, limit_bytes=limit)


@dataclass
class _Asked:
    """The photos of one archive.

    Attributes:
        service: that answers.
        served: the version of the gallery.
        ids: of the photos, each once.
        known: those that the gallery has.
        left_out: what is not in the archive, each with the reason.
    """

    service: Service
    served: ServedVersion
    ids: list[str]
    known: list[PhotoRecord] = field(default_factory=list, init=False)
    left_out: dict[str, SketchseekError] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for photo_id in self.ids:
            try:
                self.known.append(self.served.photo(photo_id))
            except UnknownPhotoError as error:
                self.left_out[shown(photo_id)] = error

    async def opened(self) -> AsyncGenerator[_Opened, None]:
        """The files, one at a time. Each is closed before the next is opened."""
        left, folders = self.service.settings.max_archive_bytes, self.served.folders
        retry_after_s, waits = self.service.settings.retry_after_s, Counter[str]()
        for record in self.known:
            folder = folders.name_of(record.raw_path)
            if waits[folder] >= _MOST_WAITS:  # the threads that open files wait for that folder
                text = f"The folder {folder} did not answer in time; try again later."
                self._leave_out(record, BusyError("deadline_exceeded", text, retry_after_s))
                continue
            try:
                with away_explained(self.service, folders, record):
                    open_it = partial(files.open_photo, folders, record)
                    file = await self.service.open_file(open_it, self.service.deadline())
            except RequestError as error:
                self._leave_out(record, error)
                continue
            except BusyError as error:
                waits[folder] += 1
                text = "The file could not be opened in time; try again later."
                self._leave_out(record, BusyError(error.code, text, retry_after_s))
                continue
            with file:
                size = files.size_of(file)
                if size > left:
                    text = "The file has grown since the gallery read it, so the archive would be too large."
                    self._leave_out(record, RequestError("archive_too_large", text, 413))
                    continue
                left -= size
                yield record, file

    def _leave_out(self, record: PhotoRecord, error: SketchseekError) -> None:
        self.left_out[f"{_printable(record.path)} ({record.photo_id})"] = error


class _ArchiveResponse(StreamingResponse):
    """The archive in pieces. The file that is being read is closed even if the client leaves before the end."""

    def __init__(
        self,
        asked: _Asked,
        first: _Opened,
        others: AsyncGenerator[_Opened, None],
    ) -> None:
        self._pieces, self._others = _pieces(asked, first, others), others
        super().__init__(self._pieces, media_type="application/zip", headers=_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any streamed answer."""
        async with contextlib.aclosing(self._others), contextlib.aclosing(self._pieces):
            await super().__call__(scope, receive, send)


async def _pieces(asked: _Asked, first: _Opened, others: AsyncGenerator[_Opened, None]) -> AsyncGenerator[bytes, None]:
    names, archive = Names(), ZipPieces()
    note = names.of(_LEFT_OUT)
    record, file = first
    while True:
        with contextlib.closing(archive.file(names.of(record.path), file, record.modified)) as pieces:
            async for piece in iterate_in_threadpool(pieces):
                yield piece
        try:
            record, file = await anext(others)
        except StopAsyncIteration:
            break
    if asked.left_out:
        lines = (f"{name}: {error}" for name, error in asked.left_out.items())
        text = "\n".join(("These photos are not in the archive.", "", *lines, ""))
        yield archive.text(note, text, datetime.now(UTC))
    yield archive.end()


def _printable(path: str) -> str:
    return "".join(one if one.isprintable() else "_" for one in path)
