"""Why a search that belongs on a GPU runs on the CPU: what an error there means, and the sentence that says so."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from model.device_faults import is_device_lost, is_memory_short

Reason = Literal["memory", "error", "lost"]
"""Why a search that belongs on a GPU runs on the CPU: no memory there, FAISS cannot use it, or the card is lost."""
SENTENCES: dict[Reason, str] = {
    "memory": "The GPU has too little free memory, so recall runs on the CPU.",
    "error": "FAISS cannot use the GPU, so recall runs on the CPU. The log says why.",
    "lost": "The GPU failed, so recall runs on the CPU until the service is restarted.",
}
_CUDA_FAILED = re.compile(r"^CUDA (driver )?error|cudaMalloc\w* error ")
"""How torch's errors of CUDA begin, and what FAISS says of an allocation. Both may name files with "cuda" in them."""


class GpuShortError(RuntimeError):
    """A card has too little free memory for what was about to be done."""


class GpuLostError(RuntimeError):
    """A card failed before; nothing on it can be used or freed."""


class FaissUnfitError(RuntimeError):
    """FAISS cannot use a card."""


@dataclass(frozen=True)
class Fault:
    """An error on a GPU, without the frames that an exception holds, and their memory.

    Attributes:
        reason: what it means.
        says: its own words.
    """

    reason: Reason
    says: str

    @staticmethod
    def of(error: BaseException) -> Fault:
        """What is kept of an error."""
        return Fault(reason_of(error), str(error).strip() or type(error).__name__)


def reason_of(error: BaseException) -> Reason:
    """What an error on a GPU means."""
    if isinstance(error, FaissUnfitError):
        return "error"
    if isinstance(error, GpuShortError) or is_memory_short(error):
        return "memory"
    lost = isinstance(error, GpuLostError) or is_device_lost(error) or _CUDA_FAILED.search(str(error))
    return "lost" if lost else "error"
