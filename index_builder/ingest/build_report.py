"""Where a build stands, and what it did."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from index_builder.scanning.passed_over import Kind, Report, Skipped, Tally
from index_builder.store.folder_looks import Held


@dataclass(frozen=True)
class BuildProgress:
    """Where a build stands.

    Attributes:
        done, total: files read, and files to read.
        skipped: files seen and passed over so far, without what a rule excludes.
        rate: files per second since reading began.
        seconds_left: at that rate; None before the first.
    """

    done: int
    total: int
    skipped: int
    rate: float
    seconds_left: float | None


@dataclass
class BuildReport:
    """What a command did.

    Attributes:
        added, changed, moved, unchanged, removed: numbers of photos. `changed` ones have a new content and a new id;
            `moved` ones have a new path and nothing else.
        skipped: what was passed over because something is wrong with it, or because it is no photo.
        excluded: what was passed over by a rule.
        held: photos that stay although their files were not found, by folder and with the reason.
        version: of the gallery afterwards.
        photos: that the gallery has afterwards.
        seconds: that it took.
        added_ids: ids of the added and changed photos, kept only by `add_photos`.
        on_passed_over: also told of every file and folder that was passed over.
    """

    added: int = 0
    changed: int = 0
    moved: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: Tally = field(default_factory=Tally)
    excluded: Tally = field(default_factory=Tally)
    held: tuple[Held, ...] = ()
    version: str = ""
    photos: int = 0
    seconds: float = 0.0
    added_ids: list[str] = field(default_factory=list)
    on_passed_over: Report | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def indexed(self) -> int:
        """Files that this command found in order: photos of the gallery now."""
        return self.added + self.changed + self.moved + self.unchanged

    @property
    def seen(self) -> int:
        """Every file that was listed, and every folder that was not entered: each is one of the three."""
        return self.indexed + len(self.skipped) + len(self.excluded)

    def values(self) -> dict[str, Any]:
        """As JSON; what was passed over is summed up by reason."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.repr}
        own["held"] = [asdict(one) for one in self.held]
        return {**own, "skipped": self.skipped.values(), "excluded": self.excluded.values(), "seen": self.seen}

    def pass_over(self, skipped: Skipped) -> None:
        """Count a file or folder that does not become part of the gallery; from any thread."""
        with self._lock:
            (self.excluded if skipped.kind is Kind.RULE else self.skipped).append(skipped)
            if self.on_passed_over is not None:
                self.on_passed_over(skipped)


OnProgress = Callable[[BuildProgress], None]
