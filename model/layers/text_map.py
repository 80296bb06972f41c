"""From embeddings of sentences to descriptors: a word becomes a point where photos of it lie.

A ridge regression predicts the embedding of a photo's name from the photo's descriptor. How well the prediction agrees
with a text, <descriptor @ weights, text>, is also <descriptor, text @ weights.T>. So a text searches as a sketch does,
by one vector, and finds what has no name among those that were learnt (a bilinear compatibility with a closed form:
Romera-Paredes and Torr, ICML 2015, "An embarrassingly simple approach to zero-shot learning").
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.text.clip_tower import ClipTower

PENALTY = 0.03
"""On squared weights, where a category weighs 1; chosen on validation categories by `train/text_map.py --choose`."""


class TextMap(nn.Module):
    """Takes the mean name away, multiplies by a matrix and normalises.

    Args:
        width: T, of embeddings of sentences.
        size: E, of descriptors.
        tower: a CLIP text tower of the checkpoint's own, which embeds the sentences; None: the sentence encoder does.
    """

    tower: ClipTower | None
    mean: Tensor
    matrix: Tensor

    def __init__(self, width: int, size: int, tower: ClipTower | None = None) -> None:
        super().__init__()
        self.tower = tower
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("matrix", torch.zeros(width, size))

    def forward(self, embeddings: Tensor) -> Tensor:
        """[N, T] float32, L2-normalised -> [N, E] float32, L2-normalised."""
        centred = F.normalize(embeddings.float() - self.mean, dim=-1)
        return F.normalize(centred @ self.matrix, dim=-1)

    @torch.no_grad()
    def fit(self, images: Tensor, names: Tensor, labels: Tensor, penalty: float = PENALTY) -> None:
        """Learn from images whose category has a name. Every category weighs the same.

        Args:
            images: descriptors [M, E] of photos and sketches; their length does not matter.
            names: embeddings [C, T] of the categories' names, L2-normalised.
            labels: [M] int64, rows of `names`; those without an image do not count.
            penalty: on squared weights, beside the mean squared error of a category, summed over categories.
        """
        images, names = F.normalize(images.double(), dim=-1), names.double()
        counts = torch.bincount(labels, minlength=len(names))
        mean = names[counts > 0].mean(dim=0)
        target = F.normalize(names - mean, dim=-1)[labels]
        weighted = images / counts[labels, None]
        gram = weighted.T @ images + penalty * torch.eye(images.shape[1], dtype=torch.float64, device=images.device)
        weights: Tensor = torch.linalg.solve(gram, weighted.T @ target)  # [E, T]
        self.mean.copy_(mean)
        self.matrix.copy_(weights.T / weights.norm())  # its scale does not matter; half precision holds this one
