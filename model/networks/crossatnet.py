"""CrossATNet: two streams into one shared space, photo features attended as a sketch would, and learnt hash codes.

Chaudhuri, Banerjee, Bhattacharya and Datcu, "CrossATNet: a novel cross-attention based framework for sketch-based image
retrieval", Image and Vision Computing 2020 (arXiv 2104.09918). Only its abstract was at hand.

The paper's, by its abstract: a cross-modal triplet loss makes the shared space discriminative; attention learnt from
the sketch guides feature extraction from the photo; a graph convolution carries the topology of the class semantics
into the shared space; hash codes of the shared space for a faster search; nothing of unseen categories in training.

Ours, where the abstract is silent:

* The encoder is handed in and leaves tokens and a descriptor. The photo's value at a patch is a linear map of its
  token, and what attention gathers is added to the descriptor.
* The guiding map is scaled dot-product attention of the sketch's retrieval token over the photo's patches. At search
  time a photo is encoded before any sketch is known, so it has a map of its own, predicted from its tokens alone
  (Bahdanau's additive attention) and taught by distillation to be the map that sketches of its category would give.
* `relate` is the sketch-guided form: the photo's vector with the sketch's map, compared by cosine.
* The graph is the minimum spanning tree of the names' distances (`model/layers/semantic_graph.py`), and the hash code
  is the sign of a linear map of the descriptor, learnt through a straight-through gradient
  (`model/training/objectives/crossatnet.py`).

What it can explain: which of the photo's patches counted for this sketch, not which patch of the sketch matched them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import NetworkConfig
from model.errors import ConfigurationError
from model.networks.encoder import Modality, make_encoder
from model.networks.encoder_network import EncoderNetwork
from model.presets import ZSE_LITE, ZSE_TINY
from model.stored_numbers import Width
from model.types import Encoding, Relation


@dataclass(frozen=True)
class CrossAtNetConfig(NetworkConfig):
    """A CrossATNet network.

    Attributes:
        attention: weigh the photo's patches; False compares descriptors as they leave the encoder.
        attention_width: width of the query and the keys of both maps.
        hash_bits: length of the learnt hash code, a multiple of 8; 0 learns none.
    """

    architecture: ClassVar[str] = "crossatnet"
    attention: bool = True
    attention_width: Width = 128
    hash_bits: Width = 256

    def __post_init__(self) -> None:
        if self.attention_width < 1:
            raise ConfigurationError(f"attention_width must be at least 1, not {self.attention_width}")
        if self.encoder.whitened:
            raise ConfigurationError("CrossATNet relates by the descriptor as it was learnt: set encoder.whitened off")
        if self.hash_bits < 0 or self.hash_bits % 8:
            raise ConfigurationError(f"hash_bits must be a multiple of 8, or 0 for none, not {self.hash_bits}")


# Its relation and its codes read the descriptor as it was learnt, so no whitening comes after.
PRESETS: tuple[CrossAtNetConfig, ...] = (
    CrossAtNetConfig(
        preset="crossatnet", preprocess=ZSE_LITE.preprocess, encoder=replace(ZSE_LITE.encoder, whitened=False)
    ),
    CrossAtNetConfig(
        preset="crossatnet-tiny",
        preprocess=ZSE_TINY.preprocess,
        encoder=ZSE_TINY.encoder,
        attention_width=8,
        hash_bits=16,
    ),
)


class PhotoAttention(nn.Module):
    """Where to look in a photo: guided by a sketch, or by itself."""

    def __init__(self, width: int, descriptor_size: int, attention_width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, attention_width)
        self.key = nn.Linear(width, attention_width)
        self.own = nn.Sequential(nn.Linear(width, attention_width), nn.Tanh(), nn.Linear(attention_width, 1))
        self.value = nn.Linear(width, descriptor_size, bias=False)
        self.gates = nn.Linear(2, 1, bias=False)  # how much the photo's own map and the guided one add
        nn.init.constant_(self.gates.weight, 0.3)

    def own_map(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Photo tokens [B, N, D], mask [B, N] or None -> log of the photo's own map [B, N - 1] float32."""
        return _log_softmax(self.own(tokens)[:, 1:, 0], mask)

    def guided_maps(self, sketch: Tensor, photo: Tensor, mask: Tensor | None) -> Tensor:
        """The maps that S sketches give P photos.

        Args:
            sketch: [S, D] retrieval tokens.
            photo: [P, N, D] tokens.
            mask: [P, N] bool or None.

        Returns:
            [S, P, N - 1] float32, logarithms; their exponentials sum to 1 over real patches.
        """
        query, key = self.query(sketch), self.key(photo[:, 1:])
        logits = torch.einsum("sd,pnd->spn", query, key).float() / math.sqrt(query.shape[-1])
        return _log_softmax(logits, mask)

    def guided_map(self, sketch: Tensor, photo: Tensor, mask: Tensor | None) -> Tensor:
        """The map that sketch b gives photo b: [B, D], [B, N, D], [B, N] or None -> [B, N - 1], logarithms."""
        query, key = self.query(sketch), self.key(photo[:, 1:])
        return _log_softmax(torch.einsum("bd,bnd->bn", query, key).float() / math.sqrt(query.shape[-1]), mask)

    def values(self, photo: Tensor) -> Tensor:
        """Photo tokens [P, N, D] -> what each patch adds, [P, N - 1, E] float32."""
        values: Tensor = self.value(photo[:, 1:]).float()
        return values


class CrossAtNet(EncoderNetwork):
    """CrossATNet around an encoder.

    Args:
        config: what it is made of.
        backbone: the timm model that `config.encoder.backbone` names.
        pair_budget: see `EncoderNetwork`.
    """

    config: CrossAtNetConfig

    def __init__(self, config: CrossAtNetConfig, backbone: nn.Module, *, pair_budget: int = 48 * 2**20) -> None:
        super().__init__(config, make_encoder(config.encoder, backbone), pair_budget=pair_budget)
        width, size = config.encoder.width, self.descriptor_size
        self.attention = PhotoAttention(width, size, config.attention_width) if config.attention else None
        self.calibration = nn.Linear(1, 1)
        nn.init.constant_(self.calibration.weight, 10.0)
        nn.init.constant_(self.calibration.bias, -5.0)
        self.hash = nn.Linear(size, config.hash_bits, bias=False) if config.hash_bits else None
        if self.hash is not None:
            nn.init.orthogonal_(self.hash.weight)

    @property
    def exact_parts(self) -> tuple[nn.Module, ...]:
        """See `EncoderNetwork.exact_parts`."""
        parts = [self.calibration, self.hash, None if self.attention is None else self.attention.gates]
        return tuple(part for part in parts if part is not None)

    @property
    def hash_projection(self) -> Tensor | None:
        """See `Network.hash_projection`."""
        return None if self.hash is None else self.hash.weight.detach().float().cpu()

    def relate(self, sketches: Encoding, photos: Encoding, *, attention: bool = False) -> Relation:
        """See `Network.relate`; with `attention` it gives the map over the photo, and no matches of patches."""
        sketch = sketches.to(self.device, self.dtype)
        chunk = self.photos_per_chunk(len(sketches), photos.tokens.shape[1])
        logits, maps = [sketch.descriptor.new_zeros(len(sketches), 0)], []
        for start in range(0, len(photos), chunk):
            photo = photos[start : start + chunk].to(self.device, self.dtype)
            vectors = photo.descriptor.expand(len(sketches), -1, -1)
            if self.attention is not None:
                weights = self.attention.guided_maps(sketch.retrieval_token, photo.tokens, photo.mask).exp()
                gathered = torch.einsum("spn,pne->spe", weights, self.attention.values(photo.tokens))
                vectors = F.normalize(vectors + self.attention.gates.weight[0, 1] * gathered, dim=-1)
                maps.append(weights)
            logits.append(self._logit(torch.einsum("se,spe->sp", sketch.descriptor, vectors)))
        logit = torch.cat(logits, dim=1)
        return Relation(logit, logit.sigmoid(), photo_map=torch.cat(maps, dim=1) if attention and maps else None)

    def relate_aligned(self, sketches: Encoding, photos: Encoding) -> tuple[Tensor, Tensor, Tensor]:
        """See `Network.relate_aligned`; the vectors returned are the descriptors that were compared, [B, E]."""
        sketch, photo = sketches.to(self.device), photos.to(self.device)
        vectors = self._guided(sketch.retrieval_token, photo)
        return self._logit((sketch.descriptor * vectors).sum(dim=-1)), sketch.descriptor, vectors

    def pairs_per_chunk(self, sketch_tokens: int, photo_tokens: int) -> int:
        """See `EncoderNetwork.pairs_per_chunk`; the relation reads no patches of sketches."""
        del sketch_tokens
        return self.photos_per_chunk(1, photo_tokens)

    def photos_per_chunk(self, sketches: int, tokens: int) -> int:
        """How many photos of so many tokens are related at once to so many sketches; at least one."""
        config = self.config
        shared = tokens * (config.attention_width + self.descriptor_size)
        return self.pairs_within_budget(4 * (shared + sketches * (tokens + 2 * self.descriptor_size)))

    def relate_chunk(self, sketches: Encoding, photos: Encoding, own: Tensor) -> Tensor:
        """See `EncoderNetwork.relate_chunk`."""
        vectors = self._guided(sketches.retrieval_token[own], photos)
        return self._logit((sketches.descriptor[own] * vectors).sum(dim=-1))

    def _guided(self, retrieval_tokens: Tensor, photos: Encoding) -> Tensor:
        """The vectors [B, E] of B photos as the sketches of B retrieval tokens [B, D] see them."""
        if self.attention is None:
            return photos.descriptor
        weights = self.attention.guided_map(retrieval_tokens, photos.tokens, photos.mask).exp()
        gathered = torch.einsum("bn,bne->be", weights, self.attention.values(photos.tokens))
        return F.normalize(photos.descriptor + self.attention.gates.weight[0, 1] * gathered, dim=-1)

    def _finish(self, encoded: tuple[Tensor, Tensor, Tensor], modality: Modality) -> Encoding:
        """A photo's descriptor gains what its own map gathers; a sketch's stays as it is."""
        tokens, positions, descriptor = encoded
        if modality == "photo" and self.attention is not None:
            weights = self.attention.own_map(tokens, None).exp()
            gathered = torch.einsum("bn,bne->be", weights, self.attention.values(tokens))
            descriptor = F.normalize(descriptor + self.attention.gates.weight[0, 0] * gathered, dim=-1)
        return super()._finish((tokens, positions, descriptor), modality)

    def _logit(self, cosine: Tensor) -> Tensor:
        logit: Tensor = self.calibration(cosine.unsqueeze(-1)).squeeze(-1)
        return logit.float()


def _log_softmax(logits: Tensor, mask: Tensor | None) -> Tensor:
    """[..., P, N - 1] -> logarithms of weights that sum to 1 over the patches that `mask` [P, N] calls real."""
    logits = logits.float()
    if mask is not None:
        logits = logits.masked_fill(~mask[:, 1:], -torch.inf)
    return logits.log_softmax(dim=-1)
