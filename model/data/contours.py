"""Drawings computed from photos: a third modality beside sketches and photos, which costs no pencil.

A photo's contours are a drawing of its category and, unlike most sketches of a collection, of that very photo. They are
found as Canny did (PAMI 1986, "A computational approach to edge detection"): blur, gradient, thinning along the
gradient, hysteresis. What varies from one call to the next, so that no drawing is the same twice: the scale of the
blur and the threshold, which is a quantile of the image's own gradients. Where a map says which part of the photo the
object fills, contours elsewhere are mostly lost, as a person leaves them out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.data.draws import Draws
from model.data.pixels import blurred, per_image, widened

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_BLURS = (2, 4, 8)  # passes of a binomial blur: standard deviations of 1.4, 2 and 2.8 px
_GROWTH = 12  # steps in which a weak contour follows a strong one
_MOST = 0.9  # of the strongest gradient: the threshold stays below it, where all contours of an image are as strong
_LEAST = 1e-3  # threshold below which a gradient is rounding
_SPECK = 9  # side of the neighbourhood in which a contour needs company
_COMPANY = 7  # pixels of contour there, itself included


@dataclass(frozen=True)
class ContourStyle:
    """How contours are drawn.

    Attributes:
        quantile: of an image's gradients, above which a contour begins.
        spread: the threshold is multiplied by a random factor from 1 / spread to spread.
        weak: share of the threshold down to which a begun contour goes on.
        guided: probability that the map of the object weighs gradients, where there is a map.
        elsewhere: what a gradient outside the object still weighs then.
    """

    quantile: float = 0.85
    spread: float = 1.6
    weak: float = 0.4
    guided: float = 0.7
    elsewhere: float = 0.15


def contours(
    pixels: Tensor, objects: Tensor | None, generator: torch.Generator, style: ContourStyle | None = None
) -> Tensor:
    """A drawing of each photo.

    Args:
        pixels: [B, 3, H, W] uint8 photos.
        objects: [B, G, G] float32 in [0, 1], how much of the object each cell shows, or None.
        generator: on any device; the same state gives the same drawings.
        style: how they are drawn.

    Returns:
        [B, 1, H, W] uint8, dark lines about 3 px wide on white, as sketches are decoded.
    """
    style = style or ContourStyle()
    draws = Draws(len(pixels), generator, pixels.device)
    scale = draws.choice(len(_BLURS))
    factor = draws.log_uniform(1 / style.spread, style.spread)
    guided = draws.chance(style.guided)
    strength = thinned_gradient(_softened(pixels, scale))
    if objects is not None:
        where = F.interpolate(objects[:, None].float(), pixels.shape[-2:], mode="bilinear", align_corners=False)
        weight = style.elsewhere + (1 - style.elsewhere) * where
        strength = strength * torch.where(per_image(guided), weight, torch.ones_like(weight))
    strongest = strength.flatten(1).amax(dim=1)
    high = (factor * _quantile(strength, style.quantile)).minimum(_MOST * strongest).clamp_min(_LEAST)
    lines = without_specks(hysteresis(strength, per_image(high), per_image(style.weak * high)))
    return (255 * (1 - widened(lines.float()))).to(torch.uint8)


def _softened(pixels: Tensor, scale: Tensor) -> Tensor:
    """Grey values [B, 1, H, W] in [0, 1], blurred as `scale` [B] says, an index into `_BLURS`."""
    luma = torch.tensor(LUMA, device=pixels.device).reshape(1, 3, 1, 1)
    grey = (pixels.float() * luma).sum(dim=1, keepdim=True) / 255
    result = grey
    for index, passes in enumerate(_BLURS):
        for _ in range(passes - (_BLURS[index - 1] if index else 0)):
            grey = blurred(grey)
        result = torch.where(per_image(scale == index), grey, result)
    return result


def thinned_gradient(grey: Tensor) -> Tensor:
    """Length of Sobel's gradient where it is largest along its own direction, else 0: [B, 1, H, W] -> the same."""
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 2:] - padded[..., :-2]
    down = padded[..., 2:, :] - padded[..., :-2, :]
    x = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    y = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    length = (x.square() + y.square()).sqrt()
    around = F.pad(length, (1, 1, 1, 1))
    height, width = length.shape[-2:]

    def beside(dy: int, dx: int) -> Tensor:
        return around[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]

    steep, flat = y.abs() > 2.414 * x.abs(), y.abs() < 0.414 * x.abs()  # tan of 67.5 and 22.5 degrees
    rising = (x * y) > 0
    peak = torch.where(
        flat,
        (length >= beside(0, 1)) & (length > beside(0, -1)),
        torch.where(
            steep,
            (length >= beside(1, 0)) & (length > beside(-1, 0)),
            torch.where(
                rising,
                (length >= beside(1, 1)) & (length > beside(-1, -1)),
                (length >= beside(-1, 1)) & (length > beside(1, -1)),
            ),
        ),
    )
    inside = torch.zeros_like(peak)
    inside[..., 2:-2, 2:-2] = True  # the border of a photo is no contour of what it shows
    return length * (peak & inside)


def _quantile(strength: Tensor, share: float) -> Tensor:
    """[B]: the value that a share of an image's thinned gradients stays below, among those above 0."""
    flat = strength.flatten(1).sort(dim=1).values
    empty = (flat <= 0).sum(dim=1)
    count = flat.shape[1]
    place = (empty + share * (count - empty)).long().clamp_(max=count - 1)
    return flat.gather(1, place[:, None])[:, 0]


def hysteresis(strength: Tensor, high: Tensor, low: Tensor) -> Tensor:
    """Contours that begin above `high` and go on above `low`: [B, 1, H, W] and thresholds [B, 1, 1, 1] -> bool."""
    lines, weak = strength > high, strength > low
    for _ in range(_GROWTH):
        lines = weak & (widened(lines.float()) > 0)
    return lines


def without_specks(lines: Tensor) -> Tensor:
    """Contours [B, 1, H, W] bool without pixels that have little company."""
    margin = _SPECK // 2
    share = F.avg_pool2d(lines.float(), _SPECK, stride=1, padding=margin)
    return lines & (share * _SPECK**2 > _COMPANY - 0.5)
