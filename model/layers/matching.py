"""A relation that compares whitened patches where they lie, and reads little from much.

The kernel of ZSE-SBIR (Lin et al., CVPR 2023, section 3.4) holds the similarity of every sketch patch and every photo
patch. Here it is read by what each patch finds best on the other side, as late interaction does (Khattab and Zaharia,
SIGIR 2020, "ColBERT", section 3.2: the sum of maximal similarities), but a match counts less the further apart the two
patches lie: a sketch and its photo show things in about the same places. Tokens are compared whitened, because patches
of one modality have much in common that tells nothing. Few numbers are left to be learnt, so few categories suffice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import RelationConfig
from model.types import Encoding

Side = Literal["sketch", "photo"]
START = 20.0
"""Weight that the reading starts from: similarities of right and wrong photos differ by about a twentieth."""


@dataclass(frozen=True)
class Compared:
    """One modality's side of the kernel for B images: what does not depend on the other side.

    Attributes:
        patches: [B, N - 1, K], whitened and L2-normalised.
        positions: [B, N - 1] int64 in the patch grid.
        descriptor: [B, E] float32, as `Encoding` has it.
        mask: [B, N - 1] bool, True for real patches, or None.
    """

    patches: Tensor
    positions: Tensor
    descriptor: Tensor
    mask: Tensor | None

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, rows: slice | Tensor) -> Compared:
        mask = None if self.mask is None else self.mask[rows]
        return Compared(self.patches[rows], self.positions[rows], self.descriptor[rows], mask)


class MatchingRelation(nn.Module):
    """Best matches of whitened patches within several distances, and the cosine of descriptors -> logit.

    Args:
        width: D, of tokens.
        grid: side of the patch grid.
        config: `width` K of the compared patches, `radii` of the distances, `hidden` of the layers that read.
    """

    mean: Tensor
    matrix: Tensor
    nearness: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, width: int, grid: int, config: RelationConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2, width))  # of sketches' patches, of photos'
        self.register_buffer("matrix", torch.eye(width)[:, : config.width].contiguous())
        self.register_buffer("nearness", nearness_of(grid, config.radii), persistent=False)
        count = 2 * len(config.radii) + 1
        self.register_buffer("centre", torch.zeros(count))  # of features, and how far they spread
        self.register_buffer("spread", torch.ones(count))
        self.linear = nn.Linear(count, 1)
        self.hidden = nn.Sequential(nn.Linear(count, config.hidden[0]), nn.ReLU(), nn.Linear(config.hidden[0], 1))
        self.start()

    @torch.no_grad()
    def start(self) -> None:
        """Read the best matches of sketch patches within the first distance alone, as long as nothing is learnt."""
        self.centre.zero_()
        self.spread.fill_(1.0)
        self.linear.weight.zero_()
        self.linear.weight[0, 0] = START
        self.linear.bias.zero_()
        for parameter in self.hidden[2].parameters():
            parameter.zero_()

    def read(self, features: Tensor) -> Tensor:
        """[..., F] float32 -> logit [...] float32, in the arithmetic of the layers."""
        inputs = ((features - self.centre) / self.spread).to(self.linear.weight.dtype)
        logit: Tensor = (self.linear(inputs) + self.hidden(inputs)).squeeze(-1)
        return logit.float()

    def side(self, encoding: Encoding, side: Side) -> Compared:
        """What one side needs that does not depend on the other."""
        own = self.mean[0 if side == "sketch" else 1].to(encoding.tokens.dtype)
        whitened = (encoding.tokens[:, 1:] - own) @ self.matrix.to(encoding.tokens.dtype)
        mask = None if encoding.mask is None else encoding.mask[:, 1:]
        return Compared(F.normalize(whitened, dim=-1), encoding.positions, encoding.descriptor, mask)

    def forward(self, sketch: Compared, photos: Compared) -> tuple[Tensor, Tensor]:
        """P aligned pairs, of which the sketch's side may be 1, broadcast -> logit [P] float32, kernel [P, Ns, Np]."""
        kernel = (sketch.patches @ photos.patches.transpose(1, 2)).float()
        return self.read(self.features(sketch, photos, kernel)), kernel

    def placed(self, sketch: Compared, photos: Compared, kernel: Tensor) -> Tensor:
        """The kernel [P, Ns, Np] as the first distance reads it, which explanations show."""
        return kernel * self.nearness[0, sketch.positions[:, :, None], photos.positions[:, None, :]]

    def features(self, sketch: Compared, photos: Compared, kernel: Tensor) -> Tensor:
        """[P, F] float32: for each distance the mean over sketch patches of the best match, then the same over photo
        patches, then the cosine of descriptors."""
        pairs = len(kernel)
        near = self.nearness[:, sketch.positions[:, :, None], photos.positions[:, None, :]]  # [R, P, Ns, Np]
        own = None if sketch.mask is None else sketch.mask.expand(pairs, -1)
        other = None if photos.mask is None else photos.mask.expand(pairs, -1)
        found = []
        for dim, mine, theirs in ((2, own, other), (1, other, own)):
            found += [_mean(_best(kernel * weight, theirs, dim), mine) for weight in near]
        cosine = (sketch.descriptor.float() * photos.descriptor.float()).sum(dim=1)
        return torch.stack([*found, cosine], dim=1)

    def features_without_each(self, sketch: Compared, photos: Compared, kernel: Tensor) -> Tensor:
        """`features` without each of the photos' patches in turn: [P, Np, F] float32.

        A patch that is gone costs the sketch patches that matched it best the difference to their second best match.
        Needs two patches in every photo, one of them real. Of no meaning for patches that are masked.
        """
        pairs, sketch_count, photo_count = kernel.shape
        near = self.nearness[:, sketch.positions[:, :, None], photos.positions[:, None, :]]  # [R, P, Ns, Np]
        own = kernel.new_ones(pairs, sketch_count, dtype=torch.bool) if sketch.mask is None else sketch.mask
        own = own.expand(pairs, -1)
        real = kernel.new_ones(pairs, photo_count, dtype=torch.bool) if photos.mask is None else photos.mask
        of_sketch, of_photo = [], []
        for weight in near:
            seen = kernel * weight
            best, place = seen.masked_fill(~real[:, None, :], -math.inf).topk(2, dim=2)  # [P, Ns, 2]
            best = best.masked_fill(best == -math.inf, 0.0)  # without any patch, no match
            drop = (best[..., 0] - best[..., 1]).masked_fill(~own, 0.0)
            lost = kernel.new_zeros(pairs, photo_count).scatter_add_(1, place[..., 0], drop)
            of_sketch.append(_mean(best[..., 0], own)[:, None] - lost / own.sum(dim=1, keepdim=True))
            mine = _best(seen, own, 1).masked_fill(~real, 0.0)
            of_photo.append((mine.sum(dim=1, keepdim=True) - mine) / (real.sum(dim=1, keepdim=True) - 1).clamp_min(1))
        cosine = (sketch.descriptor.float() * photos.descriptor.float()).sum(dim=1)
        return torch.stack([*of_sketch, *of_photo, cosine[:, None].expand(-1, photo_count)], dim=2)


def nearness_of(grid: int, radii: tuple[float, ...]) -> Tensor:
    """[R, G * G, G * G] float32: exp(-(d / r) ** 2 / 2) for two cells d cells apart; 1 everywhere for a radius of 0."""
    axis = torch.arange(grid, dtype=torch.float32)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    place = torch.stack([y.flatten(), x.flatten()], dim=1)
    square = (place[:, None] - place[None]).square().sum(dim=2)
    return torch.stack([torch.exp(-square / (2 * r * r)) if r else torch.ones_like(square) for r in radii])


def _best(kernel: Tensor, real: Tensor | None, dim: int) -> Tensor:
    """[P, Ns, Np] -> the largest value over the real patches of one side, [P, N] of the other; 0 where none is real."""
    if real is None:
        return kernel.amax(dim=dim)
    best = kernel.masked_fill(~real.unsqueeze(3 - dim), -math.inf).amax(dim=dim)
    return best.masked_fill(~real.any(dim=1, keepdim=True), 0.0)


def _mean(best: Tensor, real: Tensor | None) -> Tensor:
    """[P, N] -> [P]: the mean over real patches; 0 without any."""
    if real is None:
        return best.mean(dim=1)
    return best.masked_fill(~real, 0.0).sum(dim=1) / real.sum(dim=1).clamp_min(1)
