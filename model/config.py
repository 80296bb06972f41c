"""What networks are made of: frozen dataclasses. `model/presets.py` has those with a name.

A configuration is stored in the checkpoint as JSON, so everything here is plain values. A new kind of network adds a
configuration class with its own `architecture` beside its module and registers both in `model/networks/registry.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from model.errors import ConfigurationError
from model.score_rules import KindRules, LikelyRules, QueryKind, ScoreRule
from model.stored_numbers import Count, Finite, Positive, Radius, Width


@dataclass(frozen=True)
class PreprocessConfig:
    """How an image becomes the network's input.

    Attributes:
        image_size: side S of the square input, in pixels.
        mean, std: per-channel normalisation of RGB in [0, 1].
        photo_fit: "squash" resizes to S x S and loses the aspect ratio (upstream's way); "pad" keeps it and fills up
            with the mean colour of the border.
        sketch_margin: blank pixels kept around the ink's bounding box before scaling.
        sketch_line_width: target width of lines in pixels at S x S; 0 leaves lines as drawn.
    """

    image_size: Annotated[int, Field(ge=16, le=2048)] = 224
    mean: tuple[Finite, Finite, Finite] = (0.5, 0.5, 0.5)
    std: tuple[Positive, Positive, Positive] = (0.5, 0.5, 0.5)
    photo_fit: Literal["squash", "pad"] = "squash"
    sketch_margin: Width = 10
    sketch_line_width: Annotated[float, Field(ge=0, le=64)] = 0.0

    @property
    def identity(self) -> str:
        """Short stable id; galleries built with another one must not be mixed."""
        return "p" + hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class TextTowerConfig:
    """The text tower of a CLIP (`model/text/clip_tower.py`).

    Attributes:
        vocabulary: how many pieces of words it knows.
        context: most pieces of a text, its beginning and end included.
        width: of its layers.
        depth: how many layers.
        embedding: T, of the embedding of a text.
        quick_gelu: whether it was trained with OpenAI's approximation of GELU.
    """

    vocabulary: Annotated[int, Field(ge=1, le=2**20)]
    context: Annotated[int, Field(ge=1, le=4096)]
    width: Width
    depth: Count
    embedding: Width
    quick_gelu: bool

    def __post_init__(self) -> None:
        if self.width % 64 or min(self.width, self.depth, self.embedding) < 1:
            raise ConfigurationError(f"no text tower of a CLIP is made like this: {self}")


@dataclass(frozen=True)
class EncoderConfig:
    """The encoder: a timm backbone, a retrieval token and a learnable tokenizer.

    Attributes:
        kind: "vit" runs a timm VisionTransformer whose class token is the retrieval token; "hybrid" turns the feature
            maps of a timm convolutional network (strides 16 and 32) into patch tokens for a few transformer blocks.
        backbone: timm's name for it.
        grid: side of the original patch grid (14: 196 patches at 224 px).
        width: token width D.
        keep_rates: (block index from 1, share of patch tokens kept after it); () keeps all. ZSE-SBIR section 3.2.
        depth, heads: of the hybrid's own blocks; unused for "vit", where the backbone decides.
        separate_backbones: sketches get a backbone of their own, which starts as a copy: a "hybrid" shares the blocks
            behind it, a "vit" shares nothing.
        scale_embedding: average the patch embedding with upstream's four-convolution "scale embedding".
        descriptor_size: E of a learned linear descriptor head; 0 uses the normalised retrieval token itself (E = D).
        norm_eps: of the LayerNorms; None keeps the backbone's own (1e-6 for "hybrid").
        whitened: descriptors pass through a whitening, and familiar photos step back, both fitted after training
            (`model/layers/whitening.py`, `model/layers/familiarity.py`).
        text_width: of the embeddings of sentences that a map, fitted after training, brings among the descriptors
            (`model/layers/text_map.py`); 0: there is no map.
        text_tower: what embeds the sentences, kept in the checkpoint; None: the sentence encoder that all share.
    """

    kind: Literal["vit", "hybrid"] = "vit"
    backbone: str = "vit_base_patch16_224"
    grid: Count = 14
    width: Width = 768
    keep_rates: tuple[tuple[Count, Finite], ...] = ()
    depth: Count = 0
    heads: Count = 0
    separate_backbones: bool = False
    scale_embedding: bool = False
    descriptor_size: Width = 0
    norm_eps: Positive | None = None
    whitened: bool = False
    text_width: Width = 0
    text_tower: TextTowerConfig | None = None

    def __post_init__(self) -> None:
        layers = [layer for layer, _ in self.keep_rates]
        if layers != sorted(set(layers)) or (layers and layers[0] < 1):
            raise ConfigurationError(
                f"keep rates must name blocks from 1 upwards, each once and in order, not {layers}"
            )
        if not all(0 < rate <= 1 for _, rate in self.keep_rates):
            raise ConfigurationError(f"a keep rate is a share above 0 and at most 1, not {self.keep_rates}")
        if self.kind == "hybrid":
            if self.heads < 1 or self.width % self.heads:
                raise ConfigurationError(f"a token width of {self.width} cannot be split into {self.heads} heads")
            if layers and layers[-1] > self.depth:
                raise ConfigurationError(f"a keep rate names block {layers[-1]}, but there are only {self.depth}")
            if self.descriptor_size < 1:
                raise ConfigurationError("a hybrid encoder learns its descriptor: descriptor_size must be at least 1")

    @property
    def kept_patches(self) -> int:
        """Number of patch tokens that leave the encoder."""
        count = self.grid**2
        for _, rate in self.keep_rates:
            count = kept_count(count, rate)
        return count


def kept_count(count: int, rate: float) -> int:
    """How many of `count` patch tokens a keep rate keeps: the share, rounded up to whole tokens."""
    return math.ceil(round(rate * count, 6))  # 0.07 * 100 is 7.000000000000001 in floating point


@dataclass(frozen=True)
class CrossAttentionConfig:
    """Bidirectional cross-attention, one layer per modality.

    Attributes:
        heads: attention heads.
        hidden: width of the feed-forward's inner layer.
        values: "own" reads values from the attending side (upstream's code: only k crosses over; needs equal token
            counts); "other" reads keys and values from the other side (standard cross-attention); "none" reads nothing
            from the other side, so that tokens are related as they leave the encoder, and there is no layer at all.
        norm: "upstream" is a * (x - mean) / (std + 1e-6) + b with the unbiased std; "layer" is LayerNorm.
    """

    heads: Count = 8
    hidden: Width = 1024
    values: Literal["own", "other", "none"] = "own"
    norm: Literal["upstream", "layer"] = "upstream"


@dataclass(frozen=True)
class RelationConfig:
    """The kernel-based relation network.

    Attributes:
        kind: "upstream" reinterprets the token matrix in memory as an image before a 2 x 2 convolution, and flattens
            the 49 x 49 kernel into an MLP; "pooled" keeps one kernel entry per pair of real patches and summarises it
            by radial basis functions, so that any number of masked tokens is welcome; "matching" compares whitened
            tokens where they lie and reads the best matches within several distances (`model/layers/matching.py`).
        width: of the tokens compared in the kernel.
        hidden: inner widths of the MLP that ends in one logit; of "matching", one.
        bins: number of radial basis functions ("pooled" only).
        radii: distances in cells of the patch grid within which a match counts fully, roughly ("matching" only); 0 is
            any distance.
    """

    kind: Literal["upstream", "pooled", "matching"] = "upstream"
    width: Width = 512
    hidden: tuple[Width, ...] = (343, 49)
    bins: Width = 0
    radii: tuple[Radius, ...] = ()


@dataclass(frozen=True)
class NetworkConfig:
    """What every network's configuration holds; each kind of network adds its own parts.

    Attributes:
        architecture: which kind, as `model/networks/registry.py` knows it.
        preset: the configuration's name.
        preprocess: how images are prepared.
        encoder: from images to tokens.
        score: what results of a sketch are ordered by.
        kinds: the same for other kinds of query.
        likely: which results are likely to be right.
    """

    architecture: ClassVar[str] = ""
    preset: str = "custom"
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    score: ScoreRule = field(default_factory=ScoreRule)
    kinds: KindRules = field(default_factory=KindRules)
    likely: LikelyRules = field(default_factory=LikelyRules)

    def rule_for(self, kind: QueryKind) -> ScoreRule | None:
        """What results of such a query are ordered by; None: by the recall score as it is."""
        if kind == "sketch":
            return self.score
        own: ScoreRule | None = getattr(self.kinds, kind)
        return self.score if own is None and kind == "sketch_and_more" else own


@dataclass(frozen=True)
class ZseConfig(NetworkConfig):
    """A ZSE-SBIR network (Lin et al., CVPR 2023)."""

    architecture: ClassVar[str] = "zse"
    cross_attention: CrossAttentionConfig = field(default_factory=CrossAttentionConfig)
    relation: RelationConfig = field(default_factory=RelationConfig)

    def __post_init__(self) -> None:
        encoder, heads = self.encoder, self.cross_attention.heads
        if heads < 1 or encoder.width % heads:
            raise ConfigurationError(f"a token width of {encoder.width} cannot be split into {heads} attention heads")
        if self.relation.kind == "upstream":
            if encoder.kept_patches != encoder.grid**2:
                raise ConfigurationError(
                    f"the upstream relation network reads all {encoder.grid**2} patch tokens, but the keep rates leave "
                    f"{encoder.kept_patches}: choose relation kind 'pooled', or keep rates of 1"
                )
            if encoder.grid % 2:
                raise ConfigurationError(
                    f"the upstream relation network needs an even patch grid, not {encoder.grid} x {encoder.grid}: "
                    "choose relation kind 'pooled' or another image size"
                )
        elif self.relation.kind == "pooled" and self.relation.bins < 2:
            raise ConfigurationError("a pooled relation network needs at least 2 bins")
        elif self.relation.kind == "matching" and (not self.relation.radii or len(self.relation.hidden) != 1):
            raise ConfigurationError("a matching relation needs radii, and one hidden width")
        if (self.relation.kind == "matching") != (self.cross_attention.values == "none"):
            raise ConfigurationError(
                "a matching relation reads tokens as they leave the encoder: its cross-attention has values 'none', "
                "and no other relation's has"
            )
