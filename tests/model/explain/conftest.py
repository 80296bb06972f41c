"""A tiny network, one encoded pair, and attention with planted matches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from model.networks.registry import build_network
from model.networks.zse_sbir import ZseNetwork
from model.presets import ZSE_TINY
from model.types import Encoding, RelationAttention

Planted = Callable[..., tuple[Encoding, Encoding, RelationAttention]]


@pytest.fixture(scope="session")
def network() -> ZseNetwork:
    built = build_network(ZSE_TINY, seed=3).eval()
    assert isinstance(built, ZseNetwork)
    with torch.no_grad():  # random weights at their small initial scale hardly tell one patch from another
        for parameter in built.relation.parameters():
            parameter.mul_(4.0)
    return built


@pytest.fixture(scope="session")
def pair(network: ZseNetwork) -> tuple[torch.Tensor, Encoding, Encoding]:
    """Prepared sketch [3, 64, 64] with ink in its upper left, and the encodings of it and of a photo."""
    generator = torch.Generator().manual_seed(0)
    sketch = torch.ones(3, 64, 64)
    sketch[:, 4:30, 4:8] = -1.0
    sketch[:, 4:8, 4:30] = -1.0
    with torch.no_grad():
        return (
            sketch,
            network.encode_sketch(sketch[None]),
            network.encode_photo(torch.randn(1, 3, 64, 64, generator=generator)),
        )


@pytest.fixture
def planted() -> Planted:
    """Encodings of a sketch and P photos at given grid positions, and attention that favours the planted matches."""

    def make(
        matches: dict[int, int],
        sketch_positions: list[int],
        photo_positions: list[int],
        *,
        photos: int = 1,
        padding: int = 0,
    ) -> tuple[Encoding, Encoding, RelationAttention]:
        rows, columns = len(sketch_positions), len(photo_positions) + padding
        logits = np.zeros((rows + 1, columns + 1))
        for rank, (sketch, photo) in enumerate(matches.items()):
            at = sketch_positions.index(sketch) + 1, photo_positions.index(photo) + 1
            logits[at] = 6.0 - 0.2 * rank
        if padding:
            logits[:, -padding:] = -np.inf
        with np.errstate(invalid="ignore"):
            forward = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            backward = (np.exp(logits) / np.maximum(np.exp(logits).sum(axis=0, keepdims=True), 1e-30)).T
        mask = torch.ones(photos, columns + 1, dtype=torch.bool)
        if padding:
            mask[:, -padding:] = False
        positions = torch.tensor([photo_positions + [0] * padding] * photos)
        as_pairs = [torch.tensor(m, dtype=torch.float32).expand(1, photos, -1, -1) for m in (forward, backward)]
        return (
            Encoding(torch.zeros(1, 4), torch.zeros(1, rows + 1, 4), torch.tensor([sketch_positions])),
            Encoding(torch.zeros(photos, 4), torch.zeros(photos, columns + 1, 4), positions, mask if padding else None),
            RelationAttention(*as_pairs),
        )

    return make
