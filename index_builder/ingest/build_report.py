"""Where a build stands, and what it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from index_builder.ingest.scan import Skipped


@dataclass(frozen=True)
class BuildProgress:
    """Where a build stands.

    Attributes:
        done, total: files read, and files to read.
        skipped: files seen and passed over so far.
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
        added, changed, unchanged, removed: numbers of photos; `changed` ones have a new content and a new id.
        skipped: every file and folder that was passed over, with the reason.
        version: of the gallery afterwards.
        photos: that the gallery has afterwards.
        seconds: that it took.
        added_ids: ids of the added and changed photos, kept only by `add_photos`.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    version: str = ""
    photos: int = 0
    seconds: float = 0.0
    added_ids: list[str] = field(default_factory=list)


OnProgress = Callable[[BuildProgress], None]
