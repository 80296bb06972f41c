"""Work in chunks that fit the device's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from model.errors import DeviceError

T = TypeVar("T")


def in_chunks(compute: Callable[[slice], T], count: int, chunk: int) -> list[T]:
    """`compute` over 0..count in slices of `chunk`, which is halved whenever the GPU's memory cannot hold one.

    Raises:
        DeviceError: not even one at a time fits.
    """
    parts: list[T] = []
    start = 0
    while start < count:
        try:
            parts.append(compute(slice(start, start + chunk)))
        except torch.OutOfMemoryError as error:
            if chunk <= 1:
                raise DeviceError("The GPU's memory does not hold one image; free some, or use device=cpu.") from error
            chunk = (chunk + 1) // 2
            torch.cuda.empty_cache()
        else:
            start += chunk
    return parts
