"""What a training step minimises: our objective and upstream's, each with the heads that only training needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.networks.encoder import Features, Modality
from model.networks.network import Network
from model.training.config import TrainConfig
from model.training.drawn import UNKNOWN, Drawn
from model.training.objectives.losses import (
    own_photo,
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
        drawn: drawings that have a photo of their own, or None.
    """

    sketches: Tensor | Features
    photos: Tensor | Features
    labels: Tensor
    extra_labels: Tensor
    sketch_targets: Tensor | None
    photo_targets: Tensor | None
    drawn: Drawn | None = None


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
        drawn = batch.drawn
        every_sketch = encode(self.network, _with(batch.sketches, None if drawn is None else drawn.drawings), "sketch")
        every_photo = encode(self.network, _with(batch.photos, None if drawn is None else drawn.photos), "photo")
        count = len(batch.labels)
        sketches = every_sketch[: count + len(batch.extra_labels)]
        photos = every_photo[:count]
        with torch.autocast(batch.labels.device.type, enabled=False):  # losses divide by small temperatures
            terms = self._descriptor_terms(every_sketch, every_photo, batch)
            columns = self._columns(sketches, photos, batch.labels, generator) if self.config.relates else None
        if columns is not None:
            logit, both = self._related(sketches, photos, columns)
            terms["rank"] = self._ranked(logit, both)
            terms["decide"] = relation_decide(logit)
        if drawn is not None and len(drawn.own):
            terms |= self._drawn_terms(every_sketch[len(sketches) :], every_photo, drawn, generator)
        return {**terms, **self.own_terms(sketches, photos, batch, columns)}

    def _related(self, sketches: Encoding, photos: Encoding, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Relation logits of each sketch with some photos, and the same with the weighted cosine: [S, C] each."""
        rows = torch.arange(len(columns), device=columns.device)[:, None].expand_as(columns)
        logit, _, _ = self.network.relate_aligned(sketches[rows.flatten()], photos[columns.flatten()])
        logit = logit.float().view(columns.shape)
        if not self.config.beside:
            return logit, logit
        cosine = (sketches.descriptor[: len(columns)] @ photos.descriptor.T).detach().float().gather(1, columns)
        return logit, logit + self.config.beside * cosine

    def _ranked(self, logit: Tensor, both: Tensor) -> Tensor:
        """The ranking loss of logits whose first column is right, half of it beside the cosine where that counts."""
        if not self.config.beside:
            return relation_rank(logit)
        return (relation_rank(logit) + relation_rank(both)) / 2

    def _drawn_terms(
        self, drawings: Encoding, photos: Encoding, drawn: Drawn, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The terms by which a drawing finds its own photo among all of the step's."""
        weights = self.config.weights
        terms: dict[str, Tensor] = {}
        with torch.autocast(drawn.own.device.type, enabled=False):
            similarity = drawings.descriptor.float() @ photos.descriptor.float().T
            if weights.own:
                terms["own"] = own_photo(similarity, drawn.own, self.config.own_temperature)
        if weights.rank_own:
            same = F.one_hot(drawn.own, len(photos)).bool()
            wrong = wrong_photos(similarity.detach(), same, self.config.hard, self.config.easy, generator)
            logit, both = self._related(drawings, photos, torch.cat([drawn.own[:, None], wrong], dim=1))
            terms["rank_own"] = self._ranked(logit, both)
        return terms

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
        labels, targets = _labels_and_targets(batch)
        descriptors = torch.cat([sketches.descriptor, photos.descriptor]).float()
        known = labels >= 0
        terms: dict[str, Tensor] = {}
        if weights.contrast:
            partners = labels if batch.drawn is None else _with_own_labels(labels, batch, len(self.prototypes))
            terms["contrast"] = supervised_contrastive(descriptors, partners, self.config.temperature)
        if weights.classify:
            logits = scale * descriptors[known] @ F.normalize(self.prototypes, dim=1).T
            terms["classify"] = F.cross_entropy(logits, labels[known], label_smoothing=SMOOTHING)
        if self.names is not None:
            named = scale * F.normalize(self.names(descriptors[known]), dim=1) @ self.name_embeddings.T
            terms["text"] = F.cross_entropy(named, labels[known], label_smoothing=SMOOTHING)
        if self.classes is not None and targets is not None:
            terms["distil"] = soft_cross_entropy(self.class_scale * self.classes(descriptors), targets)
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


def _with(inputs: Tensor | Features, more: Tensor | None) -> Tensor | Features:
    """Images with more images behind them; feature maps stay as they are."""
    return torch.cat([inputs, more]) if isinstance(inputs, Tensor) and more is not None else inputs


def _labels_and_targets(batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Labels [N] and soft predictions [N, K] of all sketches and then all photos of a batch."""
    drawn = batch.drawn
    labels = [batch.labels, batch.extra_labels, batch.labels]
    targets = [batch.sketch_targets, batch.photo_targets]
    if drawn is not None:
        labels = [batch.labels, batch.extra_labels, drawn.labels, batch.labels, drawn.photo_labels]
        targets = [batch.sketch_targets, drawn.targets, batch.photo_targets, drawn.photo_targets]
    known = [part for part in targets if part is not None]
    return torch.cat(labels), torch.cat(known) if len(known) == len(targets) else None


def _with_own_labels(labels: Tensor, batch: Batch, categories: int) -> Tensor:
    """Labels [N] in which a photo without a category and its drawing share one that nothing else has."""
    if batch.drawn is None:
        return labels
    drawn, count = batch.drawn, len(batch.labels)
    first = count + len(batch.extra_labels)
    result = labels.clone()
    drawings = result[first : first + len(drawn.own)]
    result[first : first + len(drawn.own)] = torch.where(drawings == UNKNOWN, categories + drawn.own, drawings)
    photos = result[first + len(drawn.own) :]
    places = torch.arange(len(photos), device=photos.device)
    result[first + len(drawn.own) :] = torch.where(photos == UNKNOWN, categories + places, photos)
    return result


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
