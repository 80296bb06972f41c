"""Whether a GPU can be computed on, found out by computing on it."""

from __future__ import annotations

import os
import warnings
from functools import cache

import torch

NO_GPU = "torch finds no such GPU"
LEAST_FREE_BYTES = 256_000_000
"""Free memory below which a GPU is of no use to a network."""

_MAKE_ROOM = "stop what else uses it and start again, or choose another device"


@cache
def why_unusable(device: str) -> str | None:
    """Why nothing can be computed on a GPU, with what to do about it; None if a small kernel ran there.

    The answer is kept, so asking again costs nothing, and all of a process agrees. A new start finds out anew.

    Args:
        device: "cuda" or "cuda:1".
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    if not there:
        return (
            f"the GPU's driver does not work with this torch ({_short(said[0].message)}): update it" if said else NO_GPU
        )
    if (torch.device(device).index or 0) >= torch.cuda.device_count():
        return NO_GPU
    if "LOCAL_RANK" in os.environ:
        return None  # torchrun's processes must agree on a kind of device; each takes a GPU of its own later
    try:
        _run_kernel(device)
        free = int(torch.cuda.mem_get_info(device)[0])
    except RuntimeError as error:  # torch's own errors of CUDA and of memory are among these
        return _explained(device, error)
    if free < LEAST_FREE_BYTES:
        return f"{device} has only {free / 1e6:.0f} MB of memory free: {_MAKE_ROOM}"
    return None


def _run_kernel(device: str) -> None:
    values = torch.ones(64, 64, device=device)
    if float((values @ values).sum()) != 64.0**3:
        raise RuntimeError("a small matrix product came out wrong")


def _explained(device: str, error: RuntimeError) -> str:
    text = str(error).lower()
    if "no kernel image" in text:
        major, minor = torch.cuda.get_device_capability(device)
        return (
            f"this torch has no kernels for {torch.cuda.get_device_name(device)} (compute capability {major}.{minor}): "
            "install a torch that has, or use device=cpu"
        )
    if "out of memory" in text:
        return f"{device} has no memory free: {_MAKE_ROOM}"
    return f"{device} does not compute ({_short(error)}): update its driver, or restart the machine"


def _short(error: object) -> str:
    return str(error).strip().partition("\n")[0].rstrip(". ")
