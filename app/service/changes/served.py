"""What changes need of the version that is served: where its photos lie, and that the next one is taken."""

from __future__ import annotations

from typing import Protocol

from app.service.serving.served_version import ServedVersion


class Served(Protocol):
    """The gallery as a service serves it, see `app.service.serving.served_gallery.ServedGallery`."""

    @property
    def current(self) -> ServedVersion | None:
        """The version being served, if any."""
        ...

    async def refresh(self) -> bool:
        """Serve the latest version; whether that is another one than before."""
        ...


class NothingServed:
    """For a process that only writes: nothing is loaded."""

    current: ServedVersion | None = None

    async def refresh(self) -> bool:
        """Nothing to do."""
        return False
