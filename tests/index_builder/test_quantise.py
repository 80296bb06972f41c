"""int8 tokens: bounded error, padding stays padding, what does not fit is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from index_builder.quantise import StoredTokens, TokenShape, dequantise, quantise
from model.types import Encoding

SHAPE = TokenShape(tokens=5, width=6, descriptor=4)


def encoding(values, mask=None, positions=None):
    values = torch.as_tensor(values, dtype=torch.float32)
    batch, count, _ = values.shape
    if positions is None:
        positions = torch.arange(batch * (count - 1)).reshape(batch, count - 1)
    descriptor = torch.nn.functional.normalize(torch.ones(batch, SHAPE.descriptor), dim=1)
    return Encoding(descriptor, values, positions, mask)


def back(stored: StoredTokens) -> Encoding:
    assert stored.records.shape[1] == SHAPE.record_bytes
    return dequantise(torch.from_numpy(stored.descriptor), torch.from_numpy(stored.records), SHAPE)


floats = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float32, (2, 5, 6), elements=floats))
def test_every_value_is_off_by_half_a_step_at_most(values):
    result = back(quantise(encoding(values), SHAPE))
    step = np.abs(values).max(axis=-1, keepdims=True) / 127
    assert result.mask is None
    assert (np.abs(result.tokens.numpy() - values) <= step * 0.5001 + 1e-30).all()


def test_padding_stays_padding():
    values = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True] * 5, [True, True, False, True, False]])
    result = back(quantise(encoding(values, mask), SHAPE))
    assert result.mask is not None
    assert result.mask.tolist() == mask.tolist()
    assert (result.tokens[~mask] == 0).all()
    assert (result.positions[1] == torch.tensor([4, 0, 6, 0])).all()


def test_fewer_tokens_are_padded_and_more_are_refused():
    result = back(quantise(encoding(torch.ones(1, 3, 6)), SHAPE))
    assert result.mask is not None
    assert result.mask.tolist() == [[True, True, True, False, False]]
    with pytest.raises(ValueError, match="cannot pad"):
        quantise(encoding(torch.ones(1, 6, 6)), SHAPE)


def test_a_token_of_zeros_is_still_a_token():
    result = back(quantise(encoding(torch.zeros(1, 5, 6)), SHAPE))
    assert result.mask is None
    assert (result.tokens == 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        quantise(encoding(torch.full((1, 5, 6), bad)), SHAPE)


def test_positions_beyond_16_bits_are_refused():
    with pytest.raises(ValueError, match="16 bits"):
        quantise(encoding(torch.ones(1, 5, 6), positions=torch.full((1, 4), 65536)), SHAPE)
    largest = back(quantise(encoding(torch.ones(1, 5, 6), positions=torch.full((1, 4), 65535)), SHAPE))
    assert largest.positions.tolist() == [[65535] * 4]


def test_batches_join():
    parts = [quantise(encoding(torch.full((n, 5, 6), float(n))), SHAPE) for n in (1, 2)]
    joined = StoredTokens.concatenate(parts)
    assert len(joined) == 3
    assert back(joined).tokens[:, 0, 0].tolist() == pytest.approx([1, 2, 2])
