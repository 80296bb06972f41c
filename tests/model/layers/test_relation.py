import pytest
import torch

from model.config import RelationConfig
from model.layers.relation import PooledRelation, UpstreamRelation
from tests.model import naive

WIDTH = 12


def upstream(grid=6):
    torch.manual_seed(0)
    return UpstreamRelation(WIDTH, grid, RelationConfig(width=10, hidden=(7, 5))).eval()


def pooled(bins=5):
    torch.manual_seed(0)
    return PooledRelation(WIDTH, RelationConfig(kind="pooled", width=8, hidden=(6,), bins=bins)).eval()


def tokens(pairs, count, seed):
    return torch.randn(pairs, count, WIDTH, generator=torch.Generator().manual_seed(seed))


def test_upstream_agrees_with_a_loop_over_cells():
    module = upstream()
    sketch, photo = tokens(3, 37, 1), tokens(3, 37, 2)
    with torch.inference_mode():
        logit, kernel = module(sketch, photo, None, None)
    assert kernel.shape == (3, 9, 9)
    for pair in range(3):
        slow_logit, slow_kernel = naive.upstream_relation(module, sketch[pair], photo[pair])
        torch.testing.assert_close(kernel[pair].double(), slow_kernel, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(logit[pair].double(), slow_logit, rtol=1e-4, atol=1e-6)


def test_upstream_reads_zero_kernel_tokens_as_zero_similarity():
    module = upstream()
    with torch.no_grad():
        module.reduce.bias.zero_()
        logit, kernel = module(torch.zeros(1, 37, WIDTH), tokens(1, 37, 2), None, None)
    assert float(kernel.abs().max()) == 0
    assert bool(torch.isfinite(logit).all())


def test_upstream_refuses_masks():
    mask = torch.ones(1, 37, dtype=torch.bool)
    with pytest.raises(ValueError, match="masked"):
        upstream()(tokens(1, 37, 1), tokens(1, 37, 2), mask, None)


@pytest.mark.parametrize(("sketch_count", "photo_count"), [(6, 6), (4, 9)])
def test_pooled_agrees_with_a_loop_over_patches_and_bins(sketch_count, photo_count):
    module = pooled()
    sketch, photo = tokens(3, sketch_count, 1), tokens(3, photo_count, 2)
    with torch.inference_mode():
        logit, kernel = module(sketch, photo, None, None)
    assert kernel.shape == (3, sketch_count - 1, photo_count - 1)
    for pair in range(3):
        slow_logit, slow_kernel = naive.pooled_relation(module, sketch[pair], photo[pair])
        torch.testing.assert_close(kernel[pair].double(), slow_kernel, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(logit[pair].double(), slow_logit, rtol=1e-4, atol=1e-5)


def test_pooled_counts_masked_tokens_as_nothing():
    module = pooled()
    sketch, photo = tokens(2, 5, 1), tokens(2, 7, 2)
    wide_sketch = torch.cat([sketch, 100 * tokens(2, 3, 3)], dim=1)
    wide_photo = torch.cat([photo, 100 * tokens(2, 2, 4)], dim=1)
    sketch_mask = (torch.arange(8) < 5).expand(2, -1)
    photo_mask = (torch.arange(9) < 7).expand(2, -1)
    with torch.inference_mode():
        plain, kernel = module(sketch, photo, None, None)
        masked, wide_kernel = module(wide_sketch, wide_photo, sketch_mask, photo_mask)
    torch.testing.assert_close(masked, plain, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(wide_kernel[:, :4, :6], kernel)


def test_last_layers_decide_in_float32_even_for_half_precision_tokens():
    """A logit of 8 bits would tie most of a hundred good candidates."""
    module = pooled(bins=11).bfloat16()
    module.mlp.float()
    photo = tokens(100, 7, 2) * 0.1 + tokens(1, 7, 3)  # photos much alike
    with torch.inference_mode():
        logit, _ = module(tokens(1, 5, 1).expand(100, -1, -1).bfloat16(), photo.bfloat16(), None, None)
    assert logit.dtype == torch.float32
    assert len(logit.unique()) > 90
    module.mlp.bfloat16()
    with torch.inference_mode():
        coarse, _ = module(tokens(1, 5, 1).expand(100, -1, -1).bfloat16(), photo.bfloat16(), None, None)
    assert len(coarse.unique()) < 50
