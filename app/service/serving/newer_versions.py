"""What requests wait for that need a newer version of the gallery: one look and one load for all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from app.service.serving.shared_call import SharedCall

Number = tuple[int, ...]
_LONGEST_S = 5.0


class NewerVersions:
    """Has newer versions looked for and loaded. A load may take minutes; no request waits so long.

    Args:
        latest: the latest version of the gallery, as (generation, commit); () if it cannot be known.
        take: loads that version, if it can; what is served then.
        longest_s: seconds that a request may wait, but never more than five.
    """

    def __init__(
        self,
        latest: Callable[[], Coroutine[Any, Any, Number]],
        take: Callable[[], Coroutine[Any, Any, Number]],
        longest_s: float,
    ) -> None:
        self._latest, self._take = SharedCall(latest, "look_for_version"), SharedCall(take, "take_version")
        self._longest_s = min(longest_s, _LONGEST_S)

    async def wait_for(self, wanted: Number) -> None:
        """Wait until a version or a later one is served, if the gallery has it at all, or until it takes too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._longest_s):
                if await self._latest.until(lambda latest: latest >= wanted) >= wanted:
                    await self._take.until(lambda served: served >= wanted)


def number_of(version: str) -> Number:
    """The parts of "GENERATION.COMMIT" as numbers, which compare as the versions do."""
    return tuple(map(int, version.split(".")))
