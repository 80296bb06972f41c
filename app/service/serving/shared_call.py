"""A call that everybody who asks for it at the same time waits for together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedCall(Generic[T]):
    """Awaiting it joins the call that is under way, or begins one. Whoever leaves does not end it for the others.

    Args:
        call: must not raise, because everybody may have left by then.
        name: of the task.
    """

    def __init__(self, call: Callable[[], Coroutine[Any, Any, T]], name: str) -> None:
        self._call, self._name = call, name
        self._task: asyncio.Task[T] | None = None

    @property
    def under_way(self) -> bool:
        """Whether a call has begun and not ended."""
        return self._task is not None and not self._task.done()

    async def __call__(self) -> T:
        """The result of the call."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._call(), name=self._name)
        return await asyncio.shield(self._task)

    async def until(self, enough: Callable[[T], bool]) -> T:
        """As awaiting it. If the call that was under way gave not `enough`, the result of one that began later."""
        joined = self.under_way
        result = await self()
        return await self() if joined and not enough(result) else result
