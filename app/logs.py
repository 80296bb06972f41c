"""Structured logs: one JSON object per line on stderr, each with the id of the request it belongs to.

Never logged: bodies, query strings, image bytes, keys.
"""

from __future__ import annotations

import logging
import re
import secrets
import sys
from contextvars import ContextVar
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""Id of the request being served; "-" outside any request."""

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def new_request_id(offered: str | None) -> str:
    """The id that a proxy in front gave, if it is harmless; otherwise a fresh one."""
    if offered is not None and _ACCEPTABLE.fullmatch(offered):
        return offered
    return secrets.token_hex(8)


def _add_request_id(_logger: Any, _method: str, event: EventDict) -> EventDict:
    current = request_id.get()
    if current != "-":
        event.setdefault("request_id", current)
    return event


def _drop_color_message(_logger: Any, _method: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)  # uvicorn's second copy of its message, for terminals
    return event


def configure_logging(level: str = "info", style: Literal["json", "console"] = "json") -> None:
    """Route structlog, uvicorn and every other library's log through one handler on stderr."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _add_request_id,
        _drop_color_message,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor]
    # Tracebacks without local variables: those would carry images and keys into the log.
    if style == "json":
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        last = [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = name != "uvicorn.access"  # the service writes its own access log
    # The service logs its own start and end. A library's "startup complete" would suggest that it is ready.
    for name in ("uvicorn.error", "watchfiles", "httpx2", "PIL", "faiss"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A warning for each odd byte of a form would let strangers fill the disk with log lines.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger that takes an event and its facts as keyword arguments."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
