import copy

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from model.config import CrossAttentionConfig
from model.layers.cross_attention import CrossAttention, UpstreamNorm, attend_by_products
from tests.model import naive

WIDTH = 16
CONFIGS = [
    CrossAttentionConfig(heads=4, hidden=24, values="own", norm="upstream"),
    CrossAttentionConfig(heads=2, hidden=24, values="other", norm="layer"),
]


def attention(config, seed=0):
    torch.manual_seed(seed)
    module = CrossAttention(WIDTH, config)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module.eval()


@pytest.mark.parametrize("config", CONFIGS)
def test_agrees_with_a_loop_over_pairs_heads_and_tokens(config):
    module = attention(config)
    sketch, photos = torch.randn(1, 5, WIDTH), torch.randn(3, 5 if config.values == "own" else 7, WIDTH)
    with torch.inference_mode():
        sides = module.project(sketch, None, "sketch"), module.project(photos, None, "photo")
        fast = module(*sides)
        explained = module(*sides, weights=True)
    for pair in range(3):
        slow = naive.cross_attention(module, sketch[0], photos[pair])
        for side in (0, 1):
            torch.testing.assert_close(fast[side][pair].double(), slow[side], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(explained[side][pair].double(), slow[side], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(explained[2 + side][pair].double(), slow[2 + side].mean(0), rtol=1e-4, atol=1e-6)
    assert fast[2] is None
    assert fast[3] is None


def test_upstream_norm_uses_the_unbiased_deviation_and_survives_constant_tokens():
    norm = UpstreamNorm(WIDTH)
    with torch.no_grad():
        norm.a.normal_()
        norm.b.normal_()
    tokens = torch.randn(4, WIDTH) * torch.tensor([[1e-3], [1.0], [1e3], [0.0]])
    for token, out in zip(tokens, norm(tokens), strict=True):
        # At a deviation of 1e-3, upstream's 1e-6 beside it is a thousandth; the LayerNorm form leaves it out.
        tolerance = 2e-3 if 0 < token.std() < 0.1 else 1e-5
        torch.testing.assert_close(out.double(), naive.normalise(norm, token.double()), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("batches", [(1, 4, 1), (1, 4, 4), (4, 1, 1), (4, 1, 4), (4, 4, 4), (1, 1, 1)])
@pytest.mark.parametrize("masked", [False, True])
def test_products_agree_with_fused_attention(batches, masked):
    generator = torch.Generator().manual_seed(1)
    shapes = [(b, 2, n, 8) for b, n in zip(batches, (3, 5, 5), strict=True)]
    query, key, value = (torch.randn(shape, generator=generator) for shape in shapes)
    mask = torch.rand(batches[1], 5, generator=generator) > 0.4 if masked else None
    if mask is not None:
        mask[:, 0] = True
    pairs = max(batches)
    fused = F.scaled_dot_product_attention(
        query.expand(pairs, -1, -1, -1),
        key.expand(pairs, -1, -1, -1),
        value.expand(pairs, -1, -1, -1),
        attn_mask=None if mask is None else mask[:, None, None].expand(pairs, -1, -1, -1),
    )
    for weights in (False, True):
        attended, why = attend_by_products(query, key, value, mask, weights=weights)
        torch.testing.assert_close(attended, fused.transpose(1, 2).flatten(2), rtol=1e-5, atol=1e-6)
        assert (why is not None) == weights
        if why is not None:
            torch.testing.assert_close(why.sum(-1), torch.ones(pairs, 3))
            if mask is not None:
                assert float(why.masked_select(~mask[:, None].expand(pairs, 3, 5)).abs().sum()) == 0


@pytest.mark.parametrize("config", CONFIGS)
def test_fused_attention_is_given_the_sketch_by_strides(config, monkeypatch):
    module = attention(config)
    seen = []
    original = F.scaled_dot_product_attention

    def record(query, key, value, attn_mask=None):
        seen.append((query.stride(0), key.stride(0), value.stride(0)))
        return original(query, key, value, attn_mask=attn_mask)

    monkeypatch.setattr(F, "scaled_dot_product_attention", record)
    sketch = module.project(torch.randn(1, 5, WIDTH), None, "sketch")
    photos = module.project(torch.randn(6, 5, WIDTH), None, "photo")
    module(sketch, photos)
    (q1, k1, v1), (q2, k2, v2) = seen
    own = config.values == "own"
    assert (q1 == 0, k1 == 0, v1 == 0) == (True, False, own), "sketch side: query and its own values are shared"
    assert (q2 == 0, k2 == 0, v2 == 0) == (False, True, not own), (
        "photo side: keys, and the sketch's values, are shared"
    )


def test_products_never_copy_the_sketch_per_pair():
    pairs, heads, count, width = 50, 2, 4, 64
    single, many = torch.randn(1, heads, count, width), torch.randn(pairs, heads, 1, width)
    sizes, kept = {}, []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                sizes[out.untyped_storage().data_ptr()] = out.untyped_storage().nbytes()
                kept.append(out)
            return out

    def per_pair_copies(query, key, value):
        sizes.clear()
        kept.clear()
        with Record(), torch.no_grad():
            attend_by_products(query, key, value, None, weights=False)
        return sum(size >= 4 * pairs * count * heads * width for size in sizes.values())

    # The attended tokens, and once more in the order of the output: nothing else is as large as the sketch per pair.
    assert per_pair_copies(single, many, single) <= 2
    assert per_pair_copies(single.expand(pairs, -1, -1, -1), many, single.expand(pairs, -1, -1, -1)) > 2


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(("dtype", "largest", "mean"), [(torch.bfloat16, 0.05, 0.01), (torch.float16, 0.01, 0.0015)])
def test_half_precision_stays_close(config, dtype, largest, mean):
    """bfloat16 keeps 8 bits of mantissa: one rounding is up to 2^-9 = 0.2 %. Tokens after a norm are of order 1 and
    pass through about six rounded products on the way, whose errors add like a random walk: 0.5 % on average, and ten
    times that in the worst of all values. float16 keeps 11 bits, so an eighth of both."""
    module = attention(config)
    sketch, photos = torch.randn(1, 5, WIDTH), torch.randn(6, 5, WIDTH)
    half = copy.deepcopy(module).to(dtype)
    with torch.no_grad():
        exact = module(module.project(sketch, None, "sketch"), module.project(photos, None, "photo"))
        rounded = half(half.project(sketch.to(dtype), None, "sketch"), half.project(photos.to(dtype), None, "photo"))
    for side in (0, 1):
        error = (rounded[side].float() - exact[side]).abs() / exact[side].std()
        assert 0 < float(error.max()) < largest
        assert float(error.mean()) < mean


def test_own_values_refuse_unequal_token_counts():
    module = attention(CONFIGS[0])
    with pytest.raises(ValueError, match="as many sketch tokens"):
        module(
            module.project(torch.randn(1, 5, WIDTH), None, "sketch"),
            module.project(torch.randn(1, 4, WIDTH), None, "photo"),
        )
