"""What a scan or a build passed over, summed up by reason, in memory that does not grow with the number of files."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

NAMED = 5
"""Files that are named for each reason."""
_MOST_REASONS = 64
_MOST_ENDINGS = 32
OTHER_REASONS = "other reasons"
OTHER_ENDINGS = "others"
NO_ENDING = "without an ending"
AN_IGNORE_FILE = "an ignore file"


class Kind(StrEnum):
    """What a file or folder was passed over for."""

    FAULT = "fault"
    """Something to mend: it is damaged, unreadable, or leads nowhere."""
    NO_PHOTO = "no photo"
    """By its name it is something else, such as a sidecar file."""
    RULE = "rule"
    """A rule excludes it: one of the defaults, one of the user's, or that each folder is part of a gallery once."""


@dataclass(frozen=True)
class Skipped:
    """A file or folder that did not become part of the gallery, and why.

    Attributes:
        path: relative to the photos' folder, as text.
        reason: a phrase in lower case.
        kind: whether that is a fault.
        unknown: it could not be looked at, so what the gallery has of it, or below it, may still be right.
    """

    path: str
    reason: str
    kind: Kind = Kind.FAULT
    unknown: bool = False


Report = Callable[[Skipped], None]


@dataclass
class ReasonCount:
    """How many were passed over for one reason.

    Attributes:
        reason: of the first; numbers in it may differ for the others.
        kind: as of `Skipped`.
        count: files and folders.
        first: paths of the first few.
        endings: for `Kind.NO_PHOTO`, how many have each ending.
    """

    reason: str
    kind: Kind
    count: int = 0
    first: list[str] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)

    def values(self) -> dict[str, Any]:
        """As JSON."""
        values: dict[str, Any] = {"reason": self.reason, "kind": self.kind.value, "count": self.count}
        if self.endings:
            values["endings"] = dict(self.endings.most_common())
        return {**values, "first": self.first}


class Tally:
    """Counts what was passed over, by reason. `len` is the number of files and folders.

    Reasons that differ only in their numbers count as one, so that neither sizes nor line numbers make many of one.
    """

    def __init__(self) -> None:
        self._count = 0
        self._reasons: dict[tuple[Kind, str], ReasonCount] = {}

    def __len__(self) -> int:
        return self._count

    def append(self, skipped: Skipped) -> None:
        """Count one."""
        self._count += 1
        reason, key = skipped.reason, (skipped.kind, _NUMBERS.sub("0", skipped.reason))
        if key not in self._reasons and len(self._reasons) >= _MOST_REASONS:
            reason, key = OTHER_REASONS, (skipped.kind, OTHER_REASONS)
        one = self._reasons.get(key)
        if one is None:
            one = self._reasons[key] = ReasonCount(reason, skipped.kind)
        one.count += 1
        if len(one.first) < NAMED:
            one.first.append(skipped.path)
        if skipped.kind is Kind.NO_PHOTO:
            ending = os.path.splitext(skipped.path)[1].lower() or NO_ENDING  # noqa: PTH122 - called for every sidecar
            if ending not in one.endings and len(one.endings) >= _MOST_ENDINGS:
                ending = OTHER_ENDINGS
            one.endings[ending] += 1

    def reasons(self, kind: Kind | None = None) -> list[ReasonCount]:
        """The reasons, the most frequent first; only those of a kind if one is given."""
        chosen = (one for one in self._reasons.values() if kind is None or one.kind is kind)
        return sorted(chosen, key=lambda one: -one.count)

    def count(self, kind: Kind) -> int:
        """How many were passed over for reasons of a kind."""
        return sum(one.count for one in self.reasons(kind))

    def named(self, kind: Kind | None = None) -> Iterator[tuple[str, str]]:
        """Path and reason of the first few of each reason; only those of a kind if one is given."""
        for one in self._reasons.values():
            if kind is not None and one.kind is not kind:
                continue
            for path in one.first:
                yield path, one.reason

    def counts(self) -> dict[str, int]:
        """Reason -> number, the most frequent first: for logs."""
        return {one.reason: one.count for one in self.reasons()}

    def values(self) -> dict[str, Any]:
        """As JSON: the number, and the reasons with their first few paths."""
        return {"count": self._count, "reasons": [one.values() for one in self.reasons()]}


_NUMBERS = re.compile(r"\d+")
