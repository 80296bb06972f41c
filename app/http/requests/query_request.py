"""From a request that searches or explains to its pictures and the other fields.

A sketch comes as a file of a multipart form, as strokes in JSON, or as a picture in a data: URI in JSON. A photo that
searches comes as a file or as a data: URI.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from starlette.datastructures import UploadFile
from starlette.requests import Request

from app.http.requests.bodies import media_type, read_body, read_form
from app.http.requests.json_values import parse_data_uri, parse_json, parse_strokes
from app.http.requests.unknown_names import unknown_field
from app.service_errors import RequestError
from app.settings import Settings
from model.images.sent_picture import SentPicture

PictureName = Literal["sketch", "photo"]
SKETCH_FIELDS = {False: ("sketch",), True: ("strokes", "image")}
"""Fields that carry a sketch, in a form (False) and in JSON (True)."""
PICTURES: tuple[PictureName, ...] = ("sketch", "photo")
PHOTO_FIELD = "photo"
"""The field that carries a photo, in both."""

_FORM_FILES = 8  # only one of a kind is allowed; a few are read so that the error can say how many came


@dataclass(frozen=True)
class QueryRequest:
    """What a client sent.

    Attributes:
        values: form fields or JSON members other than pictures. Fields that may be repeated are lists.
        sketch: the drawing, or None.
        photo: a photo that searches, or None.
        from_json: whether numbers came as numbers, not as text.
    """

    values: dict[str, Any]
    sketch: SentPicture | None = None
    photo: SentPicture | None = None
    from_json: bool = True

    def needed_sketch(self) -> SentPicture:
        """The sketch, of a route that needs one.

        Raises:
            RequestError: `no_sketch`.
        """
        if self.sketch is None:
            fields = "`strokes` or `image`" if self.from_json else "a file in the field `sketch`"
            raise RequestError("no_sketch", f"The {'body' if self.from_json else 'form'} needs {fields}.")
        return self.sketch


async def read_query(
    request: Request, settings: Settings, repeatable: Collection[str], *, takes_photo: bool
) -> QueryRequest:
    """The pictures and the other fields of a request.

    Args:
        request: multipart/form-data or application/json.
        settings: the limits.
        repeatable: form fields that may be given several times.
        takes_photo: whether a photo may come as well as a sketch.

    Raises:
        RequestError: `unsupported_media_type`, `no_sketch`, `no_photo` (text instead of a file), `several_sketches`,
            `several_photos`, `empty_file`, `malformed_...`.
        BodyTooLargeError, BodyTimeoutError, ClientLeftError: see `app.http.requests.bodies`.
    """
    kind = media_type(request)
    if kind == "application/json":
        body = await read_body(request, settings.max_body_bytes, settings.body_timeout_s)
        return query_from_json(parse_json(body, most_values(settings)), settings, takes_photo=takes_photo)
    if kind == "multipart/form-data":
        return await _from_form(request, settings, repeatable, PICTURES if takes_photo else PICTURES[:1])
    raise RequestError(
        "unsupported_media_type", "Send the query as multipart/form-data (a file as a field) or application/json.", 415
    )


def most_values(settings: Settings) -> int:
    """Most values of a JSON body: x, y and perhaps the time of each point, one or two empty lists per stroke, and
    options."""
    return 3 * settings.max_points + 4 * settings.max_strokes + 1000


def query_from_json(values: dict[str, Any], settings: Settings, *, takes_photo: bool) -> QueryRequest:
    """The pictures and the other members of a JSON object, of which only these stay in it. Raises as `read_query`."""
    strokes, image = values.pop("strokes", None), values.pop("image", None)
    photo = values.pop(PHOTO_FIELD, None) if takes_photo else None
    if strokes is not None and image is not None:
        raise RequestError("several_sketches", "Send `strokes` or `image`, not both.")
    sketch = None
    if strokes is not None:
        sketch = SentPicture("sketch", strokes=parse_strokes(strokes, settings.max_strokes, settings.max_points))
    elif image is not None:
        sketch = SentPicture("sketch", _not_empty(parse_data_uri(image, "image"), "sketch"))
    if photo is None:
        return QueryRequest(values, sketch)
    shown = _not_empty(parse_data_uri(photo, PHOTO_FIELD), "photo")
    return QueryRequest(values, sketch, SentPicture("photo", shown))


async def _from_form(
    request: Request, settings: Settings, repeatable: Collection[str], pictures: tuple[PictureName, ...]
) -> QueryRequest:
    form = await read_form(request, settings.max_body_bytes, settings.body_timeout_s, max_files=_FORM_FILES)
    try:
        for name in [one for one in form.files if one not in pictures]:
            raise unknown_field(name, pictures)
        sent = {name: await _picture(form.files.get(name, []), name, form.fields) for name in pictures}
    finally:
        await form.close()
    values: dict[str, Any] = {}
    for name, several in form.fields.items():
        if name not in repeatable and len(several) > 1:
            raise RequestError("repeated_field", f"The field `{name[:40]}` is given more than once.")
        values[name] = several if name in repeatable else several[0]
    sketch, photo = (None if (file := sent.get(name)) is None else SentPicture(name, file) for name in PICTURES)
    return QueryRequest(values, sketch, photo, from_json=False)


async def _picture(files: list[UploadFile], name: PictureName, fields: Collection[str]) -> bytes | None:
    """The bytes of the form's one picture of a kind; None if there is none."""
    if name in fields:
        raise RequestError(f"no_{name}", f"The field `{name}` came as text; send a file (with curl: {name}=@cat.png).")
    if len(files) > 1:
        several = {"sketch": "several_sketches", "photo": "several_photos"}[name]
        raise RequestError(several, f"Send one {name}; the form has {len(files)}.")
    return _not_empty(await files[0].read(), name) if files else None


def _not_empty(data: bytes, name: PictureName) -> bytes:
    if not data:
        raise RequestError("empty_file", f"The {name}'s file is empty.")
    return data
