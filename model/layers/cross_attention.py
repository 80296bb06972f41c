"""Bidirectional cross-attention between the tokens of a sketch and of a photo (Lin et al., CVPR 2023, section 3.3).

Everything that depends on one image alone is projected once (`project`); only attention, output projection and
feed-forward run per pair. A single sketch is broadcast over its photos by strides, never copied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import CrossAttentionConfig
from model.layers.linear import linear


class UpstreamNorm(nn.Module):
    """a * (x - mean) / (std + 1e-6) + b with the unbiased standard deviation (upstream's code).

    Computed as a LayerNorm whose gain absorbs the ratio of the two standard deviations; the 1e-6 beside the standard
    deviation becomes 1e-12 beside the variance, which is the same where it matters: for a constant token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.ones(width))
        self.b = nn.Parameter(torch.zeros(width))
        self._gain = math.sqrt((width - 1) / width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return F.layer_norm(x, x.shape[-1:], self.a * self._gain, self.b, eps=1e-12)


def _add(fresh: Tensor, residual: Tensor) -> Tensor:
    """Their sum, in the memory of `fresh`, a linear layer's output; under autocast the types differ and promote."""
    return fresh.add_(residual) if fresh.dtype == residual.dtype else fresh + residual


@dataclass(frozen=True)
class Projected:
    """One modality's side of the cross-attention for B images: what does not depend on the other side.

    Attributes:
        tokens: [B, N, D], also the residual.
        query: [B, H, N, D / H], for attending to the other side.
        key: [B, H, N, D / H], for being attended to.
        value: [B, H, N, D / H], read by this side ("own") or by the other side ("other").
        mask: [B, N] bool or None.
    """

    tokens: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None

    def __getitem__(self, rows: slice | Tensor) -> Projected:
        mask = None if self.mask is None else self.mask[rows]
        return Projected(self.tokens[rows], self.query[rows], self.key[rows], self.value[rows], mask)


class AttendingLayer(nn.Module):
    """One post-norm transformer layer in which one modality attends to the other."""

    def __init__(self, width: int, config: CrossAttentionConfig) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        norm = UpstreamNorm if config.norm == "upstream" else nn.LayerNorm
        self.norm_attention = norm(width)
        self.expand = nn.Linear(width, config.hidden)
        self.contract = nn.Linear(config.hidden, width)
        self.norm_feed_forward = norm(width)

    def finish(self, tokens: Tensor, attended: Tensor) -> Tensor:
        """Residual, norm, feed-forward, norm. tokens [P or 1, N, D] and attended [P, N, D] -> [P, N, D]."""
        x = self.norm_attention(_add(linear(self.output, attended), tokens))
        hidden = linear(self.expand, x, "relu")
        y: Tensor = self.norm_feed_forward(_add(linear(self.contract, hidden), x))
        return y


class CrossAttention(nn.Module):
    """One attending layer per modality."""

    def __init__(self, width: int, config: CrossAttentionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.values = config.values
        self.sketch = AttendingLayer(width, config)
        self.photo = AttendingLayer(width, config)

    def project(self, tokens: Tensor, mask: Tensor | None, side: Literal["sketch", "photo"]) -> Projected:
        """Everything one side needs that does not depend on the other: tokens [B, N, D] -> Projected."""
        own, other = (self.sketch, self.photo) if side == "sketch" else (self.photo, self.sketch)
        value = own.value if self.values == "own" else other.value
        query, key, values = (self._split(linear(layer, tokens)) for layer in (own.query, other.key, value))
        return Projected(tokens, query, key, values, mask)

    def forward(
        self, sketch: Projected, photos: Projected, *, weights: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Cross-attend P aligned pairs; a side of batch 1 is broadcast over the other side without a copy.

        Returns:
            sketch tokens [P, Ns, D] and photo tokens [P, Np, D] after attention; with `weights` also the attention
            [P, Ns, Np] of sketch tokens over photo tokens and [P, Np, Ns] of photo tokens over sketch tokens, float32,
            averaged over heads.
        """
        own = self.values == "own"
        if own and sketch.tokens.shape[1] != photos.tokens.shape[1]:
            raise ValueError("attention with own values needs as many sketch tokens as photo tokens")
        sketch_out, sketch_weights = self._attend(sketch, photos, sketch.value if own else photos.value, weights)
        photo_out, photo_weights = self._attend(photos, sketch, photos.value if own else sketch.value, weights)
        sketch_tokens = self.sketch.finish(sketch.tokens, sketch_out)
        photo_tokens = self.photo.finish(photos.tokens, photo_out)
        return sketch_tokens, photo_tokens, sketch_weights, photo_weights

    def _split(self, x: Tensor) -> Tensor:
        batch, count, width = x.shape
        return x.view(batch, count, self.heads, width // self.heads).transpose(1, 2)

    @staticmethod
    def _attend(
        querying: Projected, answering: Projected, value: Tensor, weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Queries of one side over keys of the other: [P, N, D] and, if asked for, the weights [P, Nq, Nk]."""
        if weights or _products_are_faster(querying.query):
            return attend_by_products(querying.query, answering.key, value, answering.mask, weights=weights)
        pairs = max(len(querying.query), len(answering.key))
        query, key, value = (x.expand(pairs, -1, -1, -1) for x in (querying.query, answering.key, value))
        mask = None if answering.mask is None else answering.mask[:, None, None, :].expand(pairs, -1, -1, -1)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return attended.transpose(1, 2).flatten(2), None


def _products_are_faster(query: Tensor) -> bool:
    """Whether plain matrix products beat the fused attention: on a CPU in half precision, by a third."""
    return query.device.type == "cpu" and query.dtype != torch.float32


def attend_by_products(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, weights: bool
) -> tuple[Tensor, Tensor | None]:
    """Scaled dot-product attention as two matrix products per head.

    A side of batch 1 takes part in one product with all the other side's tokens; it is never copied.

    Args:
        query, key, value: [P or 1, H, N, D / H] each.
        mask: [P or 1, Nk] bool, True for real tokens, or None.
        weights: compute attention in float32 and return it.

    Returns:
        attended [P, Nq, D] and, with `weights`, attention [P, Nq, Nk] float32 averaged over heads.
    """
    query = query * query.shape[-1] ** -0.5
    if weights:
        query, key = query.float(), key.float()
    shared = len(query) == 1  # then pairs stand beside the keys, otherwise beside the queries
    order = "hnpm" if shared else "hpnm"
    query, query_axes = (query[0], "hnd") if shared else (query, "phnd")
    key, key_axes = (key[0], "hmd") if len(key) == 1 and not shared else (key, "phmd")
    value, value_axes = (value[0], "hmd") if len(value) == 1 else (value, "phmd")
    logits = torch.einsum(f"{query_axes},{key_axes}->{order}", query, key)
    if mask is not None:
        logits = logits.masked_fill(~(mask if shared else mask.unsqueeze(1)), -torch.inf)
    # Half precision in, float32 out: twice as fast on a CPU as a softmax that stays in half precision, and finer.
    attention = logits.softmax(dim=-1, dtype=torch.float32)
    attended = torch.einsum(f"{order},{value_axes}->pnhd", attention.to(value.dtype), value).flatten(2)
    if not weights:
        return attended, None
    averaged = attention.mean(dim=0)
    return attended, averaged.transpose(0, 1) if shared else averaged
