"""ZSE-SBIR (Lin et al., CVPR 2023): encoder, cross-attention and a kernel-based relation network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.config import ZseConfig
from model.layers.cross_attention import CrossAttention, Projected
from model.layers.relation import PooledRelation, UpstreamRelation
from model.networks.encoder import Modality, make_encoder
from model.networks.network import EncoderNetwork, join_relations
from model.types import Encoding, Relation, RelationAttention

_TOKENS_IN_CACHE = 2600
"""Photo tokens of one chunk of pairs on a CPU: about 2100 were best for 50 tokens of width 256 and for 197 of width 768
alike, and twice as many a twelfth slower; this makes one chunk of 50 photos of `zse-lite`."""


class ZseNetwork(EncoderNetwork):
    """ZSE-SBIR (Lin et al., CVPR 2023): encoder, cross-attention, kernel-based relation network.

    Args:
        config: what it is made of.
        backbone: the timm model that `config.encoder.backbone` names, with or without pretrained weights.
        pair_budget: see `EncoderNetwork`.
    """

    config: ZseConfig

    def __init__(self, config: ZseConfig, backbone: nn.Module, *, pair_budget: int = 48 * 2**20) -> None:
        super().__init__(config, make_encoder(config.encoder, backbone), pair_budget=pair_budget)
        width = config.encoder.width
        self.cross_attention = CrossAttention(width, config.cross_attention)
        self.relation: UpstreamRelation | PooledRelation
        if config.relation.kind == "upstream":
            self.relation = UpstreamRelation(width, config.encoder.grid, config.relation)
        else:
            self.relation = PooledRelation(width, config.relation)

    @property
    def exact_parts(self) -> tuple[nn.Module, ...]:
        """See `EncoderNetwork.exact_parts`."""
        return (self.relation.mlp,)

    def relate(self, sketches: Encoding, photos: Encoding, *, attention: bool = False) -> Relation:
        """See `Network.relate`."""
        sketch_side = self._project(sketches, "sketch")
        chunk = self.pairs_per_chunk(sketches.tokens.shape[1], photos.tokens.shape[1])
        if self.device.type == "cpu" and not torch.is_grad_enabled():
            chunk = max(1, min(chunk, _TOKENS_IN_CACHE // photos.tokens.shape[1]))
        rows: list[list[Relation]] = [[] for _ in range(len(sketches))]
        for start in range(0, len(photos), chunk):
            photo_side = self._project(photos[start : start + chunk], "photo")
            for number, row in enumerate(rows):
                row.append(self._relate_pairs(sketch_side[number : number + 1], photo_side, attention=attention))
        return join_relations(rows, len(sketches), len(photos), self.device)

    def relate_aligned(self, sketches: Encoding, photos: Encoding) -> tuple[Tensor, Tensor, Tensor]:
        """See `Network.relate_aligned`."""
        sketch_side, photo_side = self._project(sketches, "sketch"), self._project(photos, "photo")
        sketch_tokens, photo_tokens, _, _ = self.cross_attention(sketch_side, photo_side)
        logit, _ = self.relation(sketch_tokens, photo_tokens, sketches.mask, photos.mask)
        return logit, sketch_tokens[:, 0], photo_tokens[:, 0]

    def pairs_per_chunk(self, sketch_tokens: int, photo_tokens: int) -> int:
        """How many pairs of these token counts fit the memory budget; at least one."""
        config = self.config
        values = (sketch_tokens + photo_tokens) * (4 * self.token_width + config.cross_attention.hidden)
        values += sketch_tokens * photo_tokens * (2 * config.cross_attention.heads + config.relation.bins)
        return self.pairs_within_budget(values)

    def _project(self, encoding: Encoding, side: Modality) -> Projected:
        on_device = encoding.to(self.device, self.dtype)
        return self.cross_attention.project(on_device.tokens, on_device.mask, side)

    def _relate_pairs(self, sketch: Projected, photos: Projected, *, attention: bool) -> Relation:
        """One sketch [1, ...] against a chunk of P photos: logit [1, P]."""
        sketch_tokens, photo_tokens, to_photo, to_sketch = self.cross_attention(sketch, photos, weights=attention)
        pairs = len(photos.tokens)
        sketch_mask = None if sketch.mask is None else sketch.mask.expand(pairs, -1)
        logit, kernel = self.relation(sketch_tokens, photo_tokens, sketch_mask, photos.mask)
        why = None
        if to_photo is not None and to_sketch is not None:
            real = None if self.config.relation.kind == "upstream" else kernel.unsqueeze(0)
            why = RelationAttention(to_photo.unsqueeze(0), to_sketch.unsqueeze(0), real)
        return Relation(logit.unsqueeze(0), logit.sigmoid().unsqueeze(0), why)
