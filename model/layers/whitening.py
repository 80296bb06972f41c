"""Whitening of descriptors: what sketches and photos have in common stops deciding what is similar.

Descriptors of a trained encoder fill few directions: all sketches share a part, all photos share another, and some
directions vary far more than others without telling more. Whitening takes each modality's mean away and gives all
directions a like share (Jégou and Chum, ECCV 2012, "Negative evidences and co-occurrences in image retrieval"; here
with one matrix for both modalities and shrunk towards the identity, because weak directions are mostly noise).
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.layers.familiarity import Familiarity

Modality = Literal["sketch", "photo"]
SHRINKAGE = 1.0


class Whitening(nn.Module):
    """Subtracts the modality's mean, multiplies by a matrix and normalises again; at first it changes nothing.

    Photos like those of the training are shortened behind it (`model/layers/familiarity.py`), which is fitted with it.

    Args:
        size: E, of descriptors.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2, size))  # of sketches, of photos
        self.register_buffer("matrix", torch.eye(size))
        self.familiarity = Familiarity(size)

    def forward(self, descriptor: Tensor, modality: Modality) -> Tensor:
        """[B, E] L2-normalised -> [B, E] float32: L2-normalised, but for familiar photos, which are shorter."""
        centred = descriptor.float() - self.mean[0 if modality == "sketch" else 1]
        whitened = F.normalize(centred @ self.matrix, dim=-1)
        return whitened if modality == "sketch" else self.familiarity(whitened)

    @torch.no_grad()
    def reset(self) -> None:
        """Change nothing again."""
        self.mean.zero_()
        self.matrix.copy_(torch.eye(len(self.matrix)))
        self.familiarity.reset()

    @torch.no_grad()
    def fit(self, sketches: Tensor, photos: Tensor, shrinkage: float = SHRINKAGE) -> None:
        """Whiten from descriptors as they are without whitening, of seen categories; no photo is shortened after that.

        Args:
            sketches: [S, E] L2-normalised.
            photos: [P, E] L2-normalised. Both modalities weigh the same.
            shrinkage: what is added to every eigenvalue of the covariance, in units of their mean; more is nearer to
                no whitening.
        """
        mean, matrix = whitening_of(sketches, photos, shrinkage)
        self.familiarity.reset()
        self.mean.copy_(mean)
        self.matrix.copy_(matrix)


def whitening_of(sketches: Tensor, photos: Tensor, shrinkage: float) -> tuple[Tensor, Tensor]:
    """Means [2, E] and symmetric matrix [E, E], float32; arguments as in `Whitening.fit`.

    The matrix is (C + s I) ** -0.5, where C is the sum of both modalities' covariances, each with a trace of 1, and s
    the shrinkage times C's mean eigenvalue; it is scaled to a mean eigenvalue of 1.
    """
    means = [part.double().mean(dim=0) for part in (sketches, photos)]
    total = torch.zeros(sketches.shape[1], sketches.shape[1], dtype=torch.float64, device=sketches.device)
    for part, mean in zip((sketches, photos), means, strict=True):
        centred = part.double() - mean
        covariance = centred.T @ centred
        total += covariance / covariance.trace().clamp_min(1e-12)
    values, vectors = cast("tuple[Tensor, Tensor]", torch.linalg.eigh(total))
    scales = (values.clamp_min(0) + shrinkage * values.mean().clamp_min(1e-12)).rsqrt()
    matrix = vectors @ torch.diag(scales / scales.mean()) @ vectors.T
    return torch.stack(means).float(), matrix.float()
