"""Work on threads that the end of the process does not wait for: it only reads, or survives being cut at any point."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
_at_work: set[threading.Thread] = set()


async def on_unjoined_thread(work: Callable[[], T], name: str) -> T:
    """What `work` returns or raises. If nobody waits for it any more, it goes on until the process ends.

    Args:
        work: must not leave anything half done that a kill would harm.
        name: of the thread.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # also what libraries written in Rust raise
            _at_work.discard(thread)
            done.set_exception(error)
        else:
            _at_work.discard(thread)
            done.set_result(result)

    done.set_running_or_notify_cancel()  # so that whoever leaves cancels the wait, and not the future
    thread = threading.Thread(target=run, name=name, daemon=True)
    _at_work.add(thread)
    thread.start()
    return await asyncio.wrap_future(done)


def any_at_work() -> bool:
    """Whether such a thread still works. Python's own end would then cut it in the middle of native code."""
    return bool(_at_work)
