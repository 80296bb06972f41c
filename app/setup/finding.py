"""The outcome of one check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: what was looked at.
        verdict: "warning" works, "problem" does not.
        says: what was found.
        mend: what to do; "" where there is nothing to mend.
    """

    check: str
    verdict: Verdict
    says: str
    mend: str = ""
