"""Whether a search would be answered, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.service.serving.served_version import ServedVersion


@dataclass(frozen=True)
class Readiness:
    """Whether a search would be answered, and if not, why; or what else is wrong."""

    status: Literal["ready", "starting", "failed", "draining"]
    reason: str | None = None


def readiness_of(served: ServedVersion, but: str | None) -> Readiness:
    """Whether a version that is loaded answers searches; `but` says what else is wrong."""
    if (away := served.snapshot.recall_away) is not None:
        return Readiness("failed", reason=f"{away}.")
    return Readiness("ready", reason=but)
