"""Losses as pure functions of tensors; each is tested against a naive loop."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def supervised_contrastive(descriptors: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Khosla et al., NeurIPS 2020, "Supervised contrastive learning", equation 2 (L_out).

    Args:
        descriptors: [B, E] L2-normalised.
        labels: [B] int64; each should occur at least twice, images without a partner count nothing.
        temperature: divides the cosines.

    Returns:
        scalar: minus the mean log-probability of an image's partners among all other images.
    """
    logits = descriptors @ descriptors.T / temperature
    self_pair = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    log_probability = logits.masked_fill(self_pair, -torch.inf).log_softmax(dim=1)
    partner = (labels[:, None] == labels[None, :]) & ~self_pair
    count = partner.sum(dim=1)
    per_image = -log_probability.masked_fill(~partner, 0.0).sum(dim=1) / count.clamp_min(1)
    has_partner = count > 0
    return per_image[has_partner].mean() if bool(has_partner.any()) else descriptors.sum() * 0


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy against probabilities. logits [B, K], target [B, K] rows summing to 1 -> scalar."""
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()


def relation_rank(logits: Tensor) -> Tensor:
    """Softmax cross-entropy of the first column among all. Relation logits [S, 1 + wrong] -> scalar."""
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.int64))


def relation_decide(logits: Tensor) -> Tensor:
    """Binary cross-entropy, right and wrong pairs weighing the same. Logits [S, 1 + wrong] -> scalar."""
    right = F.softplus(-logits[:, 0]).mean()
    wrong = F.softplus(logits[:, 1:]).mean()
    return (right + wrong) / 2


def upstream_triplet(sketch: Tensor, photo: Tensor, other_photo: Tensor) -> Tensor:
    """Triplet loss with margin 1 on L2 distances of un-normalised tokens [B, D] -> scalar (upstream's code)."""
    return F.triplet_margin_loss(sketch, photo, other_photo, margin=1.0, p=2)


def upstream_relation(right: Tensor, wrong: Tensor) -> Tensor:
    """Mean squared error of relation scores against 0.99 for right and 0.01 for wrong pairs (upstream's code).

    Args:
        right, wrong: [B] relation scores in [0, 1].
    """
    target = torch.cat([torch.full_like(right, 0.99), torch.full_like(wrong, 0.01)])
    return F.mse_loss(torch.cat([right, wrong]), target)


def own_photo(similarity: Tensor, own: Tensor, temperature: float) -> Tensor:
    """InfoNCE of drawings over photos (van den Oord, Li and Vinyals, 2018, "Representation learning with contrastive
    predictive coding", equation 4).

    Args:
        similarity: [D, P] cosines of drawings and photos.
        own: [D] int64, the column of each drawing's own photo.
        temperature: divides the cosines.

    Returns:
        scalar: minus the mean log-probability of the own photo among all P.
    """
    return F.cross_entropy(similarity / temperature, own)
