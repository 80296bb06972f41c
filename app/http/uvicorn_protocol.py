"""uvicorn's HTTP protocol, with bounds on headers, silence and slow reading.

By itself, uvicorn waits for headers without a time limit and keeps all that arrive. It treats trailers as headers. It
reads a body to its end even if nobody wants it, queues any number of pipelined requests, and waits without a time limit
for a client that does not read its answer. docs/decisions.md says how that was measured.
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

_LINGER_S = 5.0  # time a client has to read its answer before the rest of its body is refused
_MOST_PIPELINED = 64  # requests sent before the one ahead is answered
_FRAMING = 8  # bytes of framing allowed per byte of a body; chunks of one byte need 5


class _HeadersTooLargeError(Exception):
    """Raised inside the parser to make it stop."""


class _TooManyPipelinedError(Exception):
    """Raised inside the parser to make it stop."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        settings: the bounds.
        quiet: the connections that are between two requests, the one silent for longest first.
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
        """A client connected."""
        super().connection_made(transport)
        # Whatever the system's own buffer does not take at once counts as unread.
        transport.set_write_buffer_limits(high=0)
        self._wait_for_headers()
        self._mark_quiet()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended, from either side."""
        self.quiet.pop(self, None)
        for timer in (self._patience, self._reading, self._lingering):
            if timer is not None:
                timer.cancel()
        # uvicorn tells only the request that came last; an earlier one would write to a connection that is gone.
        for cycle in (*self._unanswered, *(waiting for waiting, _ in self.pipeline)):
            cycle.disconnected = not cycle.response_complete
            cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the bytes, and count what the parser keeps to itself: unfinished headers, trailers, framing."""
        message, was_in_head, body_before = self._messages, self._in_head, self._body_bytes
        super().data_received(data)
        # Bytes that end one message and begin another count for neither.
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
        self.scope["state"]["cut"] = self.transport.abort  # for an answer that has begun and cannot become an error

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; after the body, a trailer."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self.settings.max_header_bytes:
            raise _HeadersTooLargeError
        if self._in_head:  # a proxy in front has not checked trailers, so they must not count as headers
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request can be served."""
        self._in_head, self._head_bytes = False, 0
        self._stop_waiting()
        self.quiet.pop(self, None)
        if len(self.pipeline) >= _MOST_PIPELINED:
            self.transport.abort()
            raise _TooManyPipelinedError
        super().on_headers_complete()
        self._unanswered = [cycle for cycle in (*self._unanswered, self.cycle) if not cycle.response_complete]

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request has arrived."""
        self._message_done = True
        if self._lingering is not None:
            self._lingering.cancel()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is written. If the body is still arriving, its client gets a few more seconds."""
        super().on_response_complete()
        if not self._message_done:
            self._lingering = self.loop.call_later(_LINGER_S, self.transport.abort)
        self._mark_quiet()

    def pause_writing(self) -> None:
        """The client has not read everything that was written."""
        super().pause_writing()
        self._reading = self.loop.call_later(self.settings.answer_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read everything."""
        if self._reading is not None:
            self._reading.cancel()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn passes the same words each time
        """Answer as the rest of the service answers errors."""
        if self.transport.is_closing():
            return
        if self._head_bytes > self.settings.max_header_bytes:
            self._refuse_headers()
        else:
            self._answer(problem("malformed_request", 400, "This is not a valid HTTP request."))

    def _refuse_headers(self) -> None:
        limit = f"The headers are larger than the {self.settings.max_header_bytes:,} bytes allowed."
        self._answer(problem("headers_too_large", 431, limit))

    def _answer(self, document: dict[str, Any]) -> None:
        """Write an error and end the connection. In the middle of another answer, only end it."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.abort()
            return
        body = json.dumps(document).encode()
        headers = [*SECURITY_HEADERS, (b"content-type", PROBLEM_JSON.encode()), (b"connection", b"close")]
        headers.append((b"content-length", str(len(body)).encode()))
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[document["status"]] + lines + b"\r\n" + body)
        self.transport.close()

    def _mark_quiet(self) -> None:
        """Note that this connection is between requests. If too many are, end the one that has been so for longest."""
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
    """The protocol for one server with these settings."""
    return type("Protocol", (BoundedProtocol,), {"settings": settings, "quiet": OrderedDict()})
