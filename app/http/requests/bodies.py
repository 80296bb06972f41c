"""From the bytes of a body to its text or its form. Each limit is checked before memory is spent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from app.service.files.photo_files import is_full_disk
from app.service_errors import BodyTimeoutError, BodyTooLargeError, ClientLeftError, RequestError

_MAX_FIELDS = 64
_MAX_FIELD_BYTES = 64_000
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


@dataclass
class Form:
    """A parsed form: `fields` keeps repeated values in order; `files` are spooled and closed with the form."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[UploadFile]] = field(default_factory=dict)

    async def close(self) -> None:
        """Delete the spooled files."""
        for several in self.files.values():
            for file in several:
                await file.close()


class _InMemoryParser(MultiPartParser):
    spool_max_size = 1 << 30  # the body's limit is smaller, so a search never touches the disk


async def _counted(request: Request, limit: int, timeout_s: float, *, in_memory: bool) -> AsyncGenerator[bytes, None]:
    """The body's chunks, as long as they stay under `limit` bytes and arrive within `timeout_s` seconds in total."""
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
    """A multipart form in UTF-8. The caller closes it.

    Raises:
        RequestError: `malformed_form`; `disk_full`: no room for temporary files.
        BodyTooLargeError, BodyTimeoutError, ClientLeftError: see `app.service_errors`.
    """
    # The parser would take any of Python's codecs. Punycode takes seconds per field and blocks the event loop.
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
