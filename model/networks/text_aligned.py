"""Text-aided alignment: sketch and photo tokens that descriptions of their category have shaped.

Su, Song, Huang, Wang and Yang, "Cross-modal attention alignment network with auxiliary text description for zero-shot
sketch-based image retrieval", 2024 (arXiv 2407.00979). Only its abstract was at hand.

The paper's, by its abstract: a language model describes each training category by answering interrogative sentences;
two vision transformers encode sketches and photos and a transformer encodes the sentences' tokens; text and sketch
tokens, and text and photo tokens, exchange information by cross-attention; tokens are aligned globally and locally.
Text is used in training alone.

Ours, where the abstract is silent:

* The encoder is handed in: two vision transformers as in the paper ("text-aligned-vit-b16"), or a hybrid encoder with a
  backbone for each modality ("text-aligned"), so that networks compare on the same one.
* Sentences are read by a frozen sentence transformer up to its last layer; one more layer of our own is trained.
* The exchange is one bidirectional cross-attention per modality (`model/layers/cross_attention.py`), and belongs to
  training alone: a checkpoint holds nothing of it.
* Globally, a triplet loss on the retrieval tokens after the exchange; locally, the relation over tokens ranks one right
  photo before wrong ones, with tokens after the exchange and, for search, with the encoder's own.
* The relation counts similarities between patches of both sides by radial basis functions, as in
  `model/layers/relation.py`.

What it can explain: which patch of the sketch is like which patch of the photo, as the relation read it. There is no
cross-attention between them at search time, and what a patch adds to the score is not worked out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from model.config import CrossAttentionConfig, EncoderConfig, NetworkConfig, RelationConfig
from model.errors import ConfigurationError
from model.layers.cross_attention import CrossAttention
from model.layers.matches import matches_of
from model.layers.relation import PooledRelation
from model.networks.encoder import make_encoder
from model.networks.encoder_network import EncoderNetwork, join_relations
from model.presets import ZSE_LITE, ZSE_LITE0, ZSE_TINY
from model.stored_numbers import Count
from model.types import Encoding, Relation


@dataclass(frozen=True)
class TextAlignedConfig(NetworkConfig):
    """A text-aligned network.

    Attributes:
        relation: over tokens; of kind "pooled".
        exchange: cross-attention between text and images, in training.
        text_heads: of the transformer layer over the sentences' tokens, in training.
    """

    architecture: ClassVar[str] = "text-aligned"
    relation: RelationConfig = field(default_factory=lambda: ZSE_LITE0.relation)
    exchange: CrossAttentionConfig = field(default_factory=lambda: ZSE_LITE0.cross_attention)
    text_heads: Count = 8

    def __post_init__(self) -> None:
        if self.relation.kind != "pooled" or self.relation.bins < 2:
            raise ConfigurationError("a text-aligned network needs relation kind 'pooled' with at least 2 bins")
        if self.exchange.values != "other":
            raise ConfigurationError("text and images have different token counts: the exchange needs values 'other'")
        for heads in (self.text_heads, self.exchange.heads):
            if heads < 1 or self.encoder.width % heads:
                raise ConfigurationError(f"a token width of {self.encoder.width} cannot be split into {heads} heads")


PRESETS: tuple[TextAlignedConfig, ...] = (
    TextAlignedConfig(preset="text-aligned", preprocess=ZSE_LITE.preprocess, encoder=ZSE_LITE.encoder),
    TextAlignedConfig(
        preset="text-aligned-vit-b16",
        encoder=EncoderConfig(backbone="vit_base_patch16_224", width=768, separate_backbones=True),
    ),
    TextAlignedConfig(
        preset="text-aligned-tiny",
        preprocess=ZSE_TINY.preprocess,
        encoder=ZSE_TINY.encoder,
        relation=ZSE_TINY.relation,
        exchange=ZSE_TINY.cross_attention,
        text_heads=4,
    ),
)


class TextAlignedNetwork(EncoderNetwork):
    """The part of text-aided alignment that searches: encoders, and a relation over their tokens.

    Args:
        config: what it is made of.
        backbone: the timm model that `config.encoder.backbone` names.
        pair_budget: see `EncoderNetwork`.
    """

    config: TextAlignedConfig

    def __init__(self, config: TextAlignedConfig, backbone: nn.Module, *, pair_budget: int = 48 * 2**20) -> None:
        super().__init__(config, make_encoder(config.encoder, backbone), pair_budget=pair_budget)
        self.relation = PooledRelation(config.encoder.width, config.relation)

    @property
    def exact_parts(self) -> tuple[nn.Module, ...]:
        """See `EncoderNetwork.exact_parts`."""
        return (self.relation.mlp,)

    def relate(self, sketches: Encoding, photos: Encoding, *, attention: bool = False) -> Relation:
        """See `Network.relate`; the attention is read off the kernel, see `matches_of`."""
        sketch = sketches.to(self.device, self.dtype)
        chunk = self.pairs_per_chunk(sketches.tokens.shape[1], photos.tokens.shape[1])
        rows: list[list[Relation]] = [[] for _ in range(len(sketches))]
        for start in range(0, len(photos), chunk):
            photo = photos[start : start + chunk].to(self.device, self.dtype)
            for number, row in enumerate(rows):
                row.append(self._relate_pairs(sketch[number : number + 1], photo, attention=attention))
        return join_relations(rows, len(sketches), len(photos), self.device)

    def relate_aligned(self, sketches: Encoding, photos: Encoding) -> tuple[Tensor, Tensor, Tensor]:
        """See `Network.relate_aligned`."""
        logit, _ = self.relation(sketches.tokens, photos.tokens, sketches.mask, photos.mask)
        return logit, sketches.retrieval_token, photos.retrieval_token

    def pairs_per_chunk(self, sketch_tokens: int, photo_tokens: int) -> int:
        """See `EncoderNetwork.pairs_per_chunk`."""
        relation = self.config.relation
        return self.pairs_within_budget(
            photo_tokens * (self.token_width + 2 * relation.width) + sketch_tokens * photo_tokens * 2 * relation.bins
        )

    def relate_chunk(self, sketches: Encoding, photos: Encoding, own: Tensor) -> Tensor:
        """See `EncoderNetwork.relate_chunk`."""
        sketch = sketches[own]
        logit: Tensor
        logit, _ = self.relation(sketch.tokens, photos.tokens, sketch.mask, photos.mask)
        return logit

    def _relate_pairs(self, sketch: Encoding, photos: Encoding, *, attention: bool) -> Relation:
        """One sketch against a chunk of P photos: logit [1, P]."""
        logit, kernel = self.relation(sketch.tokens, photos.tokens, sketch.mask, photos.mask)
        why = matches_of(kernel, sketch.mask, photos.mask) if attention else None
        return Relation(logit.unsqueeze(0), logit.sigmoid().unsqueeze(0), why)


class TextExchange(nn.Module):
    """Text and image tokens exchange information, in training alone.

    Args:
        text_width: of the sentences' tokens.
        config: of the network.
    """

    def __init__(self, text_width: int, config: TextAlignedConfig) -> None:
        super().__init__()
        width = config.encoder.width
        self.text = nn.Linear(text_width, width)
        self.position = nn.Parameter(torch.zeros(1, width))  # of the token that stands for the whole text
        self.layer = nn.TransformerEncoderLayer(
            width, config.text_heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(width)
        # The sides of a cross-attention are named for sketch and photo: here the image is "sketch", the text "photo".
        self.sketch = CrossAttention(width, config.exchange)
        self.photo = CrossAttention(width, config.exchange)

    def read(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Sentence tokens of C categories [C, T, W], mask [C, T] bool -> text tokens [C, 1 + T, D].

        Token 0 starts as the mean of the real ones and stands for the whole text after the layer.
        """
        real = mask.unsqueeze(-1)
        embedded = self.text(tokens) * real
        whole = embedded.sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True).clamp_min(1) + self.position
        padding = torch.cat([mask.new_zeros(len(mask), 1), ~mask], dim=1)
        read: Tensor = self.norm(self.layer(torch.cat([whole, embedded], dim=1), src_key_padding_mask=padding))
        return read

    def forward(
        self, sketches: Encoding, photos: Encoding, text: Tensor, mask: Tensor, labels: Tensor
    ) -> tuple[Encoding, Encoding, Tensor, Tensor]:
        """Let each image exchange with the text of its own category.

        Args:
            sketches, photos: B encodings each, image b of either side of category `labels[b]`.
            text: [C, 1 + T, D] from `read`.
            mask: [C, T] bool.
            labels: [B] rows of `text`.

        Returns:
            sketches and photos with tokens after the exchange, and token 0 of their texts after it, [B, D] each.
        """
        seen = torch.cat([mask.new_ones(len(mask), 1), mask], dim=1)[labels]
        out: list[Encoding] = []
        words: list[Tensor] = []
        for attention, images in ((self.sketch, sketches), (self.photo, photos)):
            image_side = attention.project(images.tokens, images.mask, "sketch")
            text_side = attention.project(text[labels], seen, "photo")
            image_tokens, text_tokens, _, _ = attention(image_side, text_side)
            out.append(Encoding(images.descriptor, image_tokens, images.positions, images.mask))
            words.append(text_tokens[:, 0])
        return out[0], out[1], words[0], words[1]
