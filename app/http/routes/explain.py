"""POST /explain: why a photo matches a sketch, as correspondences or as a picture."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from fastapi import APIRouter, Depends, Request
from PIL import Image
from starlette.responses import Response

from app.http.access import require_read
from app.http.disconnect import unless_client_leaves
from app.http.documented_problems import problems
from app.http.requests.documented_query_body import query_body
from app.http.requests.explain_options import ExplainBody, ExplainOptions, parse_explain_options
from app.http.requests.query_request import read_query
from app.http.requests.unknown_names import only_known_parameters
from app.http.routes.service_of import service_of
from app.search.explaining import (
    PHOTO_SIDE,
    Explained,
    as_document,
    as_png,
    draw,
    explain_rows,
    picture_kind,
)
from app.search.stopwatch import Stopwatch
from app.service.files.reading import photo_to_read
from app.service.service import Service
from app.service.serving.deadline import Deadline
from app.service.serving.served_version import ServedVersion
from model.images.opening import open_shown
from sketchseek_client import Explanation
from sketchseek_client.search_documents import EXAMPLE_ID

router = APIRouter(tags=["explain"])

_NOT_KEPT = {"Cache-Control": "no-store"}


_BODY = query_body(
    ExplainOptions,
    ExplainBody,
    "ExplainForm",
    {"photo_id": EXAMPLE_ID},
    format={"type": "string", "enum": ["json", "overlay", "synthesis", "attention"]},
)


@router.post(
    "/explain",
    response_model=Explanation,
    responses={
        200: {"content": {"image/png": {}}, "description": "The correspondences, or the picture asked for."},
        **problems(400, 401, 404, 408, 409, 413, 415, 422),
    },
    dependencies=[Depends(require_read), Depends(only_known_parameters)],
    openapi_extra={"requestBody": _BODY},
    summary="Why a photo matches a sketch",
)
async def explain(request: Request) -> Response:
    """Send a sketch and the id of a photo; get which patch matched which, or a picture of it."""
    service = service_of(request)
    service.gallery.serve()  # rejects a client before it has sent megabytes, while nothing is served
    sent = await read_query(request, service.settings, {"among"}, takes_photo=False)
    sketch, deadline = sent.needed_sketch(), service.deadline()
    options = parse_explain_options(sent)
    await service.gallery.reach(options.min_version)
    kind = options.format or ("overlay" if _wants_picture(request) else "json")

    async def attempt(served: ServedVersion) -> Response:
        clock = Stopwatch()
        rows = _rows(served, options, kind)
        prepared = await service.decode(partial(service.decoding.pixels, sketch, deadline), deadline)
        clock.lap("decode")
        explained = await service.on_device(lambda: explain_rows(served.searcher, prepared, rows), deadline)
        clock.lap("explain")
        if kind == "json":
            return await service.decode(lambda: _as_json(served, explained, rows[0], clock), deadline)

        def picture() -> bytes:
            photos = _photos(service, served, rows, deadline)
            return as_png(draw(picture_kind(kind), served.searcher, explained, photos))

        return Response(await service.decode_photo(picture, deadline), media_type="image/png", headers=_NOT_KEPT)

    return await unless_client_leaves(request, service.gallery.answer(attempt), service.metrics)


def _rows(served: ServedVersion, options: ExplainOptions, kind: str) -> list[int]:
    """Rows of the photo to explain and, for a synthesis, of those that pieces may come from.

    Raises:
        UnknownPhotoError: there is no such photo.
    """
    rows = [served.snapshot.row_of(options.photo_id)]
    if kind == "synthesis":
        # Photos that were removed since the search are left out.
        others = dict.fromkeys(one for one in options.among if one != options.photo_id and served.has(one))
        rows += [served.snapshot.row_of(one) for one in others]
    return rows


def _photos(service: Service, served: ServedVersion, rows: list[int], deadline: Deadline) -> list[Image.Image]:
    """The photos' pixels. The deadline is checked before each."""
    photos, limits = [], replace(service.photo_limits, wait_until=deadline.at)
    for row in rows:
        deadline.raise_if_passed()  # so that others get this thread
        with photo_to_read(served.folders, served.snapshot.photo(row)) as file:
            photos.append(open_shown(file, limits, PHOTO_SIDE))
    return photos


def _as_json(served: ServedVersion, explained: Explained, row: int, clock: Stopwatch) -> Response:
    """The explanation as JSON. Its sketch is encoded as PNG, so it is not for the event loop."""
    photo = served.snapshot.photo(row)
    document = as_document(served.searcher, explained, photo.photo_id, photo.width, photo.height)
    clock.lap("document")
    document["timings_ms"] = {
        "decode": round(clock.laps_ms["decode"], 2),
        **document["timings_ms"],
        "total": round(sum(clock.laps_ms.values()), 2),
    }
    return Response(
        Explanation(**document).model_dump_json(),
        media_type="application/json",
        headers=_NOT_KEPT,
    )


def _wants_picture(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "image/png" in accept and "application/json" not in accept
