"""POST /explain: why a photo matches a sketch, as correspondences or as a picture."""

from __future__ import annotations

import time
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from app.http.access import require_read
from app.http.requests.search_options import SKETCH_FIELDS, invalid_field
from app.http.requests.sketch_request import SketchRequest, read_sketch
from app.http.requests.unknown_names import only_known_fields, only_known_parameters
from app.http.routes.common import problems, service_of
from app.search.explaining import (
    PHOTO_SIDE,
    as_document,
    as_png,
    draw,
    explain_rows,
    picture_kind,
    prepare_sketch,
)
from app.service import photo_files as files
from app.service.served_gallery import ServedVersion
from app.service.service import Service
from app.service_errors import BusyError
from model.images.opening import open_image, to_rgb
from sketchseek_client import Explanation
from sketchseek_client.search_documents import EXAMPLE_ID

router = APIRouter(tags=["explain"])

_MOST_SOURCES = 24
_STROKES = [[[20, 235, 235, 20, 20], [60, 60, 200, 200, 60]], [[20, 128, 235], [60, 10, 60]]]


class ExplainOptions(BaseModel):
    """What to explain; the same names as form fields and as members of the JSON body."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photo_id: str = Field(min_length=1, max_length=64, description="The photo to explain, from a search.")
    format: Literal["json", "overlay", "synthesis", "attention"] | None = Field(
        None, description="json, or which picture; without it, the header Accept decides between json and overlay."
    )
    among: tuple[str, ...] = Field(
        (),
        max_length=_MOST_SOURCES,
        description="Further photos that a synthesis may take pieces from: give the result list for a universal one.",
    )


class ExplainBody(ExplainOptions):
    """The same as JSON: exactly one of `strokes` and `image`."""

    strokes: list[list[list[float]]] | None = Field(None, description="A drawing, as in POST /search.")
    image: str | None = Field(None, description="A picture of a sketch as a URI data:image/png;base64,...")


def _request_body() -> dict[str, Any]:
    form = ExplainOptions.model_json_schema()
    form["properties"] = {
        "sketch": {"type": "string", "format": "binary", "description": "A picture of a sketch: dark lines on light."},
        **form["properties"],
        "format": {"type": "string", "enum": ["json", "overlay", "synthesis", "attention"]},
    }
    form["required"] = ["sketch", "photo_id"]
    form["title"] = "ExplainForm"
    body = ExplainBody.model_json_schema()
    body["oneOf"] = [{"required": ["strokes"]}, {"required": ["image"]}]
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form, "example": {"sketch": "(a file)", "photo_id": EXAMPLE_ID}},
            "application/json": {"schema": body, "example": {"strokes": _STROKES, "photo_id": EXAMPLE_ID}},
        },
    }


@router.post(
    "/explain",
    response_model=Explanation,
    responses={
        200: {"content": {"image/png": {}}, "description": "The correspondences, or the picture asked for."},
        **problems(400, 401, 404, 408, 413, 415, 422),
    },
    dependencies=[Depends(require_read), Depends(only_known_parameters)],
    openapi_extra={"requestBody": _request_body()},
    summary="Why a photo matches a sketch",
)
async def explain(request: Request) -> Response:
    """Send a sketch and the id of a photo; get which patch matched which, or a picture of it."""
    service = service_of(request)
    service.gallery.serve()
    sketch = await read_sketch(request, service.settings, frozenset({"among"}))
    options = _options(sketch)
    return await service.gallery.answer(lambda served: _answer(request, service, served, sketch, options))


async def _answer(
    request: Request, service: Service, served: ServedVersion, sketch: SketchRequest, options: ExplainOptions
) -> Response:
    started = time.perf_counter()
    deadline = time.monotonic() + service.settings.request_timeout_s
    retry = service.settings.retry_after_s
    kind = options.format or ("overlay" if _wants_picture(request) else "json")
    rows = [served.snapshot.row_of(options.photo_id)]
    if kind == "synthesis":
        # Photos that were removed since the search are no reason to refuse the picture.
        others = dict.fromkeys(one for one in options.among if one != options.photo_id and served.has(one))
        rows += [served.snapshot.row_of(one) for one in others]

    def prepare() -> Image.Image:
        return prepare_sketch(served.searcher, sketch.open(service.image_limits))

    def read(row: int) -> Image.Image:
        with files.open_photo(served.root, served.snapshot.photo(row)) as file:
            return to_rgb(open_image(file, service.image_limits, PHOTO_SIDE))

    prepared = await service.decode(prepare, deadline)
    decoded = time.perf_counter()
    explained = await service.on_device(lambda: explain_rows(served.searcher, prepared, rows), deadline)
    if kind != "json":

        def picture() -> bytes:
            photos = []
            for row in rows:
                if time.monotonic() >= deadline:  # nobody waits any more, and others wait for this thread
                    raise BusyError("deadline_exceeded", "The photos took too long to decode; come again.", retry)
                photos.append(read(row))
            return as_png(draw(picture_kind(kind), served.searcher, explained, photos))

        return Response(
            await service.decode(picture, deadline), media_type="image/png", headers={"Cache-Control": "no-store"}
        )
    photo = served.snapshot.photo(rows[0])
    document = as_document(served.searcher, explained, photo.photo_id, photo.width, photo.height)
    now = time.perf_counter()
    document["timings_ms"] = {
        "decode": round((decoded - started) * 1000, 2),
        **document["timings_ms"],
        "total": round((now - started) * 1000, 2),
    }
    return Response(
        Explanation(**document).model_dump_json(),
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _options(sketch: SketchRequest) -> ExplainOptions:
    values = sketch.values
    only_known_fields(values, ExplainOptions.model_fields, SKETCH_FIELDS[sketch.from_json])
    if isinstance(among := values.get("among"), list):  # the validator would look at each before it counts them
        values = {**values, "among": among[: _MOST_SOURCES + 1]}
    try:
        return ExplainOptions.model_validate(values)
    except ValidationError as error:
        raise invalid_field(error) from None


def _wants_picture(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "image/png" in accept and "application/json" not in accept
