"""What a training step of CrossATNet minimises, besides the terms that every network may have."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from model.errors import ConfigurationError
from model.layers.semantic_graph import ClassGraph
from model.networks.crossatnet import CrossAtNet
from model.networks.network import Network
from model.training.config import TrainConfig
from model.training.objectives.alignment import attention_distillation, binary_code, both_ways_triplet, hash_agreement
from model.training.objectives.objective import SMOOTHING, Batch, ContrastiveObjective, Semantics
from model.types import Encoding

MARGIN = 0.3
NEIGHBOURS = 2  # of each name, joined besides the spanning tree


class CrossAtNetObjective(ContrastiveObjective):
    """Cross-modal triplet, attention taught by sketches, prototypes from the graph of names, learnt hash codes.

    Raises:
        ConfigurationError: the network is another one, or the graph has no names to be made of.
    """

    def __init__(self, network: Network, categories: int, config: TrainConfig, semantics: Semantics) -> None:
        super().__init__(network, categories, config, semantics)
        if not isinstance(network, CrossAtNet):
            raise ConfigurationError("the recipe 'crossatnet' trains CrossATNet alone: give --preset crossatnet")
        self.graph: ClassGraph | None = None
        if config.weights.graph:
            if semantics.names is None:
                raise ConfigurationError("the class graph needs embeddings of the categories' names")
            self.graph = ClassGraph(semantics.names, network.descriptor_size, neighbours=NEIGHBOURS)

    def own_terms(
        self, sketches: Encoding, photos: Encoding, batch: Batch, columns: Tensor | None
    ) -> dict[str, Tensor]:
        """See `ContrastiveObjective.own_terms`."""
        weights, network = self.config.weights, self.network
        if not isinstance(network, CrossAtNet):
            raise TypeError("the network changed")
        count = len(batch.labels)
        paired, same = sketches[:count], batch.labels[:, None] == batch.labels[None, :]
        sketch, photo = paired.descriptor.float(), photos.descriptor.float()
        terms: dict[str, Tensor] = {}
        if weights.triplet:
            terms["triplet"] = both_ways_triplet(sketch, photo, same, MARGIN)
        if weights.attend and network.attention is not None:
            right = torch.arange(count, device=same.device) if columns is None else columns[:, 0]
            shown = photos[right]
            guided = network.attention.guided_map(paired.retrieval_token, shown.tokens, shown.mask)
            own = network.attention.own_map(shown.tokens, shown.mask)
            terms["attend"] = attention_distillation(guided, own)
        if self.graph is not None:
            labels = torch.cat([batch.labels, batch.extra_labels, batch.labels])
            descriptors = torch.cat([sketches.descriptor, photos.descriptor]).float()
            logits = self.config.scale * descriptors @ self.graph().T
            terms["graph"] = F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
        if weights.hash and network.hash is not None:
            scale = math.sqrt(sketch.shape[1])  # numbers of a unit vector are of order 1 / scale
            sketch_code, photo_code = (binary_code(scale * network.hash(side)) for side in (sketch, photo))
            terms["hash"] = hash_agreement(sketch, photo, sketch_code, photo_code, self.config.temperature)
        return terms
