"""How far a change of the gallery is, and what it did: for `GET /gallery` and for the log."""

from __future__ import annotations

import time
from dataclasses import dataclass

from app.logs import get_logger
from index_builder import BuildProgress, BuildReport
from index_builder.scanning.passed_over import Kind

_log = get_logger("app.service.changes.gallery_changes")
_REPORT_EVERY_S = 5.0
_WHOLE = frozenset(("build", "sync"))


@dataclass(frozen=True)
class Standing:
    """Progress of a change: the step, files done, and files in total (None while unknown)."""

    step: str
    done: int
    total: int | None

    def __str__(self) -> str:
        return f"{self.step} {self.done} of {self.total}" if self.total is not None else self.step


class ChangeLog:
    """Logs how changes go, without saying the same again and again."""

    def __init__(self) -> None:
        self._reported_at = 0.0
        self._skipped: dict[str, int] = {}
        self._held: set[tuple[str, str]] = set()

    def progress(self, progress: BuildProgress) -> None:
        """Log how far encoding is, unless that was done a moment ago."""
        now = time.monotonic()
        if progress.done < progress.total and now < self._reported_at + _REPORT_EVERY_S:
            return
        self._reported_at = now
        _log.info(
            "encoding photos",
            done=progress.done,
            total=progress.total,
            photos_per_s=round(progress.rate, 1),
            seconds_left=None if progress.seconds_left is None else round(progress.seconds_left),
        )

    def report(self, kind: str, report: BuildReport) -> None:
        """Log what a change did, and what it skipped: one line for each reason, unless the last change said so."""
        changes = report.added + report.changed + report.moved + report.removed
        event = "changed the gallery" if changes else "the gallery is up to date"
        _log.info(
            "built the gallery" if kind == "build" else event,
            change=kind,
            added=report.added,
            changed=report.changed,
            moved=report.moved,
            removed=report.removed,
            skipped=len(report.skipped),
            excluded=len(report.excluded),
            photos=report.photos,
            version=report.version,
            seconds=round(report.seconds, 2),
        )
        if kind in _WHOLE:
            self._say_held(report)
        for one in report.skipped.reasons(Kind.FAULT):
            if self._skipped.get(one.reason) != one.count:
                _log.warning("files were skipped", reason=one.reason, files=one.count, first=one.first)
                self._skipped[one.reason] = one.count

    def _say_held(self, report: BuildReport) -> None:
        """Log which folders are not believed, and which are again; each once."""
        now = {(held.place, held.code) for held in report.held}
        for held in report.held:
            if (held.place, held.code) not in self._held:
                _log.warning(
                    "photos are held: their folder is not believed",
                    folder=held.place,
                    photos=held.photos,
                    code=held.code,
                    reason=f"the folder {held.reason}",
                    advice="mount it; if the photos are gone, `sketchseek gallery sync --accept-loss`",
                )
        for place in {place for place, _ in self._held} - {place for place, _ in now}:
            _log.info("the folder is believed again", folder=place)
        self._held = now
