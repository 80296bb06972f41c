"""Drawings that are mostly ink: hatched, filled, drawn with a heavy marker, chalk that fills its board.

Clean-up takes the median for the paper. Where ink covers much of the picture, that is wrong. Here, the grey levels
are split into two tones instead (Otsu, IEEE Transactions on Systems, Man and Cybernetics 9, 1979), each measured
against the brightest paper nearby.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from model.images.cleanup.clean_drawings import Box, border, mask_box
from model.images.cleanup.neighbourhoods import Mask, count_set, grown, running

Floats = NDArray[np.float32]

DENSE_SHARE = 0.2
"""Ink covers at least this share of a dense drawing."""

_CLEAR_CONTRAST = 0.3  # between ink and paper of a clear drawing, as a share of the paper's brightness
_LEAST_CONTRAST = 0.1  # the same of a drawing that only these two tones show
_MAX_DISORDER = 0.6  # of a drawing; noise has about 0.9
_MIN_SHARPNESS = 0.3  # of a drawing; a shadow's edge has next to none
_WINDOW = 6  # paper shows in any window of this part of the longest side, or the floor stands for it
_FLOOR = 0.7  # of the brightest paper: below, an area without paper is ink
_DARKEST = 32.0  # of 255: paper is never taken for darker
_MOST_OF_BORDER, _NEARLY_ALL_OF_BORDER = 0.5, 0.9  # is dark where the canvas is, perhaps or certainly
_MIN_SIDE = 8  # pixels: smaller pictures are not judged
_STEPS = ((0, 2), (2, 0), (2, 2), (2, -2), (1, 2), (2, 1), (1, -2), (2, -1))  # (rows, columns), in eight directions


@dataclass(frozen=True)
class TwoTones:
    """A picture as ink and paper. What takes long to find is found when something depends on it.

    Attributes:
        darkness: [height, width] 0 (paper) .. 1 (black).
        ink: [height, width] the darker tone.
        dark_border: share of the border that is of the darker tone before the picture was inverted, if it was.
    """

    darkness: Floats
    ink: Mask
    dark_border: float

    @cached_property
    def contrast(self) -> float:
        """Mean darkness of the ink less that of the paper."""
        if not self.ink.any() or self.ink.all():
            return 0.0
        return float(self.darkness[self.ink].mean() - self.darkness[~self.ink].mean())

    @cached_property
    def disorder(self) -> float:
        """How much a pixel differs from its neighbours in the direction in which it does least, relative to how much
        pixels differ at all: about 1 for noise, near 0 for lines and areas."""
        return _disorder(self.darkness)

    @cached_property
    def sharpness(self) -> float:
        """Of all edges between the tones: the mean step across them, relative to the contrast."""
        return _sharpness(self.darkness, self.ink, self.ink, self.contrast)

    @cached_property
    def area_sharpness(self) -> float:
        """The same of wide areas alone, which shadows are too; 1 without any."""
        wide = max(5, max(self.ink.shape) // 40) | 1
        areas = grown(running(self.ink, wide, np.logical_and), wide)
        return _sharpness(self.darkness, self.ink, areas, self.contrast) if areas.any() else 1.0

    @property
    def is_dense(self) -> bool:
        """Whether it is a drawing that ink covers so far that its paper is not the median."""
        return float(self.ink.mean()) >= DENSE_SHARE and self._is_clear

    @property
    def is_light_on_dark(self) -> bool:
        """Whether it certainly is a drawing on a dark canvas."""
        return self.dark_border >= _NEARLY_ALL_OF_BORDER and self._is_clear

    @property
    def shows_anything(self) -> bool:
        """Whether there is a contrast that is neither noise nor a shadow."""
        if self.contrast < _LEAST_CONTRAST or self.sharpness < _MIN_SHARPNESS:
            return False
        return self.disorder <= _MAX_DISORDER  # which takes longest

    @property
    def _is_clear(self) -> bool:
        return self.contrast >= _CLEAR_CONTRAST and self.area_sharpness >= _MIN_SHARPNESS and self.shows_anything

    def drawn(self) -> tuple[Image.Image, Box] | None:
        """Dark ink on pure white as a grey image, and the ink's box in it; None if all ink is specks."""
        mask = self.ink & (count_set(self.ink, 5) >= 4)
        box = mask_box(mask)
        if box is None:
            return None
        paper, ink = float(self.darkness[~self.ink].mean()), float(self.darkness[mask].mean())
        coverage = np.clip((self.darkness - paper) / (ink - paper) * 1.4 - 0.2, 0, 1)
        coverage[~grown(mask, 3)] = 0
        return Image.fromarray(np.rint(255 * (1 - coverage)).astype(np.uint8)), box


def two_tones(grey: Image.Image) -> TwoTones:
    """The picture's two tones, whichever of them is the ink.

    The canvas is what most of the border shows.

    Args:
        grey: mode L, at most about 640 pixels on a side.
    """
    values = np.asarray(grey)
    dark_border = float((border(values) <= _otsu(values)).mean())
    if dark_border > _MOST_OF_BORDER:
        grey = ImageOps.invert(grey)
    darkness = _darkness(grey)
    threshold = _otsu(np.rint(255 * np.clip(darkness, 0, 1)).astype(np.uint8)) / 255
    return TwoTones(darkness, darkness > threshold, dark_border)


def _darkness(grey: Image.Image) -> Floats:
    window = max(9, max(grey.size) // _WINDOW) | 1
    brightest = running(np.asarray(grey.filter(ImageFilter.GaussianBlur(1))), window, np.maximum)
    paper = np.asarray(Image.fromarray(brightest).filter(ImageFilter.BoxBlur(window // 4)), dtype=np.float32)
    paper = np.maximum(paper, max(_DARKEST, _FLOOR * float(np.percentile(paper, 95))))
    return (1 - np.asarray(grey, dtype=np.float32) / paper).astype(np.float32, copy=False)


def _otsu(values: NDArray[np.uint8]) -> int:
    """The level up to which values belong to the darker of two classes: the largest variance between them."""
    counts = np.bincount(values.ravel(), minlength=256).astype(np.float64)
    below, total = counts.cumsum(), (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    return int(np.nan_to_num(between).argmax())


def _disorder(values: Floats) -> float:
    spread = float(values.std())
    if spread == 0 or min(values.shape) < _MIN_SIDE:
        return 1.0
    typical = [1.4826 * float(np.median(np.abs(_differences(values, *step)))) / 2**0.5 for step in _STEPS]
    return min(typical) / spread


def _sharpness(darkness: Floats, ink: Mask, part: Mask, contrast: float) -> float:
    """Mean step across the edges of some of the ink, relative to the contrast."""
    if not contrast or min(darkness.shape) < _MIN_SIDE:
        return 0.0
    step = max(2, max(darkness.shape) // 128)
    steps = []
    for way in ((step, 0), (0, step)):
        (first, second), (here, there) = _moved(ink, *way), _moved(part, *way)
        steps.append(np.abs(_differences(darkness, *way))[(first != second) & (here | there)])
    across = np.concatenate(steps)
    return float(across.mean()) / contrast if across.size else 0.0


def _differences(values: Floats, rows: int, columns: int) -> Floats:
    """Between pixels so far apart."""
    first, second = _moved(values, rows, columns)
    difference: Floats = first - second
    return difference


def _moved(values: NDArray[Any], rows: int, columns: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The pixels that have a partner so far away, and these partners."""
    first = values[: values.shape[0] - rows, max(-columns, 0) : values.shape[1] - max(columns, 0)]
    second = values[rows:, max(columns, 0) : values.shape[1] + min(columns, 0)]
    return first, second
