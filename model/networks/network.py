"""The interface that every network offers, and what networks around an encoder share: encode once, relate many.

Sketches and photos are encoded each on their own; `relate` scores all pairs of them. What depends on one image alone is
computed once, pairs run in chunks under a memory budget, and a sketch is never copied per pair.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from model.config import NetworkConfig, PreprocessConfig
from model.layers.folding import fold_batch_norms
from model.layers.text_map import TextMap
from model.layers.whitening import Whitening
from model.networks.encoder import Features, HybridEncoder, Modality
from model.ranking.score import score_of
from model.score_rules import ScoreRule
from model.text.clip_tower import ClipTower
from model.types import Encoding, Relation, RelationAttention


@dataclass(frozen=True)
class CheckpointIdentity:
    """Which weights a network carries.

    Attributes:
        name: of the checkpoint, for people.
        sha256: hex digest of its file's content; "" for weights that were never saved.
    """

    name: str
    sha256: str


class Network(nn.Module, ABC):
    """A network for sketch-based image retrieval: one encoder per modality and a relation between their encodings.

    Attributes:
        identity: the checkpoint it was loaded from.
        folded: batch norms were folded away, so that it can be neither trained nor saved.
        grid: side of the patch grid that `Encoding.positions` count in, row by row.
        token_width: D.
        descriptor_size: E.
        photo_tokens: N of a photo, retrieval token included.
        pair_budget: bytes that the intermediate values of one chunk of pairs may take; `relate` heeds it.
        text_map: from embeddings of sentences to descriptors, so that words search as sketches do; None where the
            checkpoint has none.
    """

    identity: CheckpointIdentity = CheckpointIdentity("untrained", "")
    folded: bool = False
    config: Any
    pair_budget: int
    grid: int
    token_width: int
    descriptor_size: int
    photo_tokens: int
    text_map: TextMap | None

    @abstractmethod
    def encode_sketch(self, images: Tensor) -> Encoding:
        """Encode sketches: normalised images [B, 3, S, S] on any device, any float type -> B encodings."""

    @abstractmethod
    def encode_photo(self, images: Tensor) -> Encoding:
        """Encode photos: normalised images [B, 3, S, S] on any device, any float type -> B encodings."""

    @abstractmethod
    def relate(self, sketches: Encoding, photos: Encoding, *, attention: bool = False) -> Relation:
        """Relate every one of S sketches to every one of P photos.

        Args:
            sketches: S encodings from `encode_sketch`.
            photos: P encodings from `encode_photo`.
            attention: also return what the explanations need; memory grows with S * P * Ns * Np.

        Returns:
            logit and score [S, P] float32.
        """

    @abstractmethod
    def relate_aligned(self, sketches: Encoding, photos: Encoding) -> tuple[Tensor, Tensor, Tensor]:
        """Relate sketch b to photo b, for training.

        Args:
            sketches: B encodings.
            photos: B encodings.

        Returns:
            logit [B] float32, and both retrieval tokens [B, D] as the relation leaves them, which upstream's triplet
            loss reads.
        """

    def start_from(self, projection: Tensor) -> None:
        """Begin training with the backbone's knowledge, where the network can: see `HybridEncoder.start_from`."""
        del projection

    def encode_features(self, features: Features, modality: Modality) -> Encoding:
        """Encode from a hybrid encoder's feature maps, for training on a backbone that stays as it is.

        Raises:
            TypeError: the network has no hybrid encoder.
        """
        del features
        raise TypeError(f"only a hybrid encoder has feature maps of a {modality} to encode from")

    @property
    def hash_projection(self) -> Tensor | None:
        """[bits, E] float32 on the CPU: the signs of its product with a descriptor are a learnt hash code; or None."""
        return None

    @property
    def preprocess(self) -> PreprocessConfig:
        """How images are prepared for this network."""
        config: PreprocessConfig = self.config.preprocess
        return config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The arithmetic of tokens."""
        return next(self.parameters()).dtype

    def cast(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """Move to `device` and compute tokens as `dtype`; what decides the order of results may stay float32."""
        return self.to(device=device, dtype=dtype)

    def fold(self) -> Self:
        """Make it faster to use, in place: the same outputs within rounding, but no more training or saving."""
        self.folded = fold_batch_norms(self.eval()) > 0
        return self

    def score(self, logit: Tensor, cosine: Tensor) -> Tensor:
        """What results are ordered by, in [0, 1]: the checkpoint's rule over relation logits and recall scores of all
        candidates of a query, [..., C] each."""
        rule: ScoreRule = self.config.score
        return score_of(rule, logit, cosine)


class EncoderNetwork(Network):
    """A network around an encoder of tokens, which is handed to it: what ZSE-SBIR and its neighbours share.

    Args:
        config: what it is made of.
        encoder: (images, modality) -> tokens, positions, descriptor, as `model/networks/encoder.py` makes it.
        pair_budget: bytes that the intermediate values of one chunk of pairs may take on a CPU, where a chunk should
            stay near the caches; a GPU gets sixteen times as much, so that its cores have enough to do.
    """

    def __init__(self, config: NetworkConfig, encoder: nn.Module, *, pair_budget: int = 48 * 2**20) -> None:
        super().__init__()
        self.config = config
        self.pair_budget = pair_budget
        self.grid = config.encoder.grid
        self.token_width = config.encoder.width
        self.descriptor_size = config.encoder.descriptor_size or config.encoder.width
        self.photo_tokens = 1 + config.encoder.kept_patches
        self.encoder = encoder
        self.whitening = Whitening(self.descriptor_size) if config.encoder.whitened else None
        width = config.encoder.text_width
        tower = config.encoder.text_tower
        own = None if tower is None else ClipTower(tower)
        self.text_map = TextMap(width, self.descriptor_size, own) if width else None

    @property
    def exact_parts(self) -> tuple[nn.Module, ...]:
        """The last layers, which stay float32: a logit of 8 bits would tie good candidates."""
        return ()

    def cast(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """See `Network.cast`: the exact parts, the whitening and the text map stay float32."""
        parts = [*self.exact_parts, *(part for part in (self.whitening, self.text_map) if part is not None)]
        exact = [{name: value.to(device, copy=True) for name, value in _values(part).items()} for part in parts]
        super().cast(device, dtype)
        for part, values in zip(parts, exact, strict=True):
            part.float()
            with torch.no_grad():
                for name, value in _values(part).items():
                    value.copy_(values[name])
        self.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in its stubs
        return self

    def encode_sketch(self, images: Tensor) -> Encoding:
        """See `Network.encode_sketch`."""
        return self._finish(self.encoder(images.to(self.device, self.dtype), "sketch"), "sketch")

    def encode_photo(self, images: Tensor) -> Encoding:
        """See `Network.encode_photo`."""
        return self._finish(self.encoder(images.to(self.device, self.dtype), "photo"), "photo")

    def encode_features(self, features: Features, modality: Modality) -> Encoding:
        """See `Network.encode_features`."""
        if not isinstance(self.encoder, HybridEncoder):
            return super().encode_features(features, modality)
        return self._finish(self.encoder.from_features(features, modality), modality)

    def start_from(self, projection: Tensor) -> None:
        """See `Network.start_from`."""
        if isinstance(self.encoder, HybridEncoder):
            self.encoder.start_from(projection)

    def pairs_within_budget(self, values: int) -> int:
        """How many pairs of so many intermediate values each fit the memory budget; at least one."""
        budget = self.pair_budget * (16 if self.device.type == "cuda" else 1)
        return max(1, budget // (self.dtype.itemsize * values))

    def _finish(self, encoded: tuple[Tensor, Tensor, Tensor], modality: Modality) -> Encoding:
        """The encoding of what leaves the encoder: tokens [B, N, D], positions [B, N - 1], descriptor [B, E]."""
        tokens, positions, descriptor = encoded
        if self.whitening is not None:
            descriptor = self.whitening(descriptor, modality)
        return Encoding(descriptor=descriptor, tokens=tokens, positions=positions)


def _values(part: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, those that are not saved included."""
    return {**dict(part.named_parameters()), **dict(part.named_buffers())}


def join_relations(rows: list[list[Relation]], sketches: int, photos: int, device: torch.device) -> Relation:
    """Chunks of pairs, by sketch and then by photo, as one relation [S, P]."""
    if not sketches or not photos:
        empty = torch.zeros(sketches, photos, device=device)
        return Relation(empty, empty)
    logit = torch.cat([torch.cat([c.logit for c in row], dim=1) for row in rows])
    attentions = [[c.attention for c in row if c.attention is not None] for row in rows]
    attention = None
    if attentions[0]:
        whole = [[torch.cat(parts, dim=1) for parts in zip(*map(_parts, row), strict=True)] for row in attentions]
        attention = RelationAttention(*[torch.cat(parts) for parts in zip(*whole, strict=True)])
    return Relation(logit, logit.sigmoid(), attention)


def _parts(attention: RelationAttention) -> list[Tensor]:
    parts = [attention.sketch_to_photo, attention.photo_to_sketch]
    return parts if attention.kernel is None else [*parts, attention.kernel]
