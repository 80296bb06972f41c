"""From a request that carries a sketch to the sketch's pixels and the options.

A sketch comes as a file of a multipart form, as strokes in JSON, or as a picture in a data: URI in JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image
from starlette.requests import Request

from app.http.requests.bodies import media_type, read_body, read_form
from app.http.requests.json_values import parse_data_uri, parse_json, parse_strokes
from app.http.requests.unknown_names import unknown_field
from app.service_errors import RequestError
from app.settings import Settings
from model.images.opening import ImageLimits, open_image
from model.images.preprocess import SKETCH_LONGEST_SIDE
from model.images.strokes import draw_strokes

_FORM_FILES = 8  # only one is allowed; a few are read so that the error can say how many came


@dataclass(frozen=True)
class SketchRequest:
    """What a client sent.

    Attributes:
        values: form fields or JSON members other than the sketch. Fields that may be repeated are lists.
        image: the encoded picture, or None if the sketch came as strokes.
        strokes: per stroke [[x...], [y...]], or None.
        from_json: whether numbers came as numbers, not as text.
    """

    values: dict[str, Any]
    image: bytes | None = None
    strokes: list[list[list[float]]] | None = None
    from_json: bool = True

    def open(self, limits: ImageLimits) -> Image.Image:
        """The sketch's pixels, as many as its clean-up needs. Slow, so not for the event loop.

        Raises:
            ImageError and its kinds: see `model.images.opening.open_image`.
        """
        if self.image is None:
            return draw_strokes(self.strokes or [])
        return open_image(self.image, limits, SKETCH_LONGEST_SIDE, whole=True)


async def read_sketch(request: Request, settings: Settings, repeatable: frozenset[str]) -> SketchRequest:
    """The sketch and the other fields of a request.

    Args:
        request: multipart/form-data or application/json.
        settings: the limits.
        repeatable: form fields that may be given several times.

    Raises:
        RequestError: `unsupported_media_type`, `no_sketch`, `several_sketches`, `empty_file`, `malformed_...`.
        BodyTooLargeError, BodyTimeoutError, ClientLeftError: see `app.http.requests.bodies`.
    """
    kind = media_type(request)
    if kind == "application/json":
        return _from_json(await read_body(request, settings.max_body_bytes, settings.body_timeout_s), settings)
    if kind == "multipart/form-data":
        return await _from_form(request, settings, repeatable)
    raise RequestError(
        "unsupported_media_type", "Send the sketch as multipart/form-data (field `sketch`) or application/json.", 415
    )


def _from_json(body: bytes, settings: Settings) -> SketchRequest:
    # x, y and perhaps the time of each point, one or two empty lists per stroke, and the options.
    values = parse_json(body, 3 * settings.max_points + 4 * settings.max_strokes + 1000)
    strokes, image = values.pop("strokes", None), values.pop("image", None)
    if strokes is None and image is None:
        raise RequestError("no_sketch", "The body needs `strokes` or `image`.")
    if strokes is not None and image is not None:
        raise RequestError("several_sketches", "Send `strokes` or `image`, not both.")
    if strokes is not None:
        return SketchRequest(values, strokes=parse_strokes(strokes, settings.max_strokes, settings.max_points))
    return SketchRequest(values, image=_not_empty(parse_data_uri(image)))


async def _from_form(request: Request, settings: Settings, repeatable: frozenset[str]) -> SketchRequest:
    form = await read_form(request, settings.max_body_bytes, settings.body_timeout_s, max_files=_FORM_FILES)
    try:
        sketches = form.files.get("sketch", [])
        for name in form.files.keys() - {"sketch"}:
            raise unknown_field(name, ["sketch"])
        if "sketch" in form.fields:
            raise RequestError(
                "no_sketch", "The field `sketch` came as text; send a file (with curl: sketch=@cat.png)."
            )
        if not sketches:
            raise RequestError("no_sketch", "The form needs a file in the field `sketch`.")
        if len(sketches) > 1:
            raise RequestError("several_sketches", f"Send one sketch; the form has {len(sketches)}.")
        image = _not_empty(await sketches[0].read())
    finally:
        await form.close()
    values: dict[str, Any] = {}
    for name, several in form.fields.items():
        if name not in repeatable and len(several) > 1:
            raise RequestError("repeated_field", f"The field `{name[:40]}` is given more than once.")
        values[name] = several if name in repeatable else several[0]
    return SketchRequest(values, image=image, from_json=False)


def _not_empty(data: bytes) -> bytes:
    if not data:
        raise RequestError("empty_file", "The sketch's file is empty.")
    return data
