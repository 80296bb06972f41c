"""GET /gallery/events: how the gallery stands, told as it changes, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

from fastapi import APIRouter, Depends, Request
from fastapi.sse import EventSourceResponse

from app.http.access import require_read
from app.http.documented_problems import problems
from app.http.requests.unknown_names import only_known_parameters
from app.http.routes.service_of import service_of
from sketchseek_client import GalleryEvent, Progress

router = APIRouter(tags=["gallery"])


async def _place(request: Request) -> AsyncIterator[None]:
    """A dependency: holds a listener's place until the answer has ended."""
    with service_of(request).listeners.place():
        yield


@router.get(
    "/gallery/events",
    response_class=EventSourceResponse,
    responses=problems(401, 422),
    dependencies=[Depends(require_read), Depends(only_known_parameters), Depends(_place)],
    summary="How the gallery stands, as it changes",
)
async def gallery_events(request: Request) -> AsyncIterable[GalleryEvent]:
    """Server-sent events: one at once, and one after each change of version, photos or progress. It never ends."""
    async for news in service_of(request).listeners.listen():
        building = news.building
        yield GalleryEvent(
            version=news.version,
            photos=news.photos,
            building=None
            if building is None
            else Progress(step=building.step, done=building.done, total=building.total),
        )
