"""What went wrong on a device: its memory is short, which passes, or it is lost, which a restart alone mends."""

from __future__ import annotations

import logging

import torch

_log = logging.getLogger(__name__)
_said = False
_SHORT = ("out of memory", "_ALLOC_FAILED", "can't allocate memory")
"""PyTorch has a class for its own allocator's shortage alone. CUDA, cuBLAS and cuDNN tell theirs in words, and so does
PyTorch's allocator of host memory."""


def is_memory_short(error: BaseException) -> bool:
    """Whether memory, of a device or of the host, was too short for what was tried."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SHORT)


def is_device_lost(error: BaseException) -> bool:
    """Whether this process can use its device no more."""
    return isinstance(error, torch.AcceleratorError) and not is_memory_short(error)


def free_cached_memory() -> None:
    """Give the GPU memory that PyTorch keeps for later back to the device, as far as it can be.

    After a CUDA graph failed to be recorded, PyTorch 2.11 raises an error here for as long as the process lives. Then
    there is no more to be had, which is said once.
    """
    global _said  # noqa: PLW0603 - one process has one allocator
    try:
        torch.cuda.empty_cache()
    except RuntimeError as error:
        if not _said:
            _said = True
            said = (str(error).splitlines() or [""])[0]
            _log.warning("PyTorch cannot give back unused GPU memory; only a restart does (%s)", said)
