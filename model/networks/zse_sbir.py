"""ZSE-SBIR (Lin et al., CVPR 2023): encoder, cross-attention and a kernel-based relation network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import ZseConfig
from model.layers.cross_attention import CrossAttention, Projected
from model.layers.matches import matches_of
from model.layers.matching import Compared, MatchingRelation
from model.layers.relation import PooledRelation, UpstreamRelation
from model.networks.encoder import Modality, make_encoder
from model.networks.encoder_network import EncoderNetwork, join_relations
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
        self.relation: UpstreamRelation | PooledRelation | MatchingRelation
        if config.relation.kind == "matching":
            self.relation = MatchingRelation(width, config.encoder.grid, config.relation)
            return
        self.cross_attention = CrossAttention(width, config.cross_attention)
        if config.relation.kind == "upstream":
            self.relation = UpstreamRelation(width, config.encoder.grid, config.relation)
        else:
            self.relation = PooledRelation(width, config.relation)

    @property
    def exact_parts(self) -> tuple[nn.Module, ...]:
        """See `EncoderNetwork.exact_parts`."""
        if isinstance(self.relation, MatchingRelation):
            return (self.relation,)  # whitening of few directions, and sums of small differences
        return (self.relation.mlp,)

    def relate(self, sketches: Encoding, photos: Encoding, *, attention: bool = False) -> Relation:
        """See `Network.relate`."""
        if isinstance(self.relation, MatchingRelation):
            return self._match(self.relation, sketches, photos, attention=attention)
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
        if isinstance(self.relation, MatchingRelation):
            logit, _ = self.relation(self.relation.side(sketches, "sketch"), self.relation.side(photos, "photo"))
            return logit, sketches.retrieval_token, photos.retrieval_token
        sketch_side, photo_side = self._project(sketches, "sketch"), self._project(photos, "photo")
        sketch_tokens, photo_tokens, _, _ = self.cross_attention(sketch_side, photo_side)
        logit, _ = self.relation(sketch_tokens, photo_tokens, sketches.mask, photos.mask)
        return logit, sketch_tokens[:, 0], photo_tokens[:, 0]

    def pairs_per_chunk(self, sketch_tokens: int, photo_tokens: int) -> int:
        """See `EncoderNetwork.pairs_per_chunk`."""
        config = self.config
        if config.relation.kind == "matching":
            values = photo_tokens * config.relation.width + sketch_tokens * photo_tokens * (
                4 * len(config.relation.radii) + 4
            )
            return self.pairs_within_budget(values)
        values = (sketch_tokens + photo_tokens) * (4 * self.token_width + config.cross_attention.hidden)
        values += sketch_tokens * photo_tokens * (2 * config.cross_attention.heads + config.relation.bins)
        return self.pairs_within_budget(values)

    def relate_chunk(self, sketches: Encoding, photos: Encoding, own: Tensor) -> Tensor:
        """See `EncoderNetwork.relate_chunk`."""
        logit: Tensor
        if isinstance(self.relation, MatchingRelation):
            logit, _ = self.relation(self.relation.side(sketches, "sketch")[own], self.relation.side(photos, "photo"))
            return logit
        sketch_side, photo_side = self._project(sketches, "sketch")[own], self._project(photos, "photo")
        sketch_tokens, photo_tokens, _, _ = self.cross_attention(sketch_side, photo_side)
        logit, _ = self.relation(sketch_tokens, photo_tokens, sketch_side.mask, photo_side.mask)
        return logit

    def _match(self, relation: MatchingRelation, sketches: Encoding, photos: Encoding, *, attention: bool) -> Relation:
        """`relate` where patches are matched: each image is projected once, and pairs need little memory."""
        sketch_side = relation.side(sketches.to(self.device, self.dtype), "sketch")
        chunk = self.pairs_per_chunk(sketches.tokens.shape[1], photos.tokens.shape[1])
        rows: list[list[Relation]] = [[] for _ in range(len(sketches))]
        for start in range(0, len(photos), chunk):
            photo_side = relation.side(photos[start : start + chunk].to(self.device, self.dtype), "photo")
            for number, row in enumerate(rows):
                one = sketch_side[number : number + 1]
                row.append(_matched(relation, one, photo_side, attention=attention))
        return join_relations(rows, len(sketches), len(photos), self.device)

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


def _matched(relation: MatchingRelation, sketch: Compared, photos: Compared, *, attention: bool) -> Relation:
    """One sketch [1, ...] against a chunk of P photos: logit [1, P]."""
    logit, kernel = relation(sketch, photos)
    why = None
    if attention:
        why = matches_of(relation.placed(sketch, photos, kernel), _with_first(sketch.mask), _with_first(photos.mask))
    return Relation(logit.unsqueeze(0), logit.sigmoid().unsqueeze(0), why)


def _with_first(mask: Tensor | None) -> Tensor | None:
    """A mask of patches [B, N - 1] as one of tokens [B, N]; the retrieval token is always real."""
    return None if mask is None else F.pad(mask, (1, 0), value=True)
