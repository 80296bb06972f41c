"""A client that closes its connection ends the work that is done for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from app.metrics import Metrics
from app.service_errors import ClientLeftError

T = TypeVar("T")


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T], metrics: Metrics) -> T:
    """The result of `work`, which is cancelled as soon as the client closes the connection.

    Args:
        request: whose body has been read.
        work: what the client waits for.
        metrics: where clients that left are counted.

    Raises:
        ClientLeftError: nobody waits any more.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        metrics.dropped.labels("client_left").inc()
        raise ClientLeftError("The client closed the connection.")
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
