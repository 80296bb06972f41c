"""Whether a drawing has so little ink that it tells hardly anything: a dot, a short line."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from model.config import PreprocessConfig
from model.images.cleanup.clean_drawings import mask_box
from model.images.cleanup.line_width import perimeter

LITTLE = 1.75
"""A drawing has little ink where its lines are together shorter than so many sides of its box. A straight line has 1.5,
a dot 1.7, an open angle 2.4 and a circle 3.3. Of 1 240 drawings of the validation categories, two have less, and one in
a hundred has less than 2.14."""
FILLED = 0.2
"""More of the prepared picture is ink where a large shape is filled. A dot has .05: the margin around it is larger."""


def has_little_ink(sketch: Tensor, config: PreprocessConfig) -> bool:
    """Whether a prepared sketch has little ink.

    Args:
        sketch: [3, S, S] float32 from `model.images.preprocess.sketch_tensor`: cropped to the ink, so that the size of
            a drawing on its paper says nothing.
        config: that it was prepared with.
    """
    light = (sketch.numpy() * np.array(config.std)[:, None, None] + np.array(config.mean)[:, None, None]).mean(axis=0)
    ink = np.clip(1 - light / max(float(light.max()), 1e-6), 0, 1).astype(np.float32)
    box = mask_box(ink > 0.5 * float(ink.max()))
    if box is None:
        return True
    side = max(box[2] - box[0], box[3] - box[1])
    return float(ink.mean()) < FILLED and perimeter(ink) / 2 < LITTLE * side
