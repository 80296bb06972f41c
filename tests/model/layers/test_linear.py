import pytest
import torch
from torch import nn
from torch.nn import functional as F

import model.layers.linear
from model.layers.linear import linear


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("activation", ["none", "relu"])
@pytest.mark.parametrize("fused", [True, False])
def test_equals_torchs_own_layer(dtype, activation, fused, monkeypatch):
    if not fused:
        monkeypatch.setattr(model.layers.linear, "_fused", lambda _dtype: False)
    torch.manual_seed(0)
    layer = nn.Linear(24, 16).to(dtype)
    wide = torch.randn(3, 5, 48).to(dtype)
    for x in (wide[..., :24].contiguous(), wide[..., :24], wide[:1, 1:, 24:].expand(3, -1, -1)):
        with torch.inference_mode():
            expected = layer(x)
            expected = F.relu(expected) if activation == "relu" else expected
            # Both round the same sums to the same type: they differ by one rounding at most.
            tolerance = {torch.float32: 1e-5, torch.bfloat16: 2**-7, torch.float16: 2**-10}[dtype]
            torch.testing.assert_close(linear(layer, x, activation), expected, rtol=tolerance, atol=tolerance)


def test_training_gets_its_gradients():
    layer, x = nn.Linear(4, 3), torch.randn(2, 4, requires_grad=True)
    linear(layer, x, "relu").sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is not None


def test_a_machine_without_the_operator_is_served_all_the_same(monkeypatch):
    def missing(*_args):
        raise NotImplementedError

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", missing, raising=False)
    model.layers.linear._fused.cache_clear()
    try:
        layer = nn.Linear(4, 3)
        with torch.inference_mode():
            assert torch.equal(linear(layer, torch.ones(2, 4)), layer(torch.ones(2, 4)))
    finally:
        model.layers.linear._fused.cache_clear()
