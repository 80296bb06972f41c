"""The body of an upload of photos: a form with one file or several."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import UploadFile
from starlette.requests import Request

from app.http.requests.bodies import media_type, read_form
from app.http.requests.unknown_names import unknown_field
from app.service_errors import RequestError
from app.settings import Settings

UPLOAD_BODY = {
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


@asynccontextmanager
async def uploaded_photos(request: Request, settings: Settings) -> AsyncIterator[list[UploadFile]]:
    """The files of the form, at least one; they are closed when the block ends.

    Raises:
        RequestError: `unsupported_media_type`, `unknown_field`, `no_photo`, `too_many_files`; and as `read_form`.
    """
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
        yield sent
    finally:
        await form.close()
