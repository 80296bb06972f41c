"""A relation that starts as a comparison of whitened tokens, so that little of it has to be learnt.

What a relation network learns of pairs, it learns of the categories that it is trained on, and with few of them it
forgets what the encoder's tokens know of others. Here it begins with what needs no labels: the cross-attention leaves
tokens as they are, the kernel compares them whitened (as `model/layers/whitening.py` does with descriptors; patches of
sketches and of photos have much in common that tells nothing), and all patches weigh the same. Only how similarities
are read, the weights of patches and the last layers, then has to be learnt.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.layers.cross_attention import AttendingLayer
from model.layers.relation import PooledRelation
from model.layers.whitening import whitening_of
from model.networks.zse_sbir import ZseNetwork
from model.types import Encoding

PATCH_SHRINKAGE = 0.05
"""Of the patches' whitening; there are so many patches that weak directions are no noise."""
TOKEN_SHRINKAGE = 1.0
"""Of the retrieval tokens' whitening."""


@torch.no_grad()
def start_matching(network: ZseNetwork, sketches: Encoding, photos: Encoding, seed: int) -> list[nn.Parameter]:
    """Make a network's relation the comparison of whitened tokens, and forget what it had learnt.

    Args:
        network: its relation is of kind "pooled".
        sketches: S encodings of categories that it is trained on, all tokens real.
        photos: P such encodings.
        seed: of the last layers, which start at random.

    Returns:
        What is left to learn: the weights of patches and the last layers.

    Raises:
        TypeError: the relation is of another kind.
    """
    relation = network.relation
    if not isinstance(relation, PooledRelation):
        raise TypeError("only a relation over a kernel of real patches can start from whitened tokens")
    sides = (network.cross_attention.sketch, network.cross_attention.photo)
    tokens = [
        _unchanged(side, encoding.tokens.to(network.device).float())
        for side, encoding in zip(sides, (sketches, photos), strict=True)
    ]
    width = relation.project.out_features
    patches = [part[:, 1:].flatten(0, 1) for part in tokens]
    mean, matrix = whitening_of(patches[0], patches[1], PATCH_SHRINKAGE)
    for side, own in zip(sides, mean, strict=True):  # the norm's bias is the one place that knows the modality
        _bias_of(side).copy_(-own)
    relation.project.weight.copy_(_strongest(matrix, width))
    relation.project.bias.zero_()
    # Of the retrieval tokens only the mean of both modalities' means is taken away: the bias above is the patches'.
    first = [part[:, 0] - own for part, own in zip(tokens, mean, strict=True)]
    mean, matrix = whitening_of(first[0], first[1], TOKEN_SHRINKAGE)
    relation.project_retrieval.weight.copy_(_strongest(matrix, width))
    relation.project_retrieval.bias.copy_(-relation.project_retrieval.weight @ mean.mean(dim=0))
    for layer in (relation.weight_sketch, relation.weight_photo):
        layer.weight.zero_()
        layer.bias.zero_()
    draws = torch.Generator().manual_seed(seed)
    for last in relation.mlp:
        if isinstance(last, nn.Linear):
            nn.init.kaiming_uniform_(last.weight, nonlinearity="relu", generator=draws)
            nn.init.zeros_(last.bias)
    network.requires_grad_(requires_grad=False)
    learnt = [p for part in (relation.weight_sketch, relation.weight_photo, relation.mlp) for p in part.parameters()]
    for parameter in learnt:
        parameter.requires_grad = True
    return learnt


def _unchanged(side: AttendingLayer, tokens: Tensor) -> Tensor:
    """Let a side of the cross-attention add nothing, and give the tokens [B, N, D] as they then leave it."""
    for layer in (side.output, side.contract):
        layer.weight.zero_()
        layer.bias.zero_()
    for norm in (side.norm_attention, side.norm_feed_forward):
        gain, bias = norm.parameters()
        gain.fill_(1.0)
        bias.zero_()
    return side.finish(tokens, torch.zeros_like(tokens))


def _bias_of(side: AttendingLayer) -> nn.Parameter:
    _, bias = side.norm_feed_forward.parameters()
    return bias


def _strongest(matrix: Tensor, width: int) -> Tensor:
    """A whitening [D, D] limited to the `width` directions that vary most, which it scales least -> [width, D]."""
    scales, directions = torch.linalg.eigh(matrix.double())
    kept: Tensor = (directions[:, :width] * scales[:width]).T
    return kept.float()
