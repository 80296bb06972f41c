"""Augmentation of batches in memory, on the CPU or a GPU: uint8 images in, the network's normalised input out.

Every step runs on the whole batch with one strength per image and is deterministic given a torch.Generator. What is
varied, and why:

* photos: crop, mirror, colours, blur, hidden boxes, and resolution, because thumbnails of 64 px share a look that gives
  their categories away;
* sketches: the hand (turn, stretch, elastic jitter), the pen (width, darkness, pressure), gaps, 28 px bitmaps, and
  paper photographed under uneven light.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import PreprocessConfig
from model.data.draws import Draws
from model.data.pixels import (
    affine_grid,
    blurred,
    box_mask,
    lower_resolution,
    narrowed,
    per_image,
    smooth_field,
    widened,
)
from model.data.strengths import PhotoAugment, SketchAugment

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def normalised(images: Tensor, config: PreprocessConfig) -> Tensor:
    """[B, 1 or 3, S, S] in [0, 1] -> [B, 3, S, S] float32 by the preset's mean and standard deviation."""
    mean = torch.tensor(config.mean, device=images.device).reshape(1, 3, 1, 1)
    std = torch.tensor(config.std, device=images.device).reshape(1, 3, 1, 1)
    return (images.float() - mean) / std


def plain(pixels: Tensor, config: PreprocessConfig) -> Tensor:
    """Without any variation: [B, C, H, W] uint8 -> [B, 3, S, S] float32, normalised; scaled where the side differs."""
    images = pixels.float() / 255
    if images.shape[-1] != config.image_size or images.shape[-2] != config.image_size:
        side = (config.image_size, config.image_size)
        images = F.interpolate(images, side, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    return normalised(images, config)


def augment_photos(
    pixels: Tensor, config: PreprocessConfig, strength: PhotoAugment, generator: torch.Generator
) -> Tensor:
    """Varied photos.

    Args:
        pixels: [B, 3, H, H] uint8.
        config: gives the output's side S and normalisation.
        strength: how much is varied.
        generator: on any device; the same state gives the same result.

    Returns:
        [B, 3, S, S] float32, normalised.
    """
    size = config.image_size
    draws = Draws(len(pixels), generator, pixels.device)
    images = _cropped_photos(pixels, size, strength, draws)
    level = draws.choice(max(len(strength.sides), 1))
    level = level.masked_fill(~draws.chance(strength.low_resolution), -1)
    images = lower_resolution(images, level, strength.sides)
    images = _softened(images, draws.uniform(0.3, 1.0), draws.chance(strength.blur))
    images = _recoloured(images, strength, draws)
    centre = draws.uniform(0.0, 1.0, 1, 2)
    half = draws.uniform(0.15, max(strength.cutout_side, 0.15), 1, 2) / 2
    hidden = box_mask(size, centre, half) & draws.chance(strength.cutout)[:, None, None]
    images = torch.where(hidden[:, None], images.mean(dim=(2, 3), keepdim=True), images)
    return normalised(images, config)


def _cropped_photos(pixels: Tensor, size: int, strength: PhotoAugment, draws: Draws) -> Tensor:
    zoom = 1 / draws.uniform(strength.crop, 1.0)
    stretch = draws.log_uniform(1 / strength.aspect, strength.aspect).sqrt()
    room = (zoom - 1)[:, None] * draws.uniform(-1.0, 1.0, 2)  # the crop stays inside the image
    grid = affine_grid(
        size,
        angle=draws.uniform(-1.0, 1.0) * (strength.turn * torch.pi / 180),
        scale_x=zoom * stretch,
        scale_y=zoom / stretch,
        shear=torch.zeros_like(zoom),
        shift=room,
        flip=draws.chance(strength.flip),
    )
    return F.grid_sample(pixels.float() / 255, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _softened(images: Tensor, amount: Tensor, chosen: Tensor) -> Tensor:
    """A blur of strength [B] in [0, 1] for the images chosen by a [B] mask."""
    rows = chosen.nonzero()[:, 0]
    if len(rows) == 0:
        return images
    some = images[rows]
    return images.index_copy(0, rows, torch.lerp(some, blurred(some), per_image(amount[rows])))


def _recoloured(images: Tensor, strength: PhotoAugment, draws: Draws) -> Tensor:
    """Brightness, contrast, saturation, hue and greyness as one 3 x 3 matrix and offset per image."""
    device = images.device
    luma = torch.tensor(LUMA, device=device)
    to_grey = luma.expand(3, 3)
    identity = torch.eye(3, device=device)
    colour = 1 + draws.uniform(-1.0, 1.0) * strength.saturation
    colour = torch.where(draws.chance(strength.grey), torch.zeros_like(colour), colour)[:, None, None]
    # the hue turns about the grey axis (Rodrigues' rotation formula with the axis (1, 1, 1) / sqrt(3))
    angle = (draws.uniform(-1.0, 1.0) * (strength.hue * torch.pi / 180))[:, None, None]
    third = torch.full((3, 3), 1 / 3, device=device)
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], device=device) / 3**0.5
    hue = angle.cos() * identity + angle.sin() * cross + (1 - angle.cos()) * third
    contrast = 1 + draws.uniform(-1.0, 1.0) * strength.contrast
    brightness = 1 + draws.uniform(-1.0, 1.0) * strength.brightness
    mean = images.mean(dim=(1, 2, 3))
    brightness = torch.minimum(
        brightness, (0.8 / mean.clamp_min(1e-3)).clamp_min(1.0)
    )  # white must not drown an object
    matrix = (colour * identity + (1 - colour) * to_grey) @ hue * (brightness * contrast)[:, None, None]
    lift = (brightness * (1 - contrast) * mean)[:, None, None]  # contrast turns about the mean
    return (matrix @ images.flatten(2) + lift).reshape(images.shape).clamp(0, 1)


def augment_sketches(
    pixels: Tensor, config: PreprocessConfig, strength: SketchAugment, generator: torch.Generator
) -> Tensor:
    """Varied sketches.

    Args:
        pixels: [B, 1, H, H] uint8, dark lines on white.
        config: gives the output's side S and normalisation.
        strength: how much is varied.
        generator: on any device; the same state gives the same result.

    Returns:
        [B, 3, S, S] float32, normalised, dark lines on a light ground.
    """
    size = config.image_size
    draws = Draws(len(pixels), generator, pixels.device)
    # ink is 1 where black and 0 on white, so that zero padding is blank paper
    ink = _redrawn(1 - pixels.float() / 255, size, strength, draws)
    ink = _with_gaps(ink, strength, draws)
    ink = _with_another_pen(ink, strength, draws)
    ink = _as_bitmap(ink, strength, draws)
    ink = _softened(ink, draws.uniform(0.3, 1.0), draws.chance(strength.blur))
    return normalised(_on_paper(ink, strength, draws), config)


def _redrawn(ink: Tensor, size: int, strength: SketchAugment, draws: Draws) -> Tensor:
    """By another hand: affine and elastic displacement in one sampling."""
    zoom = draws.log_uniform(strength.scale, strength.scale**-0.5)
    stretch = draws.log_uniform(1 / strength.aspect, strength.aspect).sqrt()
    grid = affine_grid(
        size,
        angle=draws.uniform(-1.0, 1.0) * (strength.turn * torch.pi / 180),
        scale_x=zoom * stretch,
        scale_y=zoom / stretch,
        shear=draws.uniform(-1.0, 1.0) * strength.shear,
        shift=draws.uniform(-2.0, 2.0, 2) * strength.shift,
        flip=draws.chance(strength.flip),
    )
    coarse = smooth_field(draws.normal(2, 4, 4), size) * (2 * strength.elastic)
    fine = smooth_field(draws.normal(2, 12, 12), size) * (2 * strength.tremble)
    moved = per_image(draws.uniform(0.0, 1.5)) * coarse + per_image(draws.uniform(0.0, 1.5)) * fine
    grid = grid + moved.permute(0, 2, 3, 1)
    return F.grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _with_gaps(ink: Tensor, strength: SketchAugment, draws: Draws) -> Tensor:
    """Boxes of blank paper, centred where there is ink."""
    if strength.gap_count == 0:
        return ink
    cells = 16
    weight = F.adaptive_avg_pool2d(ink, (cells, cells)).flatten(1)  # [B, 256]
    # the largest of log weight + Gumbel noise is a draw in proportion to the weight (Gumbel-max trick)
    noise = -(-draws.uniform(1e-6, 1.0 - 1e-6, strength.gap_count, cells * cells).log()).log()
    cell = (weight.clamp_min(1e-9).log()[:, None] + noise).argmax(dim=2)  # [B, K]
    centre = (
        torch.stack([cell % cells, cell // cells], dim=-1) + draws.uniform(0.0, 1.0, strength.gap_count, 2)
    ) / cells
    half = draws.uniform(0.05, max(strength.gap_side, 0.05), strength.gap_count, 2) / 2
    used = draws.chance(strength.gaps, 1, 1) & draws.chance(0.6, strength.gap_count, 1)
    return ink.masked_fill(box_mask(ink.shape[-1], centre, half * used)[:, None], 0.0)


def _with_another_pen(ink: Tensor, strength: SketchAugment, draws: Draws) -> Tensor:
    """Thinner, wider, fainter lines and uneven pressure."""
    thin, wide = narrowed(ink), widened(ink)
    wider = widened(wide)
    step = torch.where(draws.chance(strength.width), draws.uniform(-0.5, 2.0), torch.zeros_like(ink[:, 0, 0, 0]))
    step = per_image(step)
    ink = (
        ink
        + (-step).clamp(0, 1) * (thin - ink)
        + step.clamp(0, 1) * (wide - ink)
        + (step - 1).clamp(0, 1) * (wider - wide)
    )
    darkness = 1 - draws.uniform(0.0, 1.0) * (1 - strength.faintest) * draws.chance(strength.faint)
    field = torch.sigmoid(smooth_field(draws.normal(1, 6, 6), ink.shape[-1]) * 1.5)
    uneven = 1 - per_image(0.7 * draws.chance(strength.pressure)) * field
    return ink * per_image(darkness) * uneven


def _as_bitmap(ink: Tensor, strength: SketchAugment, draws: Draws) -> Tensor:
    """As Quick, Draw! bitmaps are: drawn on few pixels with a dark pen, then enlarged."""
    level = draws.choice(max(len(strength.sides), 1))
    smooth = draws.chance(0.8)
    rows = draws.chance(strength.bitmap).nonzero()[:, 0]
    if len(rows) == 0 or not strength.sides:
        return ink
    some, level, smooth = ink[rows], level[rows], smooth[rows]
    small = widened(some)  # a thin line would be lost among so few pixels
    small = lower_resolution(small, level.masked_fill(~smooth, -1), strength.sides, mode="bicubic")
    small = lower_resolution(small, level.masked_fill(smooth, -1), strength.sides, mode="nearest")
    small = small / small.amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-3)
    crisp = ((small - 0.3) * 2.5).clamp(0, 1) * some.amax(dim=(1, 2, 3), keepdim=True)
    return ink.index_copy(0, rows, crisp)


def _on_paper(ink: Tensor, strength: SketchAugment, draws: Draws) -> Tensor:
    """[B, 1, S, S] of ink -> [B, 3, S, S] of light: white, or paper under a lamp."""
    batch, _, size, _ = ink.shape
    images = (1 - ink).clamp(0, 1).expand(batch, 3, size, size).contiguous()
    rows = draws.chance(strength.paper).nonzero()[:, 0]
    if len(rows) == 0:
        return images
    some = Draws(len(rows), draws.generator, draws.device)
    shade = smooth_field(some.normal(1, 2, 2), size) * 0.12 + smooth_field(some.normal(1, 5, 5), size) * 0.03
    tint = some.uniform(0.85, 1.0, 1, 1, 1) * (1 + 0.04 * some.normal(3, 1, 1))
    grain = some.normal(1, size, size) * some.uniform(0.0, 0.04, 1, 1, 1)
    paper = (tint * (1 - shade.abs()) + grain).clamp(0.2, 1.0)
    return images.index_copy(0, rows, images[rows] * paper)
