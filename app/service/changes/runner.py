"""Runs changes of the gallery one at a time on a thread, serves what they made, and remembers what went wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TypeVar

from app.logs import get_logger
from app.metrics import Metrics
from app.service.changes.progress import ChangeLog, Standing
from app.service.changes.served import Served
from index_builder import BuildProgress, BuildReport
from index_builder.gallery_errors import GalleryBusyError
from model.errors import SketchseekError

T = TypeVar("T")
_log = get_logger("app.service.changes.gallery_changes")
_WHOLE = frozenset(("build", "sync"))
_SAME = frozenset(("add", "remove"))


class StoppedError(SketchseekError):
    """The process is ending. What was committed stays; the rest continues at the next start."""

    code = "closing"


class DefectError(SketchseekError):
    """A change ended in a way that nobody foresaw; the log has the traceback."""

    code = "internal_error"


class ChangeRunner:
    """One change after the other.

    Args:
        served_gallery: refreshed after every change.
        metrics: counts failures.

    Attributes:
        progress: of the current change, or None.
    """

    def __init__(self, served_gallery: Served, metrics: Metrics) -> None:
        self._served_gallery, self._metrics = served_gallery, metrics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gallery-changes")
        self._stopped = threading.Event()
        self._change_log = ChangeLog()
        self._problems: dict[str, SketchseekError] = {}
        self.progress: Standing | None = None

    @property
    def problem(self) -> SketchseekError | None:
        """What went wrong and still holds, or None; first that the gallery is not in line with its folder.

        That is mended when all of the folder was looked at, anything else by the next change of its kind. Between
        adding and removing single photos there is no difference: both write to the gallery.
        """
        kinds = sorted(self._problems, key=lambda kind: kind not in _WHOLE)
        return self._problems[kinds[0]] if kinds else None

    async def run(self, kind: str, change: Callable[[], BuildReport]) -> BuildReport:
        """Run one change, then serve its result.

        Raises:
            StoppedError: the service ends.
            SketchseekError: it failed. That is logged and counted, and `problem` says so until it is mended.
        """
        if self._stopped.is_set():
            raise StoppedError
        try:
            report = await asyncio.get_running_loop().run_in_executor(self._thread, self._patiently, change)
            self._mend(kind)
            self._change_log.report(kind, report)
            await self._serve()
        except StoppedError:
            raise
        except SketchseekError as error:
            self._problems[kind] = error
            self._metrics.gallery_failures.labels(kind).inc()
            _log.error("changing the gallery failed", change=kind, code=error.code, reason=str(error))
            raise
        finally:
            self.progress = None  # only once the result is served, or a first build would seem ready without photos
        return report

    def report(self, progress: BuildProgress) -> None:
        """Note the progress of the change that runs.

        Raises:
            StoppedError: the service ends, and the change should.
        """
        if self._stopped.is_set():
            raise StoppedError
        self.progress = Standing("encoding", progress.done, progress.total)
        self._change_log.progress(progress)

    def stop(self) -> None:
        """Make the current change stop at its next batch."""
        self._stopped.set()

    def close(self) -> None:
        """Wait for the thread to end."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _mend(self, kind: str) -> None:
        if kind in _WHOLE:
            self._problems.clear()
        for mended in _SAME if kind in _SAME else (kind,):
            self._problems.pop(mended, None)

    async def _serve(self) -> None:
        try:
            await self._served_gallery.refresh()
        except SketchseekError as error:
            _log.error("the changed gallery cannot be served", code=error.code, reason=str(error))
        except Exception as error:
            _log.error("the changed gallery cannot be served", exc_info=error)

    def _patiently(self, change: Callable[[], T]) -> T:
        """Run `change` once no other process writes to the gallery. Whatever it raises becomes a SketchseekError."""
        said = False
        while True:
            if self._stopped.is_set():
                raise StoppedError
            try:
                return change()
            except GalleryBusyError:
                if not said:
                    _log.warning("another process writes to the gallery, and is waited for")
                said = True
                self.progress = Standing("waiting for another command that writes to the gallery", 0, None)
            except SketchseekError:
                raise
            except CancelledError:  # of a step on the device, whose worker ends
                raise StoppedError from None
            except BaseException as error:  # also what libraries written in Rust raise
                _log.error("a defect ended a change of the gallery", exc_info=error)
                raise DefectError("a defect ended the change; the log has the traceback") from error
