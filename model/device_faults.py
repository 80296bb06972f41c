"""What went wrong on a device: its memory is short, which passes, or it is lost, which a restart alone mends."""

from __future__ import annotations

import logging

import torch

_log = logging.getLogger(__name__)
_said = False
_SHORT = ("out of memory", "_ALLOC_FAILED", "_ALLOCATION_FAILED", "can't allocate memory")
"""PyTorch has a class for its own allocator's shortage alone. CUDA, cuBLAS and cuDNN tell theirs in words, and so does
PyTorch's allocator of host memory."""
_PERHAPS_SHORT = ("unable to find an engine", "_STATUS_NOT_INITIALIZED")
"""What PyTorch says of a convolution whose workspace did not fit, and libraries of CUDA that had no memory to begin
with. Either may have other causes."""
_LITTLE = 8  # free memory below this part of a GPU's makes those shortages


def is_memory_short(error: BaseException) -> bool:
    """Whether memory, of a device or of the host, was too short for what was tried."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = str(error)
    return any(words in text for words in _SHORT) or (any(words in text for words in _PERHAPS_SHORT) and _little_free())


def _little_free() -> bool:
    """Whether a GPU that this process has tensors on has little free memory."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        used = [number for number in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(number)]
        return any(free < total // _LITTLE for free, total in map(torch.cuda.mem_get_info, used))
    except RuntimeError:  # a lost one is not short
        return False


def is_device_lost(error: BaseException) -> bool:
    """Whether this process can use its device no more."""
    return isinstance(error, torch.AcceleratorError) and not is_memory_short(error)


def free_cached_memory() -> bool:
    """Give the GPU memory that PyTorch keeps for later back to the device. Without a GPU there is nothing to do.

    While a CUDA graph is being recorded, PyTorch raises an error here, and PyTorch 2.11 does so for as long as the
    process lives after one failed to be recorded. Then there is no more to be had, which is said once.

    Returns:
        whether it could be given back.
    """
    global _said  # noqa: PLW0603 - one process has one allocator
    try:
        torch.cuda.empty_cache()
    except RuntimeError as error:
        if not _said:
            _said = True
            said = (str(error).splitlines() or [""])[0]
            _log.warning("PyTorch cannot give back unused GPU memory (%s)", said)
        return False
    return True
