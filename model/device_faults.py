"""What went wrong on a device: its memory is short, which passes, or it is lost, which a restart alone mends."""

from __future__ import annotations

import torch

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
