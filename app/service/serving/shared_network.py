"""The network for everything but searches: each call goes through the one worker that owns the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from app.search.chunks import Chunks
from app.service.serving.device_worker import DeviceWorker
from model.networks.network import Network
from model.types import Encoding, Relation

T = TypeVar("T")


class SharedNetwork(Network):
    """Encodes photos in small steps on the device's thread, so that searches can run in between.

    Args:
        network: the real one.
        worker: on whose thread it runs.
        batch: photos encoded in one step; fewer if the device's memory cannot hold them.
    """

    def __init__(self, network: Network, worker: DeviceWorker[Any, Any], batch: int) -> None:
        super().__init__()
        # Not a submodule: this object owns no weights.
        self.__dict__["_network"] = network
        self._worker = worker
        self._batch, self._chunks = batch, Chunks()
        self.identity = network.identity
        self.config = network.config
        self.grid = network.grid
        self.token_width = network.token_width
        self.descriptor_size = network.descriptor_size
        self.photo_tokens = network.photo_tokens
        self.text_map = None  # it encodes photos: searches have the real network

    def encode_sketch(self, images: Tensor) -> Encoding:
        """See `Network.encode_sketch`."""
        return self._encode(self._inner.encode_sketch, images)

    def encode_photo(self, images: Tensor) -> Encoding:
        """See `Network.encode_photo`."""
        return self._encode(self._inner.encode_photo, images)

    def relate(self, sketches: Encoding, photos: Encoding, *, attention: bool = False) -> Relation:
        """See `Network.relate`."""
        return self._on_device(lambda: self._inner.relate(sketches, photos, attention=attention))

    def relate_each(self, sketches: Encoding, photos: Encoding, counts: Sequence[int]) -> Tensor:
        """See `Network.relate_each`."""
        return self._on_device(lambda: self._inner.relate_each(sketches, photos, counts))

    def relate_aligned(self, sketches: Encoding, photos: Encoding) -> tuple[Tensor, Tensor, Tensor]:
        """See `Network.relate_aligned`."""
        return self._on_device(lambda: self._inner.relate_aligned(sketches, photos))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._inner.device

    @property
    def dtype(self) -> torch.dtype:
        """The arithmetic of tokens."""
        return self._inner.dtype

    @property
    def _inner(self) -> Network:
        inner: Network = self.__dict__["_network"]
        return inner

    def _encode(self, encode: Callable[[Tensor], Encoding], images: Tensor) -> Encoding:
        def step(some: Tensor) -> list[Encoding]:
            return self._on_device(lambda: self._chunks.each(lambda part: encode(some[part]), len(some)))

        steps = (images[start : start + self._batch] for start in range(0, len(images), self._batch))
        return Encoding.concatenate([part for some in steps for part in step(some)])

    def _on_device(self, compute: Callable[[], T]) -> T:
        def without_gradients() -> T:
            with torch.inference_mode():
                return compute()

        return without_gradients() if self._worker.is_own_thread else self._worker.call(without_gradients).result()
