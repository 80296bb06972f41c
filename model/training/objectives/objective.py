"""What a training step minimises: our objective and upstream's, each with the heads that only training needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.networks.encoder import Features, Modality
from model.networks.network import Network
from model.training.config import TrainConfig
from model.training.objectives.losses import (
    relation_decide,
    relation_rank,
    soft_cross_entropy,
    supervised_contrastive,
    upstream_relation,
    upstream_triplet,
)
from model.training.sampling import wrong_photos
from model.types import Encoding

SMOOTHING = 0.1  # of the categories' labels: share of the target spread over all categories


@dataclass(frozen=True)
class Batch:
    """Images of one step on the network's device, augmented and normalised.

    Attributes:
        sketches: [B + X, 3, S, S], or their feature maps; the last X are of categories without photos.
        photos: [B, 3, S, S], or their feature maps.
        labels: [B] int64 of the first B sketches and of the photos.
        extra_labels: [X] int64 of the other sketches.
        sketch_targets: [B + X, K] soft ImageNet predictions, or None.
        photo_targets: [B, K] or None.
    """

    sketches: Tensor | Features
    photos: Tensor | Features
    labels: Tensor
    extra_labels: Tensor
    sketch_targets: Tensor | None
    photo_targets: Tensor | None


@dataclass(frozen=True)
class Semantics:
    """What is known of the categories before training.

    Attributes:
        names: [C, T] float32 embeddings of all categories' names, L2-normalised, or None.
        classes: K, the number of the backbone's own classes, or 0 without distillation.
        sentences: [C, T, W] float32 tokens of the sentences that describe each category, or None.
        sentence_mask: [C, T] bool, True for real tokens, or None.
        projection: [E, F] float32 start of the descriptor from F pooled features, or None.
        classifier: [K, E] float32 start of the head that repeats the backbone's predictions, or None.
    """

    names: Tensor | None = None
    classes: int = 0
    projection: Tensor | None = None
    classifier: Tensor | None = None
    sentences: Tensor | None = None
    sentence_mask: Tensor | None = None


def encode(network: Network, inputs: Tensor | Features, modality: Modality) -> Encoding:
    """Encodings of images or of their stored feature maps."""
    if isinstance(inputs, Tensor):
        return network.encode_sketch(inputs) if modality == "sketch" else network.encode_photo(inputs)
    return network.encode_features(inputs, modality)


class ContrastiveObjective(nn.Module):
    """Ours: the descriptor learns by contrast, categories, names and old knowledge; the relation by hard choices."""

    def __init__(self, network: Network, categories: int, config: TrainConfig, semantics: Semantics) -> None:
        super().__init__()
        self.network = network
        self.config = config
        width = network.descriptor_size
        self.prototypes = nn.Parameter(F.normalize(torch.randn(categories, width), dim=1))
        self.names: nn.Linear | None = None
        self.name_embeddings: Tensor
        self.register_buffer("name_embeddings", semantics.names, persistent=False)
        if semantics.names is not None and config.weights.text:
            self.names = nn.Linear(width, semantics.names.shape[1], bias=False)
        self.classes: nn.Linear | None = None
        if semantics.classes and config.weights.distil:
            self.classes = nn.Linear(width, semantics.classes)
            if semantics.classifier is not None:
                self.classes.weight.data.copy_(semantics.classifier)
            self.class_scale = nn.Parameter(torch.tensor(config.scale))

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Every term of the loss, unweighted, as scalars by name."""
        sketches = encode(self.network, batch.sketches, "sketch")
        photos = encode(self.network, batch.photos, "photo")
        with torch.autocast(batch.labels.device.type, enabled=False):  # losses divide by small temperatures
            terms = self._descriptor_terms(sketches, photos, batch)
            columns = self._columns(sketches, photos, batch.labels, generator) if self.config.relates else None
        if columns is not None:
            rows = torch.arange(len(columns), device=columns.device)[:, None].expand_as(columns)
            logit, _, _ = self.network.relate_aligned(sketches[rows.flatten()], photos[columns.flatten()])
            logit = logit.float().view(columns.shape)
            terms["rank"] = relation_rank(logit)
            terms["decide"] = relation_decide(logit)
        return {**terms, **self.own_terms(sketches, photos, batch, columns)}

    def own_terms(
        self, sketches: Encoding, photos: Encoding, batch: Batch, columns: Tensor | None
    ) -> dict[str, Tensor]:
        """The terms that only one kind of network has; none here.

        Args:
            sketches, photos: encodings of the batch.
            batch: gives the labels.
            columns: [B, 1 + wrong] photos that each paired sketch was related to, the right one first, or None.
        """
        del sketches, photos, batch, columns
        return {}

    def _descriptor_terms(self, sketches: Encoding, photos: Encoding, batch: Batch) -> dict[str, Tensor]:
        """The terms that read descriptors alone."""
        weights, scale = self.config.weights, self.config.scale
        labels = torch.cat([batch.labels, batch.extra_labels, batch.labels])
        descriptors = torch.cat([sketches.descriptor, photos.descriptor]).float()
        terms: dict[str, Tensor] = {}
        if weights.contrast:
            terms["contrast"] = supervised_contrastive(descriptors, labels, self.config.temperature)
        if weights.classify:
            logits = scale * descriptors @ F.normalize(self.prototypes, dim=1).T
            terms["classify"] = F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
        if self.names is not None:
            named = F.normalize(self.names(descriptors), dim=1)
            terms["text"] = F.cross_entropy(scale * named @ self.name_embeddings.T, labels, label_smoothing=SMOOTHING)
        if self.classes is not None and batch.photo_targets is not None and batch.sketch_targets is not None:
            logits = self.class_scale * self.classes(descriptors)
            terms["distil"] = soft_cross_entropy(logits, torch.cat([batch.sketch_targets, batch.photo_targets]))
        return terms

    def _columns(self, sketches: Encoding, photos: Encoding, labels: Tensor, generator: torch.Generator) -> Tensor:
        """[B, 1 + wrong] photos to relate each paired sketch to: one of its category at random, then wrong ones."""
        similarity = sketches.descriptor[: len(labels)].detach() @ photos.descriptor.detach().T
        same = labels[:, None] == labels[None, :]
        wrong = wrong_photos(similarity, same, self.config.hard, self.config.easy, generator)
        noise = torch.rand(same.shape, generator=generator, device=same.device)
        right = noise.masked_fill(~same, -1.0).argmax(dim=1, keepdim=True)
        return torch.cat([right, wrong], dim=1)

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum."""
        return sum((getattr(self.config.weights, name) * term for name, term in terms.items()), torch.tensor(0.0))


class UpstreamObjective(nn.Module):
    """Upstream's: sketch, photo of its class, second sketch of that class, photo of another class."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Triplet and relation terms; the batch's second half of sketches are the second sketches."""
        del generator
        count = len(batch.labels)
        sketches = encode(self.network, batch.sketches, "sketch")
        photos = encode(self.network, batch.photos, "photo")
        others = torch.arange(count, device=batch.labels.device).roll(1)  # photos of other classes: all labels differ
        logit, sketch_token, photo_token = self.network.relate_aligned(sketches[:count], photos)
        wrong_logit, _, other_token = self.network.relate_aligned(sketches[count:], photos[others])
        return {
            "triplet": upstream_triplet(sketch_token.float(), photo_token.float(), other_token.float()),
            "relation": upstream_relation(logit.float().sigmoid(), wrong_logit.float().sigmoid()),
        }

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """2 x triplet + 4 x relation."""
        return 2 * terms["triplet"] + 4 * terms["relation"]
