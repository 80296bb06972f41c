"""Which patch matched which, read off the kernel: the similarities that the relation network counts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from model.types import RelationAttention

SHARPNESS = 10.0  # similarities are turned into weights by a softmax


def matches_of(kernel: Tensor, sketch_mask: Tensor | None, photo_mask: Tensor | None) -> RelationAttention:
    """What matched what, read off the similarities that the relation counts.

    Each patch shares its weight out among the other side's patches by a softmax of their similarities; the retrieval
    token's weights are the mean over its side's patches.

    Args:
        kernel: [P, Ns - 1, Np - 1] similarities of one sketch's patches with P photos'.
        sketch_mask: [1, Ns] bool or None.
        photo_mask: [P, Np] bool or None.
    """
    sketch_real = _real(sketch_mask, kernel, 1)
    photo_real = _real(photo_mask, kernel, 2)
    to_photo = _shared_out(kernel, sketch_real, photo_real)
    to_sketch = _shared_out(kernel.transpose(1, 2), photo_real, sketch_real)
    return RelationAttention(to_photo.unsqueeze(0), to_sketch.unsqueeze(0), kernel.unsqueeze(0))


def _real(mask: Tensor | None, kernel: Tensor, dim: int) -> Tensor:
    """[P, N - 1] bool: which patches of one side are real."""
    if mask is None:
        return kernel.new_ones(len(kernel), kernel.shape[dim], dtype=torch.bool)
    return mask[:, 1:].expand(len(kernel), -1)


def _shared_out(kernel: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """Kernel [P, A, B] -> weights [P, 1 + A, 1 + B] of one side over the other, retrieval tokens in front."""
    weights = (SHARPNESS * kernel).masked_fill(~other[:, None, :], -torch.inf).softmax(dim=-1)
    share = own.float() / own.sum(dim=1, keepdim=True)
    mean = torch.einsum("pa,pab->pb", share, weights).unsqueeze(1)
    return F.pad(torch.cat([mean, weights], dim=1), (1, 0))
