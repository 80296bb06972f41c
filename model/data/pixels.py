"""Batched operations on pixels that both modalities' augmentations are made of; every image has its own strength.

Images are [B, C, H, W] float32, strengths [B]. Nothing here draws random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def per_image(values: Tensor) -> Tensor:
    """[B] -> [B, 1, 1, 1], to be multiplied with images."""
    return values.reshape(-1, 1, 1, 1)


def pixel_grid(batch: int, size: int, device: torch.device) -> Tensor:
    """[B, S, S, 2] of (x, y) in [-1, 1] at pixel centres, as grid_sample reads them with align_corners=False."""
    axis = (torch.arange(size, device=device, dtype=torch.float32) * 2 + 1) / size - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], dim=-1).expand(batch, size, size, 2)


def affine_grid(
    size: int, *, angle: Tensor, scale_x: Tensor, scale_y: Tensor, shear: Tensor, shift: Tensor, flip: Tensor
) -> Tensor:
    """[B, S, S, 2]: where each output pixel is read from in the input.

    Args:
        size: S, side of the output.
        angle: [B] in radians, counter-clockwise turn of the picture.
        scale_x, scale_y: [B], how much larger the picture becomes.
        shear: [B], horizontal displacement per vertical distance.
        shift: [B, 2] of (x, y) in half sides.
        flip: [B] bool, mirrored left to right.
    """
    cos, sin = angle.cos(), angle.sin()
    sign = 1.0 - 2.0 * flip.float()
    # output -> input: undo the shift, the turn, the shear, then the scale
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    ones, zeros = torch.ones_like(cos), torch.zeros_like(cos)
    slant = torch.stack([torch.stack([ones, shear], -1), torch.stack([zeros, ones], -1)], -2)
    stretch = torch.diag_embed(torch.stack([sign / scale_x, 1 / scale_y], -1))
    matrix = stretch @ slant @ turn
    grid = pixel_grid(len(angle), size, angle.device)
    return (grid - shift[:, None, None]) @ matrix.transpose(1, 2)[:, None]


def smooth_field(coarse: Tensor, size: int) -> Tensor:
    """[B, C, g, g] -> [B, C, S, S], smoothly: bicubic to a quarter of the side, then bilinear, which costs a tenth."""
    quarter = max(size // 4, coarse.shape[-1])
    field = F.interpolate(coarse, (quarter, quarter), mode="bicubic", align_corners=False)
    return F.interpolate(field, (size, size), mode="bilinear", align_corners=False)


def widened(ink: Tensor) -> Tensor:
    """The largest value of each 3 x 3 neighbourhood: lines 2 px wider. Faster than max pooling on a CPU."""
    rows = F.pad(ink, (0, 0, 1, 1))
    rows = torch.maximum(torch.maximum(rows[..., :-2, :], rows[..., 2:, :]), ink)
    columns = F.pad(rows, (1, 1, 0, 0))
    return torch.maximum(torch.maximum(columns[..., :-2], columns[..., 2:]), rows)


def narrowed(ink: Tensor) -> Tensor:
    """The smallest value of each 3 x 3 neighbourhood: lines 2 px narrower. Outside the image there is ink."""
    return 1 - widened(1 - ink)


def blurred(images: Tensor) -> Tensor:
    """Each channel under the 5 x 5 binomial kernel (standard deviation 1 px); borders are repeated."""
    channels = images.shape[1]
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=images.device, dtype=images.dtype) / 16
    kernel = row.expand(channels, 1, 1, 5)
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel, groups=channels), kernel.transpose(2, 3), groups=channels)


def lower_resolution(images: Tensor, level: Tensor, sides: Sequence[int], mode: str = "bilinear") -> Tensor:
    """Images scaled down to one of a few sides and up again, as thumbnails and bitmaps are found in galleries.

    Args:
        images: [B, C, S, S].
        level: [B] int64, index into `sides`; -1 leaves the image as it is.
        sides: pixels.
        mode: of the way up ("bilinear", "bicubic", "nearest").
    """
    result = images
    size = images.shape[-1]
    for index, side in enumerate(sides):
        chosen = (level == index).nonzero()[:, 0]
        if len(chosen) == 0 or side >= size:
            continue
        small = F.interpolate(images[chosen], (side, side), mode="bilinear", antialias=True, align_corners=False)
        corners = None if mode == "nearest" else False
        large = F.interpolate(small, (size, size), mode=mode, align_corners=corners)
        result = result.index_copy(0, chosen, large)
    return result


def box_mask(size: int, centre: Tensor, half: Tensor) -> Tensor:
    """[B, S, S] bool, True inside any of an image's K boxes.

    Args:
        size: S.
        centre: [B, K, 2] of (x, y) in [0, 1].
        half: [B, K, 2], half widths and heights in the same unit; 0 gives an empty box.
    """
    axis = (torch.arange(size, device=centre.device) + 0.5) / size
    inside = (axis - centre[..., None]).abs() < half[..., None]  # [B, K, 2, S]
    return (inside[:, :, 1, :, None] & inside[:, :, 0, None, :]).any(dim=1)
