"""What a training step of the text-aligned network minimises, besides the terms that every network may have."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from model.errors import ConfigurationError
from model.networks.network import Network
from model.networks.text_aligned import TextAlignedNetwork, TextExchange
from model.training.config import TrainConfig
from model.training.objectives.alignment import both_ways_triplet, token_match
from model.training.objectives.losses import relation_rank
from model.training.objectives.objective import Batch, ContrastiveObjective, Semantics
from model.types import Encoding

MARGIN = 0.3


class TextAlignedObjective(ContrastiveObjective):
    """Cross-modal triplet, and alignment with sentences that describe the categories.

    The term "sentences" is the sum of three. Globally: a triplet loss on the retrieval tokens after the exchange with
    text, and on the texts' after the exchange with images. Locally: the relation ranks right photos before wrong ones
    by tokens after the exchange; and each image's own patches tell its category's words from others'.

    Raises:
        ConfigurationError: the network is another one, or sentences are wanted and there are none.
    """

    sentences: Tensor
    sentence_mask: Tensor

    def __init__(self, network: Network, categories: int, config: TrainConfig, semantics: Semantics) -> None:
        super().__init__(network, categories, config, semantics)
        if not isinstance(network, TextAlignedNetwork):
            raise ConfigurationError(
                "the recipe 'text-aligned' trains the text-aligned network alone: give --preset text-aligned"
            )
        self.exchange: TextExchange | None = None
        if config.weights.sentences:
            if semantics.sentences is None or semantics.sentence_mask is None:
                raise ConfigurationError("alignment with text needs sentences that describe the categories")
            self.exchange = TextExchange(semantics.sentences.shape[2], network.config)
            self.register_buffer("sentences", semantics.sentences, persistent=False)
            self.register_buffer("sentence_mask", semantics.sentence_mask, persistent=False)

    def own_terms(
        self, sketches: Encoding, photos: Encoding, batch: Batch, columns: Tensor | None
    ) -> dict[str, Tensor]:
        """See `ContrastiveObjective.own_terms`."""
        count = len(batch.labels)
        paired, same = sketches[:count], batch.labels[:, None] == batch.labels[None, :]
        terms: dict[str, Tensor] = {}
        if self.config.weights.triplet:
            terms["triplet"] = both_ways_triplet(paired.descriptor.float(), photos.descriptor.float(), same, MARGIN)
        if self.exchange is not None:
            terms["sentences"] = self._sentences(self.exchange, paired, photos, batch.labels, columns)
        return terms

    def _sentences(
        self, exchange: TextExchange, sketches: Encoding, photos: Encoding, labels: Tensor, columns: Tensor | None
    ) -> Tensor:
        present, rows = torch.unique(labels, return_inverse=True)
        mask = self.sentence_mask[present]
        text = exchange.read(self.sentences[present], mask)
        told_sketches, told_photos, *texts = exchange(sketches, photos, text, mask, rows)
        same = labels[:, None] == labels[None, :]
        images = (told_sketches.retrieval_token, told_photos.retrieval_token)
        pairs = [[F.normalize(side.float(), dim=1) for side in pair] for pair in (images, texts)]
        loss = sum((both_ways_triplet(a, b, same, MARGIN) / 2 for a, b in pairs), pairs[0][0].new_zeros(()))
        words = F.normalize(text[:, 1:].float(), dim=-1)
        for side in (sketches, photos):
            patches = F.normalize(side.tokens[:, 1:].float(), dim=-1)
            real = None if side.mask is None else side.mask[:, 1:]
            logits = self.config.scale * token_match(patches, real, words, mask)
            loss = loss + F.cross_entropy(logits, rows) / 2
        if columns is not None:
            repeated = torch.arange(len(columns), device=columns.device)[:, None].expand_as(columns).flatten()
            logit, _, _ = self.network.relate_aligned(told_sketches[repeated], told_photos[columns.flatten()])
            loss = loss + relation_rank(logit.float().view(columns.shape))
        return loss
