"""What listeners are told as it changes: which version is served, with how many photos, and how far a build is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass

from app.service.changes.gallery_changes import GalleryChanges
from app.service.changes.progress import Standing
from app.service.serving.served_gallery import ServedGallery
from app.service_errors import BusyError

_LOOK_EVERY_S = 0.2  # a person sees no difference, and nobody is told of each photo of a build


@dataclass(frozen=True)
class News:
    """How the gallery stands.

    Attributes:
        version: that is served; None while there is none.
        photos: in that version.
        building: progress of a change of the gallery, or None.
    """

    version: str | None
    photos: int
    building: Standing | None


def news_of(gallery: ServedGallery, changes: GalleryChanges) -> News:
    """How a gallery stands now."""
    served, building = gallery.current, changes.progress
    if served is None:
        return News(None, 0, building)
    return News(served.snapshot.version, len(served.snapshot), building)


class Listeners:
    """Tells each listener how the gallery stands, at first and whenever that has changed.

    Args:
        now: how it stands.
        ending: whether the service ends; then every listener is let go, so that none delays the end.
        limit: most listeners at once.
        retry_after_s: seconds after which one that found no room should try again.
    """

    def __init__(self, now: Callable[[], News], ending: Callable[[], bool], limit: int, retry_after_s: int) -> None:
        self._now, self._ending, self._limit, self._retry_after_s = now, ending, limit, retry_after_s
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold a listener's place while the block runs.

        Raises:
            BusyError: `too_many_listeners`; `closing`.
        """
        if self._ending():
            raise BusyError("closing", "The service is shutting down; try again later.", self._retry_after_s)
        if self._count >= self._limit:
            text = "As many clients as may listen to this service do so; try again later, or ask GET /gallery."
            raise BusyError("too_many_listeners", text, self._retry_after_s)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    async def listen(self) -> AsyncGenerator[News, None]:
        """How the gallery stands, now and after each change, until the service ends."""
        told: News | None = None
        while not self._ending():
            if (now := self._now()) != told:
                yield now
                told = now
            await asyncio.sleep(_LOOK_EVERY_S)
