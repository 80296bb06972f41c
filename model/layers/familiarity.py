"""Familiar photos step back: what a network was trained on stops crowding out what it was not.

A network gives photos of the categories it was trained on larger similarities to any sketch, so that in a gallery of
seen and unseen categories the seen ones fill the first places. Calibrated stacking takes a constant from the scores of
seen classes (Chao, Changpinyo, Gong and Sha, ECCV 2016, "An empirical study and analysis of generalized zero-shot
learning"). A gallery's photos have no class, so here a photo's descriptor is shortened by how alike it is to the
nearest category that was trained on, and with it every similarity to it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PROTOTYPES = 512
"""Categories that are remembered at most."""
STRENGTH = 0.6
"""Share of its length that a photo would lose which equals a category; chosen by `train/validate.py --general`."""


class Familiarity(nn.Module):
    """Shortens photos' descriptors: p -> (1 - strength * max(0, max_c <p, c>)) * p over prototypes c; at first not.

    Args:
        size: E, of descriptors.
    """

    prototypes: Tensor
    strength: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("prototypes", torch.zeros(PROTOTYPES, size))  # what is not used is like nothing
        self.register_buffer("strength", torch.zeros(()))

    def forward(self, photos: Tensor) -> Tensor:
        """[B, E] float32, L2-normalised -> [B, E] float32, of length 1 - strength to 1."""
        alike = (photos @ self.prototypes.T).amax(dim=1, keepdim=True).clamp_min(0)
        return photos * (1 - self.strength * alike)

    @torch.no_grad()
    def reset(self) -> None:
        """Change nothing again."""
        self.prototypes.zero_()
        self.strength.zero_()

    @torch.no_grad()
    def fit(self, sketches: tuple[Tensor, Tensor], photos: tuple[Tensor, Tensor], strength: float = STRENGTH) -> None:
        """Remember what was trained on.

        Args:
            sketches: descriptors [S, E], L2-normalised and whitened, and their labels [S].
            photos: descriptors [P, E] and labels [P]. A category's prototype is the direction between the mean of its
                sketches and the mean of its photos. Of more than `PROTOTYPES` categories, so many are taken, evenly.
            strength: from 0, which shortens nothing, to below 1.
        """
        labels = sorted({*sketches[1].tolist(), *photos[1].tolist()})
        every = max(1, -(-len(labels) // PROTOTYPES))
        kept = [_prototype(label, sketches, photos) for label in labels[::every]]
        self.reset()
        self.prototypes[: len(kept)] = torch.stack(kept).to(self.prototypes)
        self.strength.fill_(strength)


def _prototype(label: int, *modalities: tuple[Tensor, Tensor]) -> Tensor:
    """[E], L2-normalised."""
    means = [descriptors[labels == label].mean(dim=0) for descriptors, labels in modalities if (labels == label).any()]
    return F.normalize(torch.stack([F.normalize(mean, dim=0) for mean in means]).mean(dim=0), dim=0)
