"""The interface that every network offers: encode once, relate many.

Sketches and photos are encoded each on their own; `relate` scores all pairs of them. What depends on one image alone is
computed once, pairs run in chunks under a memory budget, and a sketch is never copied per pair.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from model.config import PreprocessConfig
from model.layers.folding import fold_batch_norms
from model.layers.text_map import TextMap
from model.networks.encoder import Features, Modality
from model.ranking.score import score_of
from model.score_rules import ScoreRule
from model.types import Encoding, Relation


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

    def relate_each(self, sketches: Encoding, photos: Encoding, counts: Sequence[int]) -> Tensor:
        """Relate each of Q sketches to photos of its own: what `relate` gives, without the pairs nobody asks for.

        Args:
            sketches: Q encodings from `encode_sketch`.
            photos: P encodings from `encode_photo`: those of the first sketch, then those of the second, and so on.
            counts: Q numbers, 0 included: how many of the photos belong to each sketch.

        Returns:
            logits [P] float32, in the order of the photos.

        Raises:
            ValueError: there are not Q counts, one is negative, or their sum is not P.
        """
        check_counts(sketches, photos, counts)
        runs = enumerate(itertools.pairwise([0, *itertools.accumulate(counts)]))
        logits = [self.relate(sketches[n : n + 1], photos[a:b]).logit[0] for n, (a, b) in runs if b > a]
        return torch.cat(logits) if logits else torch.zeros(0, device=self.device)

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

    def warm_up(self) -> None:
        """Prepare for many small batches, where the device gains by it; does nothing where not, or a second time.

        Only the thread that calls this computes faster after it. In a service that is the `DeviceWorker`'s.
        """

    def prepare_batches(self, photos: int) -> None:
        """Prepare for many batches of so many photos, as `warm_up` does for small ones; smaller ones gain as well.

        Only the thread that calls this encodes them faster after it.
        """

    def forget_batches(self) -> None:
        """Free the memory of what `prepare_batches` prepared."""

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


def check_counts(sketches: Encoding, photos: Encoding, counts: Sequence[int]) -> None:
    """Raises ValueError if `counts` cannot say which of the photos belong to which sketch."""
    if len(counts) != len(sketches) or sum(counts) != len(photos) or min(counts, default=0) < 0:
        raise ValueError(f"{len(sketches)} sketches and {len(photos)} photos cannot be related by the counts {counts}")
