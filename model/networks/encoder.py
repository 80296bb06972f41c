"""From images to tokens: a timm backbone, a retrieval token and the learnable tokenizer.

The learnable tokenizer keeps the patch tokens that the retrieval token attends to most (Lin et al., CVPR 2023, section
3.2). Which patches were kept leaves the encoder as positions in the ORIGINAL patch grid, so that an explanation can be
drawn on the image.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.init import trunc_normal_

from model.backbones.timm_backbones import Block
from model.config import EncoderConfig, kept_count
from model.errors import ConfigurationError

Modality = Literal["sketch", "photo"]


class ScaleEmbedding(nn.Module):
    """Four bias-free convolutions that embed 16 x 16 patches with context beyond their borders (upstream's code)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            nn.ReLU(),
            nn.Conv2d(64, 128, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(128, 256, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(256, width, 3, stride=2, padding=1, bias=False),
        )

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, D, S / 16, S / 16]."""
        embedded: Tensor = self.layers(images)
        return embedded


class PatchEmbedding(nn.Module):
    """A backbone's patch embedding, averaged with a scale embedding where there is one."""

    def __init__(self, backbone: Any, width: int, *, scale_embedding: bool) -> None:
        super().__init__()
        self.patch: nn.Module = backbone.patch_embed.proj
        self.norm: nn.Module = backbone.patch_embed.norm
        self.scale = ScaleEmbedding(width) if scale_embedding else None

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, patches, D], row by row."""
        embedded = self.patch(images)
        if self.scale is not None:
            embedded = (embedded + self.scale(images)) / 2
        tokens: Tensor = self.norm(embedded.flatten(2).transpose(1, 2))
        return tokens


def retrieval_attention(block: Any, tokens: Tensor, prefix: int) -> Tensor:
    """How much token 0 attends to each patch token in a timm transformer block, averaged over heads.

    Args:
        block: a timm vision transformer `Block`.
        tokens: [B, N, D], the block's input.
        prefix: number of tokens in front of the patch tokens (retrieval token and registers).

    Returns:
        [B, N - prefix] float32; larger is more informative.
    """
    attention = block.attn
    hidden = block.norm1(tokens)
    batch, count, _ = hidden.shape
    heads = attention.num_heads
    weight, bias = attention.qkv.weight, attention.qkv.bias
    inner = weight.shape[0] // 3
    query = F.linear(hidden[:, :1], weight[:inner], None if bias is None else bias[:inner])
    key = F.linear(hidden, weight[inner : 2 * inner], None if bias is None else bias[inner : 2 * inner])
    query = attention.q_norm(query.view(batch, 1, heads, -1).transpose(1, 2))
    key = attention.k_norm(key.view(batch, count, heads, -1).transpose(1, 2))
    logits = (query.float() @ key.float().transpose(-2, -1)) * attention.scale
    averaged: Tensor = logits.softmax(dim=-1).mean(dim=1)
    return averaged[:, 0, prefix:]


def keep_most_attended(
    tokens: Tensor, positions: Tensor, attention: Tensor, rate: float, prefix: int
) -> tuple[Tensor, Tensor]:
    """Drop the least attended patch tokens; the rest stay in the order of their positions.

    Args:
        tokens: [B, prefix + M, D].
        positions: [B, M], original grid positions of the patch tokens.
        attention: [B, M], how informative each is.
        rate: share of the M patch tokens to keep, in (0, 1].
        prefix: number of tokens in front that are never dropped.

    Returns:
        tokens [B, prefix + K, D] and positions [B, K], K = `kept_count(M, rate)`.
    """
    count = positions.shape[1]
    keep = kept_count(count, rate)
    if keep == count:
        return tokens, positions
    kept = attention.topk(keep, dim=1, sorted=False).indices.sort(dim=1).values
    rows = kept.unsqueeze(-1).expand(-1, -1, tokens.shape[2])
    patches = tokens[:, prefix:].gather(1, rows)
    return torch.cat([tokens[:, :prefix], patches], dim=1), positions.gather(1, kept)


def run_blocks(
    blocks: nn.ModuleList, tokens: Tensor, keep_rates: tuple[tuple[int, float], ...], prefix: int
) -> tuple[Tensor, Tensor]:
    """Transformer blocks with the learnable tokenizer after those that `keep_rates` names.

    Args:
        blocks: timm vision transformer blocks.
        tokens: [B, prefix + M, D].
        keep_rates: (block number from 1, keep rate).
        prefix: tokens in front of the patch tokens.

    Returns:
        tokens [B, prefix + K, D] and positions [B, K] int64.
    """
    batch, count, _ = tokens.shape
    positions = torch.arange(count - prefix, device=tokens.device).expand(batch, -1)
    rates = dict(keep_rates)
    for number, block in enumerate(blocks, start=1):
        rate = rates.get(number, 1.0)
        attention = retrieval_attention(block, tokens, prefix) if rate < 1 else None
        tokens = block(tokens)
        if attention is not None:
            tokens, positions = keep_most_attended(tokens, positions, attention, rate, prefix)
    return tokens, positions


def _check_keep_rates(config: EncoderConfig, backbone: Any) -> None:
    """Refuse keep rates that this vision transformer cannot follow."""
    if not config.keep_rates:
        return
    depth = len(backbone.blocks)
    if config.keep_rates[-1][0] > depth:
        raise ConfigurationError(
            f"a keep rate names block {config.keep_rates[-1][0]}, but {config.backbone!r} has {depth} blocks"
        )
    if not all(hasattr(getattr(block, "attn", None), "qkv") for block in backbone.blocks):
        raise ConfigurationError(f"the attention of {config.backbone!r} cannot be read; use it without keep rates")


class VitEncoder(nn.Module):
    """A timm VisionTransformer whose class token is the retrieval token; one encoder for both modalities."""

    def __init__(self, config: EncoderConfig, backbone: Any) -> None:
        super().__init__()
        self.config = config
        self.prefix = int(backbone.num_prefix_tokens)
        _check_keep_rates(config, backbone)
        backbone.patch_embed = PatchEmbedding(backbone, config.width, scale_embedding=config.scale_embedding)
        self.backbone = backbone
        self.head = nn.Linear(config.width, config.descriptor_size) if config.descriptor_size else nn.Identity()

    def forward(self, images: Tensor, modality: Modality) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B, 3, S, S] -> tokens [B, N, D], positions [B, N - 1], descriptor [B, E] float32, L2-normalised."""
        del modality  # one set of weights serves both, as in the paper
        backbone = self.backbone
        tokens = backbone.norm_pre(backbone._pos_embed(backbone.patch_embed(images)))
        tokens, positions = run_blocks(backbone.blocks, tokens, self.config.keep_rates, self.prefix)
        tokens = backbone.norm(tokens)
        if self.prefix > 1:  # registers served the encoder; cross-attention reads the retrieval token and patches
            tokens = torch.cat([tokens[:, :1], tokens[:, self.prefix :]], dim=1)
        return tokens, positions, F.normalize(self.head(tokens[:, 0]).float(), dim=-1)


@dataclass(frozen=True)
class Features:
    """Feature maps of B images, as `HybridEncoder` reads them.

    Attributes:
        fine: [B, C, S / 16, S / 16].
        coarse: [B, C', S / 32, S / 32], before the backbone's last convolution.
    """

    fine: Tensor
    coarse: Tensor

    def __getitem__(self, rows: Tensor) -> Features:
        return Features(self.fine[rows], self.coarse[rows])


class HybridEncoder(nn.Module):
    """Feature maps of a convolutional network as patch tokens for a few transformer blocks.

    A patch token is the sum of two projections: the stride-16 feature of its own cell, which knows where, and the last
    (stride-32) feature of the cell around it, which knows what. The retrieval token starts from the pooled last
    feature, so that what the backbone learned of the world reaches the descriptor on a short path.
    """

    def __init__(self, config: EncoderConfig, backbone: Any) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.sketch_backbone = copy.deepcopy(backbone) if config.separate_backbones else None
        width = config.width
        fine, last = int(backbone.feature_info[-2]["num_chs"]), int(backbone.num_features)
        self.fine = nn.Conv2d(fine, width, 1)
        self.coarse = nn.Conv2d(last, width, 1)
        self.pooled = nn.Linear(last, width)
        self.retrieval_token = nn.Parameter(torch.zeros(2, width))  # a start of its own for sketches and for photos
        self.position = nn.Parameter(torch.zeros(1, config.grid**2, width))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, mlp_ratio=2.0, qkv_bias=True) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width, eps=config.norm_eps or 1e-6)
        self.head = nn.Linear(width, config.descriptor_size)
        self.shortcut = nn.Linear(last, config.descriptor_size, bias=False)
        trunc_normal_(self.retrieval_token, std=0.02)
        trunc_normal_(self.position, std=0.02)

    def _positions(self, side: int) -> Tensor:
        """[1, side * side, D]: learned positions, resampled where training uses smaller images than the grid is for."""
        if side == self.config.grid:
            return self.position
        square = self.position.transpose(1, 2).unflatten(2, (self.config.grid, self.config.grid))  # type: ignore[no-untyped-call]
        resampled = F.interpolate(square, size=(side, side), mode="bicubic", align_corners=False)
        return resampled.flatten(2).transpose(1, 2)

    @torch.no_grad()
    def start_from(self, projection: Tensor) -> None:
        """Begin with the backbone's knowledge: the descriptor is a projection of its pooled features.

        Args:
            projection: [E, F], orthonormal directions of the F pooled features.
        """
        self.shortcut.weight.copy_(projection)
        self.head.weight.mul_(0.1)
        self.head.bias.zero_()
        if projection.shape[0] == self.pooled.weight.shape[0]:
            self.pooled.weight.copy_(projection)
            self.coarse.weight.copy_(projection[:, :, None, None])

    def forward(self, images: Tensor, modality: Modality) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B, 3, S, S] -> tokens [B, N, D], positions [B, N - 1], descriptor [B, E] float32, L2-normalised."""
        return self.from_features(self.features(images, modality), modality)

    def backbone_of(self, modality: Modality) -> Any:
        """The backbone that a modality's images pass through."""
        return self.backbone if modality == "photo" or self.sketch_backbone is None else self.sketch_backbone

    def features(self, images: Tensor, modality: Modality) -> Features:
        """The backbone's feature maps of images [B, 3, S, S]."""
        images = images.contiguous(memory_format=torch.channels_last)  # convolutions run up to a quarter faster
        fine, coarse = self.backbone_of(modality).forward_intermediates(
            images, indices=[-2, -1], intermediates_only=True
        )
        return Features(fine, coarse)

    def from_features(self, features: Features, modality: Modality) -> tuple[Tensor, Tensor, Tensor]:
        """What `forward` gives, from the feature maps."""
        backbone = self.backbone_of(modality)
        last = backbone.bn2(backbone.conv_head(features.coarse))
        pooled = last.mean(dim=(2, 3))
        grid = self.fine(features.fine)
        grid = grid + F.interpolate(self.coarse(last), size=grid.shape[-2:], mode="nearest")
        patches = grid.flatten(2).transpose(1, 2) + self._positions(grid.shape[-1])
        own = self.retrieval_token[0 if modality == "sketch" else 1]
        retrieval = self.pooled(pooled) + own
        tokens = torch.cat([retrieval.unsqueeze(1), patches], dim=1)
        tokens, positions = run_blocks(self.blocks, tokens, self.config.keep_rates, prefix=1)
        tokens = self.norm(tokens)
        descriptor = self.head(tokens[:, 0]) + self.shortcut(pooled)
        return tokens, positions, F.normalize(descriptor.float(), dim=-1)


class TwinEncoder(nn.Module):
    """Two vision transformers of one kind, one per modality; the sketch's starts as a copy of the photo's."""

    def __init__(self, config: EncoderConfig, backbone: Any) -> None:
        super().__init__()
        self.photo = VitEncoder(config, backbone)
        self.sketch = copy.deepcopy(self.photo)

    def forward(self, images: Tensor, modality: Modality) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B, 3, S, S] -> tokens [B, N, D], positions [B, N - 1], descriptor [B, E] float32, L2-normalised."""
        encoded: tuple[Tensor, Tensor, Tensor] = (self.sketch if modality == "sketch" else self.photo)(images, modality)
        return encoded


def make_encoder(config: EncoderConfig, backbone: nn.Module) -> VitEncoder | TwinEncoder | HybridEncoder:
    """The encoder that a configuration describes, around its backbone."""
    if config.kind == "hybrid":
        return HybridEncoder(config, backbone)
    return TwinEncoder(config, backbone) if config.separate_backbones else VitEncoder(config, backbone)
