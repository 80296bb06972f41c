"""What networks around an encoder share: casting, encoding, and relating in chunks under a memory budget."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from model.config import NetworkConfig
from model.layers.text_map import TextMap
from model.layers.whitening import Whitening
from model.networks.encoder import Features, HybridEncoder, Modality
from model.networks.fixed_shapes import CudaRecorder, FixedShapes
from model.networks.network import Network, check_counts
from model.networks.recorded_sizes import MOST_SKETCHES, padded_size, record_photos, record_sizes, tensors_of
from model.text.clip_tower import ClipTower
from model.types import Encoding, Relation, RelationAttention


class EncoderNetwork(Network):
    """A network around an encoder of tokens, which is handed to it: what ZSE-SBIR and its neighbours share.

    Args:
        config: what it is made of.
        encoder: (images, modality) -> tokens, positions, descriptor, as `model/networks/encoder.py` makes it.
        pair_budget: bytes that the intermediate values of one chunk of pairs may take on a CPU, where a chunk should
            stay near the caches; a GPU gets sixteen times as much, so that its cores have enough to do.

    Attributes:
        fixed_shapes: what was recorded by `warm_up`.
        batch_shapes: what was recorded by `prepare_batches`.
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
        self.fixed_shapes, self.batch_shapes = FixedShapes(), FixedShapes()
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
        return self._encode(images, "sketch")

    def encode_photo(self, images: Tensor) -> Encoding:
        """See `Network.encode_photo`."""
        return self._encode(images, "photo")

    def relate_each(self, sketches: Encoding, photos: Encoding, counts: Sequence[int]) -> Tensor:
        """See `Network.relate_each`; on a GPU, sketches share the steps, because each step costs a launch."""
        if not self.shares_steps:
            return super().relate_each(sketches, photos, counts)
        check_counts(sketches, photos, counts)
        logits, first = [torch.zeros(0, device=self.device)], 0
        for start in range(0, len(counts), MOST_SKETCHES):
            some = torch.tensor(counts[start : start + MOST_SKETCHES])
            end = first + int(some.sum())
            own = torch.arange(len(some)).repeat_interleave(some).to(self.device, non_blocking=True)
            logits.append(self.relate_gathered(sketches[start : start + MOST_SKETCHES], photos[first:end], own))
            first = end
        return torch.cat(logits)

    @property
    def shares_steps(self) -> bool:
        """Whether several sketches are related in one step; on a CPU, one broadcast over its photos is faster."""
        return self.device.type != "cpu"

    def relate_gathered(self, sketches: Encoding, photos: Encoding, own: Tensor) -> Tensor:
        """Logits [P] float32 of P photos, photo p with sketch `own[p]`; in chunks under the memory budget.

        Args:
            sketches: Q encodings.
            photos: P encodings.
            own: [P] int64 on the network's device, numbers of sketches.
        """
        sketches = sketches.to(self.device, self.dtype)
        chunk = self.pairs_per_chunk(sketches.tokens.shape[1], photos.tokens.shape[1])
        chunk = min([chunk, *self.fixed_shapes.sizes("relate")[-1:]])
        logits = [torch.zeros(0, device=self.device)]
        for start in range(0, len(photos), chunk):
            part = slice(start, start + chunk)
            logits.append(self._relate_chunk(sketches, photos[part].to(self.device, self.dtype), own[part]))
        return torch.cat(logits)

    def encode_plainly(self, images: Tensor, modality: Modality) -> Encoding:
        """What `encode_sketch` or `encode_photo` gives, launched step by step; a GPU records it, as `relate_chunk`."""
        return self._finish(self.encoder(images.to(self.device, self.dtype), modality), modality)

    def warm_up(self) -> None:
        """See `Network.warm_up`."""
        if self.device.type == "cuda":
            record_sizes(self, CudaRecorder(self.device))

    def prepare_batches(self, photos: int) -> None:
        """See `Network.prepare_batches`."""
        if self.device.type == "cuda":
            record_photos(self, CudaRecorder(self.device), photos)

    def forget_batches(self) -> None:
        """See `Network.forget_batches`."""
        self.batch_shapes = FixedShapes()

    @abstractmethod
    def pairs_per_chunk(self, sketch_tokens: int, photo_tokens: int) -> int:
        """How many pairs of these token counts fit the memory budget; at least one."""

    @abstractmethod
    def relate_chunk(self, sketches: Encoding, photos: Encoding, own: Tensor) -> Tensor:
        """One chunk of `relate_gathered`, launched step by step; both sides lie ready in the network's arithmetic.

        A GPU records it: nothing in it may depend on values, as a mask of rows does, or wait for the device.
        """

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

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Moving or casting puts the weights elsewhere, where no recording looks for them."""
        self.fixed_shapes, self.batch_shapes = FixedShapes(), FixedShapes()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    @property
    def pads_batches(self) -> bool:
        """Whether batches are made as large as some other batch: on a GPU each new size costs seconds once, for cuDNN
        chooses kernels for it."""
        return self.device.type == "cuda" and not torch.is_grad_enabled()

    def _encode(self, images: Tensor, modality: Modality) -> Encoding:
        for shapes in (self.fixed_shapes, self.batch_shapes):
            recorded = shapes.run(modality, (images,))
            if recorded is not None:
                return Encoding(*recorded)
        missing = padded_size(len(images)) - len(images) if self.pads_batches else 0
        if not missing:
            return self.encode_plainly(images, modality)
        padded = torch.cat([images, images[-1:].expand(missing, *images.shape[1:])])
        return self.encode_plainly(padded, modality)[: len(images)]

    def _relate_chunk(self, sketches: Encoding, photos: Encoding, own: Tensor) -> Tensor:
        recorded = self.fixed_shapes.run("relate", tensors_of(sketches), (own, *tensors_of(photos)))
        return self.relate_chunk(sketches, photos, own) if recorded is None else recorded[0]

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
