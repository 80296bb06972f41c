import copy

import model.layers.convolution  # before timm, which imports torchvision

# isort: split
import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from model.layers.convolution import FusedConvolution
from model.layers.folding import fold_batch_norms
from model.networks.registry import build_network, preset

CONVOLUTIONS = {
    "plain": lambda: nn.Conv2d(8, 6, 3, padding=1),
    "strided, no bias": lambda: nn.Conv2d(8, 6, 3, stride=2, padding=1, bias=False),
    "depthwise": lambda: nn.Conv2d(8, 8, 5, padding=2, groups=8),
    "dilated": lambda: nn.Conv2d(8, 6, 3, padding=2, dilation=2),
    "padded as TensorFlow does": lambda: Conv2dSame(8, 8, 5, stride=2, groups=8),
    "padded by reflection": lambda: nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect"),
}


@pytest.mark.parametrize("make", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize(
    "activation", [nn.Identity(), nn.ReLU(), nn.ReLU6(), nn.SiLU()], ids=lambda a: type(a).__name__
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_is_the_convolution_and_then_the_activation(make, activation, dtype):
    torch.manual_seed(0)
    convolution = make().to(dtype)
    fused = FusedConvolution(convolution, activation)
    for shape in ((1, 8, 12, 12), (3, 8, 12, 12), (2, 8, 7, 9)):  # each may want a layout of its own
        x = (4 * torch.randn(shape)).to(dtype).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            torch.testing.assert_close(fused(x), activation(convolution(x)))


def test_a_cast_or_copied_one_uses_its_own_weights():
    fused = FusedConvolution(nn.Conv2d(3, 4, 3), nn.ReLU())
    x = torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        before = fused(x)
        other = copy.deepcopy(fused)
        nn.init.zeros_(other.convolution.weight)
        assert other.convolution.bias is not None
        nn.init.constant_(other.convolution.bias, 2.0)
        assert torch.equal(other(x), torch.full_like(before, 2))
        half = fused.to(torch.bfloat16)(x.bfloat16())
        other.load_state_dict(fused.float().state_dict())
        torch.testing.assert_close(other(x), fused(x))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), before, atol=0.05, rtol=0.05)


def test_each_size_has_the_layout_that_onednn_wants_for_it_and_equal_ones_are_shared(monkeypatch):
    """Otherwise oneDNN converts the weight at every call, which takes 20 ms."""
    wanted: dict[int, bytes] = {}  # by the identity of what was packed
    monkeypatch.setattr(model.layers.convolution, "_layout_of", lambda weight: wanted[id(weight)])
    reorder, point = torch.ops.mkldnn._reorder_convolution_weight, torch.ops.mkldnn._convolution_pointwise
    threads, made, used = [1], [], []

    def reordered(weight, *layout):
        made.append(reorder(weight, *layout))
        count, _, height, _ = layout[-1]
        wanted[id(made[-1])] = b"large" if count * height > 24 * threads[0] else b"small"
        return made[-1]

    def pointwise(x, weight, *others):
        used.append((len(x), x.shape[2], threads[0], wanted[id(weight)]))
        return point(x, weight, *others)

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_convolution_weight", reordered)
    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", pointwise)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[0])
    fused = FusedConvolution(nn.Conv2d(8, 6, 3), nn.ReLU())
    sizes = [(2, 12, 1), (3, 12, 1), (2, 20, 1), (3, 12, 2), (9, 12, 2), (3, 12, 1), (2, 12, 1)]
    with torch.inference_mode():
        for count, height, threads[0] in sizes:
            fused(torch.randn(count, 8, height, 12))
    layouts = [b"small", b"large", b"large", b"small", b"large", b"large", b"small"]
    assert used == [(*size, layout) for size, layout in zip(sizes, layouts, strict=True)]
    assert len(made) == 5
    assert len({id(one) for one in fused._packed.values()}) == 2


def test_few_sizes_are_remembered(monkeypatch):
    monkeypatch.setattr(model.layers.convolution, "_MOST_SIZES", 3)
    fused = FusedConvolution(nn.Conv2d(8, 6, 3), nn.ReLU())
    with torch.inference_mode():
        for side in range(8, 20):
            x = torch.randn(1, 8, side, side)
            torch.testing.assert_close(fused(x), torch.relu(fused.convolution(x)))
            assert 1 <= len(fused._packed) <= 3


def test_gradients_flow_where_they_are_wanted():
    fused = FusedConvolution(nn.Conv2d(3, 4, 3), nn.ReLU6())
    fused(torch.randn(1, 3, 8, 8)).sum().backward()
    assert fused.convolution.weight.grad is not None


def test_without_onednn_the_folded_network_gives_the_same(monkeypatch):
    network = build_network(preset("zse-tiny"), seed=0)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        whole = network.encode_photo(images)
        assert fold_batch_norms(network) > 0
        assert any(isinstance(m, FusedConvolution) for m in network.modules())
        fused = network.encode_photo(images)
        monkeypatch.setattr(model.layers.convolution, "_fused", lambda _: False)
        plain = network.encode_photo(images)
    for encoding in (fused, plain):
        torch.testing.assert_close(encoding.tokens, whole.tokens, atol=1e-4, rtol=1e-4)
        assert torch.equal(encoding.positions, whole.positions)
