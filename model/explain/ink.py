"""Where a prepared sketch has ink: the patches an explanation may speak of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.config import PreprocessConfig

# A thin, anti-aliased pencil line scaled to the network's input is a light grey; paper noise is lighter still.
INK_DARKNESS = 0.2


def inked_patches(sketch: Tensor, config: PreprocessConfig, grid: int) -> NDArray[np.bool_]:
    """Which patches of a prepared sketch hold a line.

    Args:
        sketch: [3, S, S] float, normalised as `model.images.preprocess.sketch_tensor` leaves it (dark lines on white).
        config: how it was prepared; only its mean and std are read.
        grid: side G of the patch grid; S need not be a multiple of it.

    Returns:
        [G * G] bool, row by row: True where the patch's darkest pixel is darker than `INK_DARKNESS` (0 white, 1 black).
    """
    pixels = sketch.detach().float().cpu().numpy()
    mean = np.asarray(config.mean, dtype=np.float32)
    std = np.asarray(config.std, dtype=np.float32)
    darkness = (1.0 - mean.mean()) - np.tensordot(std / 3, pixels, axes=1)
    size = darkness.shape[0]
    edges = np.linspace(0, size, grid + 1).round().astype(int)
    by_rows = np.maximum.reduceat(darkness, edges[:-1], axis=0)
    by_patch = np.maximum.reduceat(by_rows, edges[:-1], axis=1)
    return np.asarray(by_patch > INK_DARKNESS).reshape(-1)
