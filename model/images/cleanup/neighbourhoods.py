"""Morphology and counts over square windows.

NumPy alone: `scipy.ndimage` and OpenCV give the same numbers, and docs/decisions.md says what they cost.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Mask: TypeAlias = NDArray[np.bool_]


def running(values: NDArray[Any], window: int, reduce: np.ufunc) -> NDArray[Any]:
    """Running `reduce` (maximum, minimum, logical_or...) over an odd window along both axes of [height, width].

    Beyond the border, the border pixel counts. The span doubles in each step: log2(window) steps per axis.
    """
    for axis in (0, 1):
        edges = [(0, 0), (0, 0)]
        edges[axis] = (window // 2, window // 2)
        values = np.moveaxis(np.pad(values, edges, mode="edge"), axis, 0)
        span = 1
        while span < window:
            step = min(span, window - span)
            values = reduce(values[:-step], values[step:])
            span += step
        values = np.moveaxis(values, 0, axis)
    return np.ascontiguousarray(values)


def grown(mask: Mask, window: int) -> Mask:
    """The pixels with a set pixel in the window around them."""
    return running(mask, window, np.logical_or)


def count_set(mask: Mask, window: int) -> NDArray[np.uint8]:
    """[height, width]: how many pixels are set in the window around each; none beyond the border.

    Args:
        mask: [height, width].
        window: odd, at most 15, so that a count fits one byte.
    """
    count = np.pad(mask, window // 2).view(np.uint8)
    for axis in (0, 1):
        length = count.shape[axis] - window + 1
        shifted = np.moveaxis(count, axis, 0)
        count = np.moveaxis(sum((shifted[k : k + length] for k in range(1, window)), shifted[:length]), 0, axis)
    return count


def reached(seeds: Mask, passable: Mask) -> Mask:
    """The passable pixels that touch a passable seed, directly or through other passable pixels."""
    found = seeds & passable
    while True:
        more = grown(found, 3) & passable
        if np.array_equal(more, found):
            return found
        found = more
