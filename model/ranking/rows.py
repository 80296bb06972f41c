"""What scores of several queries are computed with. A query's values are the same bits whoever shares its batch."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_and_variance(scores: Tensor) -> tuple[Tensor, Tensor]:
    """[..., 1] each, of scores [..., C]. `Tensor.var` would round a query alone and among others differently."""
    mean = scores.mean(dim=-1, keepdim=True)
    return mean, (scores - mean).square_().mean(dim=-1, keepdim=True)


def sigmoid(values: Tensor) -> Tensor:
    """The sigmoid of values [..., C], row by row: the last few of an array are rounded differently from the others."""
    if values.dim() < 2:
        return values.sigmoid()
    found = torch.empty_like(values, memory_format=torch.contiguous_format)
    for row, into in zip(values.flatten(end_dim=-2).contiguous(), found.flatten(end_dim=-2), strict=True):
        torch.sigmoid(row, out=into)
    return found


def inner_products(photos: Tensor, vectors: Tensor) -> Tensor:
    """[..., C] of photos [..., C, E] with one vector [..., E] for each C of them, row by row as in `sigmoid`."""
    if photos.dim() < 3:
        return photos @ vectors
    found = photos.new_empty(photos.shape[:-1])
    rows = zip(photos.flatten(end_dim=-3), vectors.flatten(end_dim=-2), found.flatten(end_dim=-2), strict=True)
    for own, vector, into in rows:
        torch.mv(own, vector, out=into)
    return found
