"""Losses of CrossATNet and of text-aided alignment, as pure functions; each is tested against a naive loop."""

from __future__ import annotations

import torch
from torch import Tensor

from model.training.objectives.losses import soft_cross_entropy


def cross_modal_triplet(anchors: Tensor, others: Tensor, same: Tensor, margin: float) -> Tensor:
    """Triplet loss between two modalities over every triplet of a step, by cosine.

    The mean over the triplets that still cost something (Hermans et al., 2017, "In defense of the triplet loss",
    "batch all"), so that many easy ones do not drown the few hard ones.

    Args:
        anchors: [A, E] L2-normalised, of one modality.
        others: [B, E] L2-normalised, of the other.
        same: [A, B] bool, True where the categories agree.
        margin: by how much the cosine of a right pair should exceed that of a wrong one.

    Returns:
        scalar >= 0; 0 where no triplet costs anything.
    """
    cosine = anchors @ others.T
    cost = margin + cosine.unsqueeze(1) - cosine.unsqueeze(2)  # [A, right, wrong]
    counts = same.unsqueeze(2) & ~same.unsqueeze(1) & (cost > 0)
    return (cost * counts).sum() / counts.sum().clamp_min(1)


def both_ways_triplet(sketch: Tensor, photo: Tensor, same: Tensor, margin: float) -> Tensor:
    """The mean of `cross_modal_triplet` with sketches and with photos as anchors."""
    return (cross_modal_triplet(sketch, photo, same, margin) + cross_modal_triplet(photo, sketch, same.T, margin)) / 2


def attention_distillation(guided: Tensor, own: Tensor) -> Tensor:
    """Kullback-Leibler divergence of a photo's own map from the map a sketch gives it, which is not moved by it.

    Args:
        guided, own: [B, M] logarithms of weights that sum to 1.

    Returns:
        scalar >= 0, the mean over pairs.
    """
    target = guided.detach()
    return (target.exp() * (target - own)).sum(dim=1).mean()


def binary_code(projected: Tensor) -> Tensor:
    """Signs, with the gradient of a hyperbolic tangent (a straight-through estimator).

    Args:
        projected: [B, bits], of order 1.

    Returns:
        [B, bits], -1 or 1.
    """
    soft = projected.tanh()
    hard = torch.where(projected >= 0, 1.0, -1.0)
    return soft + (hard - soft).detach()


def hash_agreement(
    sketch: Tensor, photo: Tensor, sketch_code: Tensor, photo_code: Tensor, temperature: float
) -> Tensor:
    """How well codes rank a step's photos as descriptors do, with weight on the nearest.

    Cross-entropy between the softmax of cosines (the target, not moved) and the softmax of the codes' agreement.

    Args:
        sketch, photo: [S, E] and [P, E] L2-normalised descriptors.
        sketch_code, photo_code: [S, bits] and [P, bits] of -1 and 1.
        temperature: divides both similarities.
    """
    target = (sketch @ photo.T / temperature).detach().softmax(dim=1)
    agreement = sketch_code @ photo_code.T / sketch_code.shape[1]
    return soft_cross_entropy(agreement / temperature, target)


def token_match(tokens: Tensor, mask: Tensor | None, text: Tensor, text_mask: Tensor) -> Tensor:
    """How well each image's patches answer each category's words: the mean over words of their best patch.

    Args:
        tokens: [B, N, D] patch tokens, L2-normalised.
        mask: [B, N] bool or None.
        text: [C, T, D] word tokens, L2-normalised.
        text_mask: [C, T] bool.

    Returns:
        [B, C] in [-1, 1] (late interaction: Khattab and Zaharia, SIGIR 2020; Yao et al., ICLR 2022, "FILIP").
    """
    similarity = torch.einsum("bnd,ctd->bctn", tokens, text)
    if mask is not None:
        similarity = similarity.masked_fill(~mask[:, None, None, :], -1.0)
    best = similarity.max(dim=3).values * text_mask
    return best.sum(dim=2) / text_mask.sum(dim=1).clamp_min(1)
