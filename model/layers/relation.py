"""Kernel-based relation networks: from two sets of cross-attended tokens to one logit per pair.

The kernel is the matrix of cosine similarities between tokens of the sketch and of the photo (Lin et al., CVPR 2023,
section 3.4). Two readings of it live here: upstream's, which the published weights need, and ours over real patches.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import RelationConfig
from model.layers.linear import linear


def multilayer_perceptron(sizes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers of the given widths with ReLU between them."""
    layers: list[nn.Module] = []
    for inner, outer in itertools.pairwise(sizes):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def score_features(mlp: nn.Sequential, features: Tensor) -> Tensor:
    """[P, F] float32 -> logit [P] float32, in the arithmetic of the MLP's own weights."""
    logit: Tensor = mlp(features.to(next(mlp.parameters()).dtype))
    return logit.squeeze(-1).float()


class UpstreamRelation(nn.Module):
    """Upstream's relation network, exactly as the published weights were trained.

    The [P, 196, D] patch tokens are REINTERPRETED in memory as [P, D, 14, 14], with no transpose, before a 2 x 2
    convolution: each of the 49 kernel tokens mixes all patches, so this kernel is no map of the image. Masked tokens
    are not possible here; the token count is fixed by the weights.
    """

    def __init__(self, width: int, grid: int, config: RelationConfig) -> None:
        super().__init__()
        self.grid = grid
        self.reduce = nn.Conv2d(width, config.width, kernel_size=2, stride=2)
        cells = (grid // 2) ** 2
        self.mlp = multilayer_perceptron((cells * cells, *config.hidden, 1))

    def kernel_tokens(self, patches: Tensor) -> Tensor:
        """[P, grid * grid, D] -> [P, cells, width], L2-normalised; zero tokens stay zero."""
        pairs, _, width = patches.shape
        image = patches.contiguous().view(pairs, width, self.grid, self.grid)
        return F.normalize(self.reduce(image).flatten(2).transpose(1, 2).float(), dim=-1)

    def forward(
        self, sketch: Tensor, photo: Tensor, sketch_mask: Tensor | None, photo_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Cross-attended tokens [P, N, D] of each side -> logit [P] float32 and kernel [P, cells, cells] float32."""
        if sketch_mask is not None or photo_mask is not None:
            raise ValueError("the upstream relation network cannot read masked tokens")
        kernel = self.kernel_tokens(sketch[:, 1:]) @ self.kernel_tokens(photo[:, 1:]).transpose(1, 2)
        return score_features(self.mlp, kernel.flatten(1)), kernel


class PooledRelation(nn.Module):
    """A kernel over real patches, summarised by radial basis functions.

    Each entry of the kernel is softly counted into bins of similarity (Xiong et al., SIGIR 2017, "End-to-end neural
    ad-hoc ranking with kernel pooling", section 3.2), once per sketch patch and once per photo patch; patches are then
    averaged with weights learnt from their tokens. The MLP reads these histograms and the similarity of the two
    cross-attended retrieval tokens. Any number of tokens fits, masked ones count nothing, and each entry belongs to one
    patch of the sketch and one of the photo, so that the kernel explains the score.
    """

    centres: Tensor

    def __init__(self, width: int, config: RelationConfig) -> None:
        super().__init__()
        self.project = nn.Linear(width, config.width)
        self.project_retrieval = nn.Linear(width, config.width)
        self.weight_sketch = nn.Linear(width, 1)
        self.weight_photo = nn.Linear(width, 1)
        self.mlp = multilayer_perceptron((2 * config.bins + 1, *config.hidden, 1))
        self.register_buffer("centres", torch.linspace(-0.5, 1.0, config.bins), persistent=False)
        self._precision = (config.bins - 1) ** 2 / (2 * 1.5**2)  # standard deviation = one bin

    def forward(
        self, sketch: Tensor, photo: Tensor, sketch_mask: Tensor | None, photo_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Cross-attended tokens [P, N, D] of each side -> logit [P] float32 and kernel [P, Ns - 1, Np - 1] float32."""
        # Layers read all tokens and drop the retrieval token afterwards: slicing first would copy every token.
        sketch_kernel, photo_kernel = (self._unit(linear(self.project, tokens)[:, 1:]) for tokens in (sketch, photo))
        kernel = sketch_kernel @ photo_kernel.transpose(1, 2)
        # Bins stand before the patches, so that passes over memory are long runs: a quarter faster than after them.
        distance = kernel.unsqueeze(1) - self.centres.float().view(-1, 1, 1)
        counted = distance.square_().mul_(-self._precision).exp_()
        sketch_real = None if sketch_mask is None else sketch_mask[:, 1:]
        photo_real = None if photo_mask is None else photo_mask[:, 1:]
        sketch_weight = self._weights(self.weight_sketch(sketch)[:, 1:], sketch_real)
        photo_weight = self._weights(self.weight_photo(photo)[:, 1:], photo_real)
        features = torch.cat(
            [
                self._histogram(counted, photo_real, sketch_weight, dim=3),
                self._histogram(counted, sketch_real, photo_weight, dim=2),
                self._global(sketch[:, 0], photo[:, 0]),
            ],
            dim=-1,
        )
        return score_features(self.mlp, features), kernel

    @staticmethod
    def _unit(x: Tensor) -> Tensor:
        return F.normalize(x.float(), dim=-1)

    @staticmethod
    def _weights(logits: Tensor, real: Tensor | None) -> Tensor:
        """[P, N, 1] logits -> [P, N] float32 weights that sum to 1 over real tokens."""
        flat = logits.squeeze(-1).float()
        if real is not None:
            flat = flat.masked_fill(~real, -torch.inf)
        return flat.softmax(dim=-1)

    @staticmethod
    def _histogram(counted: Tensor, real: Tensor | None, weight: Tensor, dim: int) -> Tensor:
        """Soft counts [P, bins, Ns, Np] -> [P, bins]: log of the mean over `dim`, then the weighted mean."""
        if real is None:
            mean = counted.mean(dim=dim)
        else:
            share = (real.float() / real.sum(dim=-1, keepdim=True)).unsqueeze(1).unsqueeze(5 - dim)
            mean = (counted * share).sum(dim=dim)
        return torch.einsum("pn,pbn->pb", weight, torch.log(mean + 1e-3))

    def _global(self, sketch: Tensor, photo: Tensor) -> Tensor:
        similarity = self._unit(self.project_retrieval(sketch)) * self._unit(self.project_retrieval(photo))
        return 4.0 * similarity.sum(dim=-1, keepdim=True)
