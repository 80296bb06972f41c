"""Stored tokens: bounded error, padding stays padding, what does not fit is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from index_builder.store.quantise import StoredTokens, TokenShape, dequantise, has_masked, quantise
from model.networks.registry import build_network, preset
from model.types import Encoding

SHAPE = TokenShape(tokens=5, width=6, descriptor=4)
HALF = TokenShape(tokens=5, width=6, descriptor=4, bits=4)
BITS = pytest.mark.parametrize("shape", [SHAPE, HALF], ids=["8 bits", "4 bits"])


def encoding(values, mask=None, positions=None):
    values = torch.as_tensor(values, dtype=torch.float32)
    batch, count, _ = values.shape
    if positions is None:
        positions = torch.arange(batch * (count - 1)).reshape(batch, count - 1)
    descriptor = torch.nn.functional.normalize(torch.ones(batch, SHAPE.descriptor), dim=1)
    return Encoding(descriptor, values, positions, mask)


def back(stored: StoredTokens, shape: TokenShape = SHAPE) -> Encoding:
    assert stored.records.shape[1] == shape.record_bytes
    return dequantise(torch.from_numpy(stored.descriptor), torch.from_numpy(stored.records), shape)


floats = st.floats(-1e6, 1e6, width=32)


@BITS
@settings(max_examples=60, deadline=None)
@given(values=hnp.arrays(np.float32, (2, 5, 6), elements=floats))
def test_every_value_is_off_by_half_a_step_at_most(shape, values):
    result = back(quantise(encoding(values), shape), shape)
    step = np.abs(values).max(axis=-1, keepdims=True) / (127 if shape.bits == 8 else 7)
    assert result.mask is None
    assert (np.abs(result.tokens.numpy() - values) <= step * 0.5001 + 1e-30).all()


@pytest.mark.parametrize("width", [1, 2, 7, 8])
def test_values_of_4_bits_come_back_exactly_whatever_their_number(width):
    shape = TokenShape(tokens=3, width=width, descriptor=4, bits=4)
    values = torch.randint(-7, 8, (2, 3, width), generator=torch.Generator().manual_seed(width)).float()
    values[..., 0] = 7  # then a step is 1
    result = back(quantise(encoding(values), shape), shape)
    assert torch.equal(result.tokens, values)
    assert shape.record_bytes == 3 * ((width + 1) // 2 + 4) + 2 * 2


def test_shapes_survive_json_and_old_ones_are_of_8_bits():
    for shape in (SHAPE, HALF):
        assert TokenShape.from_json(shape.to_json()) == shape
    assert TokenShape.from_json({"tokens": 5, "width": 6, "descriptor": 4}) == SHAPE
    with pytest.raises(ValueError, match="8 or 4 bits"):
        TokenShape(5, 6, 4, bits=3)


@BITS
def test_padding_stays_padding(shape):
    values = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True] * 5, [True, True, False, True, False]])
    stored = quantise(encoding(values, mask), shape)
    result = back(stored, shape)
    assert [has_masked(stored.records[row : row + 1], shape) for row in range(2)] == [False, True]
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


@BITS
def test_a_token_of_zeros_is_still_a_token(shape):
    stored = quantise(encoding(torch.zeros(1, 5, 6)), shape)
    result = back(stored, shape)
    assert not has_masked(stored.records, shape)
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


def test_four_bits_are_for_networks_that_were_measured_with_them():
    for name, bits in (("zse-lite", 4), ("zse-vit-b16", 8), ("zse-tiny", 8)):
        with torch.device("meta"):
            shape = TokenShape.of(build_network(preset(name)))
        assert shape.bits == bits
        assert shape.encoding == f"int{bits}-per-token-record"
