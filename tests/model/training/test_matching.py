"""A relation that starts from whitened tokens, against what it says it is."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from model.config import ZSE_TINY
from model.training.matching import PATCH_SHRINKAGE, start_matching
from model.whitening import whitening_of
from tests.model.networks import UPSTREAM_TINY, build, encodings

WIDE = replace(ZSE_TINY, relation=replace(ZSE_TINY.relation, width=ZSE_TINY.encoder.width))


def normed(tokens):
    """Two norms in a row, as the cross-attention has them."""
    return F.layer_norm(F.layer_norm(tokens, tokens.shape[-1:]), tokens.shape[-1:])


def test_the_kernel_compares_whitened_tokens_and_attention_adds_nothing():
    network: Any = build(WIDE).eval()
    sketches, photos = encodings(network, 40, seed=1), encodings(network, 30, seed=2)
    start_matching(network, sketches, photos)
    patches = [normed(side.tokens)[:, 1:] for side in (sketches, photos)]
    mean, matrix = whitening_of(patches[0].flatten(0, 1), patches[1].flatten(0, 1), PATCH_SHRINKAGE)
    sketch, photo = (F.normalize((side - own) @ matrix, dim=-1) for side, own in zip(patches, mean, strict=True))
    with torch.inference_mode():
        why = network.relate(sketches[:2], photos[:3], attention=True).attention
    for s in range(2):
        for p in range(3):
            torch.testing.assert_close(why.kernel[s, p], sketch[s] @ photo[p].T, rtol=1e-3, atol=1e-4)


def test_a_narrow_kernel_keeps_the_directions_that_vary_most():
    config = replace(ZSE_TINY, relation=replace(ZSE_TINY.relation, width=4))
    network: Any = build(config).eval()
    sketches, photos = encodings(network, 40, seed=1), encodings(network, 30, seed=2)
    start_matching(network, sketches, photos)
    patches = [normed(side.tokens)[:, 1:].flatten(0, 1) for side in (sketches, photos)]
    covariance = sum(torch.cov(side.T) / torch.cov(side.T).trace() for side in patches)
    strongest = torch.linalg.eigh(covariance).eigenvectors[:, -4:]
    kept = F.normalize(network.relation.project.weight, dim=1)
    torch.testing.assert_close((kept @ strongest).norm(dim=1), torch.ones(4), rtol=1e-3, atol=1e-3)


def test_only_the_reading_is_left_to_learn():
    network: Any = build(ZSE_TINY)
    sketches, photos = encodings(network, 8, seed=1), encodings(network, 8, seed=2)
    learnt = start_matching(network, sketches, photos)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    logit, _, _ = network.relate_aligned(sketches, photos)
    logit.sum().backward()
    with torch.no_grad():
        for parameter in learnt:
            assert parameter.grad is not None
            parameter.add_(1.0)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.rsplit(".", 1)[0] for name in changed} == {
        "relation.mlp.0",
        "relation.mlp.2",
        "relation.weight_photo",
        "relation.weight_sketch",
    }
    assert {name for name, parameter in network.named_parameters() if parameter.requires_grad} == changed


def test_a_kernel_that_mixes_patches_cannot_start_so():
    network: Any = build(UPSTREAM_TINY)
    with pytest.raises(TypeError, match="real patches"):
        start_matching(network, encodings(network, 2, seed=1), encodings(network, 2, seed=2))
