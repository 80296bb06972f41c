"""uvicorn's protocol for HTTP with what it leaves open: bounds on headers, on silence and on slow reading.

uvicorn waits for headers for ever and keeps as many of them as come; takes trailers for headers; reads on for ever what
nobody wants any more; lines up as many requests as come one behind another; and waits for ever for a client that does
not read its answer.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.http.access import SECURITY_HEADERS
from app.http.problems import PROBLEM_JSON, problem
from app.settings import Settings

_LINGER_S = 5.0  # for a client to read its answer before the rest of its body is refused
_MOST_BEHIND = 64  # requests sent behind one that is not answered yet; uvicorn takes as many as come
_FRAMING = 8  # bytes of framing per byte of a body: chunks of one byte have 5


class _HeadersTooLargeError(Exception):
    """Raised inside the parser, which gives up then."""


class _TooManyBehindError(Exception):
    """Raised inside the parser, which gives up then."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        settings: the bounds.
        quiet: the connections between two requests, the one silent for longest first.
    """

    settings: ClassVar[Settings]
    quiet: ClassVar[OrderedDict[BoundedProtocol, None]]

    _patience: asyncio.TimerHandle | None = None  # until headers are complete
    _reading: asyncio.TimerHandle | None = None  # until what was written has been read
    _lingering: asyncio.TimerHandle | None = None  # until a body nobody wants has ended
    _unanswered: Sequence[RequestResponseCycle] = ()
    _in_head = False
    _message_done = True
    _messages = _head_bytes = _framing_bytes = _body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came."""
        super().connection_made(transport)
        # Anything that the system's own buffer does not take at once counts as unread.
        transport.set_write_buffer_limits(high=0)
        self._wait_for_headers()
        self._is_quiet()

    def connection_lost(self, exc: Exception | None) -> None:
        """It left, or was let go."""
        self.quiet.pop(self, None)
        for timer in (self._patience, self._reading, self._lingering):
            if timer is not None:
                timer.cancel()
        # uvicorn tells the request that came last alone, and one before it would write to a connection that is gone.
        for cycle in (*self._unanswered, *(waiting for waiting, _ in self.pipeline)):
            cycle.disconnected = not cycle.response_complete
            cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and count what the parser keeps for itself: unfinished headers, trailers, framing."""
        message, was_in_head, body_before = self._messages, self._in_head, self._body_bytes
        super().data_received(data)
        # What came with the end of one message and the beginning of another counts for neither.
        if message != self._messages or self._message_done or self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
        elif not was_in_head:
            self._framing_bytes += len(data) - (self._body_bytes - body_before)
        if max(self._head_bytes, self._framing_bytes - _FRAMING * self._body_bytes) > self.settings.max_header_bytes:
            self._refuse_headers()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head, self._message_done = True, False
        self._messages += 1
        self._head_bytes = self._framing_bytes = self._body_bytes = 0
        self._wait_for_headers()
        super().on_message_begin()
        self.scope["state"]["cut"] = self.transport.abort  # ends an answer that can no longer be an error

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or after the body a trailer."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self.settings.max_header_bytes:
            raise _HeadersTooLargeError
        if self._in_head:  # trailers are none of the headers that a proxy in front has checked
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request can be served."""
        self._in_head, self._head_bytes = False, 0
        self._stop_waiting()
        self.quiet.pop(self, None)
        if len(self.pipeline) >= _MOST_BEHIND:
            self.transport.abort()
            raise _TooManyBehindError
        super().on_headers_complete()
        self._unanswered = [cycle for cycle in (*self._unanswered, self.cycle) if not cycle.response_complete]

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has come as a whole."""
        self._message_done = True
        if self._lingering is not None:
            self._lingering.cancel()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Answered; a body that is still coming is not waited for much longer."""
        super().on_response_complete()
        if not self._message_done:
            self._lingering = self.loop.call_later(_LINGER_S, self.transport.abort)
        self._is_quiet()

    def pause_writing(self) -> None:
        """The client has not read everything."""
        super().pause_writing()
        self._reading = self.loop.call_later(self.settings.answer_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It has."""
        if self._reading is not None:
            self._reading.cancel()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words for all of them
        """As the rest of the service answers errors."""
        if self.transport.is_closing():
            return
        if self._head_bytes > self.settings.max_header_bytes:
            self._refuse_headers()
        else:
            self._answer(problem("malformed_request", 400, "This is no valid HTTP request."))

    def _refuse_headers(self) -> None:
        limit = f"The headers are larger than the {self.settings.max_header_bytes:,} bytes allowed."
        self._answer(problem("headers_too_large", 431, limit))

    def _answer(self, document: dict[str, Any]) -> None:
        """Write an error and end the connection; in the middle of another answer only end it."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever uvicorn declares
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.abort()
            return
        body = json.dumps(document).encode()
        headers = [*SECURITY_HEADERS, (b"content-type", PROBLEM_JSON.encode()), (b"connection", b"close")]
        headers.append((b"content-length", str(len(body)).encode()))
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[document["status"]] + lines + b"\r\n" + body)
        self.transport.close()

    def _is_quiet(self) -> None:
        """Between requests; where too many are, the one that has been for longest ends."""
        if self.transport.is_closing():
            return
        self.quiet[self] = None
        self.quiet.move_to_end(self)
        if len(self.quiet) > self.settings.max_connections:
            self.quiet.popitem(last=False)[0].transport.abort()

    def _wait_for_headers(self) -> None:
        self._stop_waiting()
        self._patience = self.loop.call_later(self.settings.body_timeout_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()


def protocol_for(settings: Settings) -> type[BoundedProtocol]:
    """The protocol of one server under these settings."""
    return type("Protocol", (BoundedProtocol,), {"settings": settings, "quiet": OrderedDict()})
