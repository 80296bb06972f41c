"""Bytes from a client -> fields, files and images, each under its limit before any memory is spent on it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import math
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Never

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from app.service.photo_files import is_full_disk
from app.service_errors import BodyTimeoutError, BodyTooLargeError, ClientLeftError, RequestError

_MAX_FIELDS = 64
_MAX_FIELD_BYTES = 64_000
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_HALF_A_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")  # escapes of surrogates, most of them rightly in pairs


@dataclass
class Form:
    """A parsed form: `fields` keeps repeated values in order; `files` are spooled and closed with the form."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[UploadFile]] = field(default_factory=dict)

    async def close(self) -> None:
        """Give the spooled files back."""
        for several in self.files.values():
            for file in several:
                await file.close()


class _InMemoryParser(MultiPartParser):
    spool_max_size = 1 << 30  # the body's own limit is smaller: a search never touches the disk


async def _counted(request: Request, limit: int, timeout_s: float, *, in_memory: bool) -> AsyncGenerator[bytes, None]:
    """The body's chunks, as long as they stay under `limit` bytes and arrive within `timeout_s` seconds altogether."""
    declared = request.headers.get("content-length", "")
    too_large = BodyTooLargeError(f"The body is larger than the {limit:,} bytes allowed.", limit_bytes=limit)
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    deadline = asyncio.get_running_loop().time() + timeout_s
    received = 0
    chunks = request.stream()
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise BodyTimeoutError(f"The body took longer than {timeout_s:g} seconds to arrive.") from None
        except ClientDisconnect:
            raise ClientLeftError("The connection was closed before the body was complete.") from None
        received += len(chunk)
        if received > limit:
            raise too_large
        if in_memory:
            request.scope["state"]["held"].take(len(chunk))
        yield chunk


async def read_body(request: Request, limit: int, timeout_s: float) -> bytes:
    """The whole body in memory.

    Raises:
        BodyTooLargeError, BodyTimeoutError, ClientLeftError: see `app.service_errors`.
        BusyError: `bodies_full`.
    """
    async with contextlib.aclosing(_counted(request, limit, timeout_s, in_memory=True)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def read_form(request: Request, limit: int, timeout_s: float, *, max_files: int, in_memory: bool = True) -> Form:
    """A multipart form, in UTF-8; the caller closes it.

    Raises:
        RequestError: `malformed_form`; `disk_full`: no room for temporary files.
        BodyTooLargeError, BodyTimeoutError, ClientLeftError: see `app.service_errors`.
    """
    # Any codec of Python's could be named: punycode takes seconds for a field, and all the while nobody is answered.
    if _charset(request).lower() not in _CHARSETS:
        raise RequestError("malformed_form", "Forms are read as UTF-8; send no other charset.", 400)
    async with contextlib.aclosing(_counted(request, limit, timeout_s, in_memory=in_memory)) as chunks:
        kind = _InMemoryParser if in_memory else MultiPartParser
        parser = kind(
            request.headers, chunks, max_files=max_files, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES
        )
        spooled = parser._files_to_close_on_error
        try:
            parsed = await parser.parse()
        except MultiPartException as error:
            raise RequestError("malformed_form", f"The form cannot be read: {error.message}", 400) from None
        except OSError as error:
            if is_full_disk(error):
                raise RequestError("disk_full", "There is no room left for what you send.", 507) from None
            raise
    if len(spooled) > sum(isinstance(value, UploadFile) for _, value in parsed.multi_items()):
        for file in spooled:
            file.close()
        raise RequestError("malformed_form", "The form ends in the middle of a file.", 400)
    form = Form()
    for name, value in parsed.multi_items():
        if isinstance(value, UploadFile):
            form.files.setdefault(name, []).append(value)
        else:
            form.fields.setdefault(name, []).append(value)
    return form


def _charset(request: Request) -> str:
    _, options = parse_options_header(request.headers.get("content-type", ""))
    return options.get(b"charset", b"utf-8").decode("latin-1")


def media_type(request: Request) -> str:
    """The body's media type without its parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def parse_json(body: bytes, most_values: int = 1_000_000) -> dict[str, Any]:
    """A JSON object.

    Args:
        body: its text in UTF-8.
        most_values: that it may hold; counted by commas before anything is parsed, because Python's parser keeps the
            whole process waiting, and ten megabytes of empty lists take it seconds and gigabytes.

    Raises:
        RequestError: `malformed_json` (no JSON, or no object), `not_finite` (NaN or an infinity), `too_many_points`.
    """
    if body.count(b",") > most_values:
        raise RequestError("too_many_points", f"The body holds more than the {most_values:,} values allowed.")

    def refuse(constant: str) -> Never:
        raise RequestError("not_finite", f"{constant} is not a number that can be drawn or compared.")

    try:
        text = body.decode(json.detect_encoding(body))
        value = json.loads(text, parse_constant=refuse)
        if _HALF_A_CHARACTER.search(text):  # no answer that repeats it could be written
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise RequestError("malformed_json", "The body is not valid JSON.", 400) from None
    if not isinstance(value, dict):
        raise RequestError("malformed_json", "The body must be a JSON object.", 400)
    return value


def parse_strokes(value: Any, max_strokes: int, max_points: int) -> list[list[list[float]]]:
    """Quick, Draw! strokes: a list of [[x, ...], [y, ...]] (further rows, such as times, are ignored).

    Raises:
        RequestError: `malformed_strokes`, `not_finite`, `too_many_strokes`, `too_many_points`.
    """
    shape = "`strokes` must be a list of strokes [[x, ...], [y, ...]] with as many x as y."
    if not isinstance(value, list) or not value:
        raise RequestError("malformed_strokes", shape)
    if len(value) > max_strokes:
        raise RequestError("too_many_strokes", f"The drawing has {len(value):,} strokes; {max_strokes:,} are allowed.")
    strokes: list[list[list[float]]] = []
    points = 0
    for stroke in value:
        if (
            not isinstance(stroke, list)
            or not 2 <= len(stroke) <= 3
            or not all(isinstance(r, list) for r in stroke[:2])
        ):
            raise RequestError("malformed_strokes", shape)
        x, y = stroke[:2]
        if len(x) != len(y) or not x:
            raise RequestError("malformed_strokes", shape)
        points += len(x)
        if points > max_points:
            raise RequestError("too_many_points", f"The drawing has more than the {max_points:,} points allowed.")
        strokes.append([[_coordinate(v) for v in x], [_coordinate(v) for v in y]])
    return strokes


def _coordinate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError("malformed_strokes", "The coordinates of `strokes` must be numbers.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or abs(number) > 1e6:
        raise RequestError("not_finite", "The coordinates of `strokes` must be finite and at most a million.")
    return number


def parse_data_uri(value: Any) -> bytes:
    """The bytes of a `data:` URI with base64; any other URI is refused, nothing is ever fetched.

    Raises:
        RequestError: `malformed_image`.
    """
    wrong = RequestError("malformed_image", "`image` must be a URI of the form data:image/png;base64,...")
    if not isinstance(value, str) or not value[:5].lower() == "data:":
        raise wrong
    head, comma, data = value.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise wrong
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise wrong from None
