"""How strongly photos and sketches are varied: what `model/data/augment.py` is told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.errors import ConfigurationError

_ANY = (0.0, math.inf)
_SHARE = (0.0, 1.0)
_FACTOR = (1.0, math.inf)
_SMALLEST_SIDE = 4


@dataclass(frozen=True)
class PhotoAugment:
    """How much photos are varied; a probability or range of 0, or a factor of 1, turns a step off.

    Attributes:
        crop: smallest side of the random crop as a share of the image's side; 1 keeps the whole image.
        aspect: largest stretch of one side against the other, as a factor of at least 1.
        turn: largest rotation in degrees, either way.
        flip: probability of mirroring.
        brightness, contrast, saturation: largest relative change.
        hue: largest turn of the hue in degrees.
        grey: probability of losing all colour.
        low_resolution: probability of being scaled down to one of `sides` pixels and up again.
        sides: the sides it is scaled down to.
        blur: probability of a blur with a standard deviation of 1 px, in a random strength.
        cutout: probability that a box is hidden by the image's mean colour.
        cutout_side: largest side of that box as a share of the image's side.
    """

    crop: float = 0.65
    aspect: float = 1.2
    turn: float = 10.0
    flip: float = 0.5
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.4
    hue: float = 15.0
    grey: float = 0.1
    low_resolution: float = 0.35
    sides: tuple[int, ...] = (32, 48, 64, 64, 96)
    blur: float = 0.15
    cutout: float = 0.25
    cutout_side: float = 0.4

    def __post_init__(self) -> None:
        _check("photos", vars(self), turn=_ANY, hue=_ANY, aspect=_FACTOR)
        if not self.crop:
            raise ConfigurationError("photos.crop must be above 0: it is a share of the image's side")


@dataclass(frozen=True)
class SketchAugment:
    """How much sketches are varied; a probability or range of 0, or a factor of 1, turns a step off.

    Attributes:
        turn: largest rotation in degrees, either way.
        scale: smallest factor of size; the largest is its square root's inverse, so that little is cut off.
        aspect: largest stretch of one side against the other, as a factor of at least 1.
        shear: largest horizontal displacement per vertical distance.
        shift: largest displacement as a share of the side.
        flip: probability of mirroring.
        elastic: standard deviation of the coarse displacement (a grid of 4 x 4 points) as a share of the side.
        tremble: the same of the fine displacement (12 x 12 points).
        width: probability of another line width, from a third thinner to 3 px wider.
        faint: probability of fainter ink; `faintest` is the smallest darkness left.
        pressure: probability that the darkness varies along the lines.
        gaps: probability that parts are missing; up to `gap_count` boxes of up to `gap_side` of the side, set on ink.
        bitmap: probability of a low-resolution bitmap of one of `sides` pixels.
        paper: probability of photographed paper: uneven light, tint and grain.
        blur: probability of a blur with a standard deviation of 1 px, in a random strength.
    """

    turn: float = 15.0
    scale: float = 0.75
    aspect: float = 1.3
    shear: float = 0.15
    shift: float = 0.06
    flip: float = 0.5
    elastic: float = 0.02
    tremble: float = 0.005
    width: float = 0.6
    faint: float = 0.4
    faintest: float = 0.3
    pressure: float = 0.25
    gaps: float = 0.3
    gap_count: int = 3
    gap_side: float = 0.22
    bitmap: float = 0.2
    sides: tuple[int, ...] = (28, 28, 40, 56)
    paper: float = 0.15
    blur: float = 0.2

    def __post_init__(self) -> None:
        unlimited = dict.fromkeys(("turn", "shear", "shift", "elastic", "tremble", "gap_count"), _ANY)
        _check("sketches", vars(self), aspect=_FACTOR, **unlimited)
        if not self.scale:
            raise ConfigurationError("sketches.scale must be above 0: it is a factor of size")


def _check(group: str, values: Mapping[str, Any], **bounds: tuple[float, float]) -> None:
    """Every strength within its bounds, by default a share from 0 to 1.

    Raises:
        ConfigurationError: names the one that is not.
    """
    for name, value in values.items():
        if name == "sides":
            if any(side < _SMALLEST_SIDE for side in value):
                raise ConfigurationError(f"{group}.sides must be {_SMALLEST_SIDE} pixels or more each")
            continue
        low, high = bounds.get(name, _SHARE)
        if not (math.isfinite(value) and low <= value <= high):
            most = f" and at most {high:g}" if math.isfinite(high) else ""
            raise ConfigurationError(f"{group}.{name} must be a number of at least {low:g}{most}, not {value}")
