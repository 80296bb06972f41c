"""A relation that starts from whitened tokens, against what it says it is."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from model.layers.whitening import whitening_of
from model.presets import ZSE_TINY
from model.training.run.matching_start import PATCH_SHRINKAGE, TOKEN_SHRINKAGE, start_matching
from tests.model.tiny_networks import UPSTREAM_TINY, build, encodings

WIDE = replace(ZSE_TINY, relation=replace(ZSE_TINY.relation, width=ZSE_TINY.encoder.width))


def normed(tokens):
    """Two norms in a row, as the cross-attention has them."""
    return F.layer_norm(F.layer_norm(tokens, tokens.shape[-1:]), tokens.shape[-1:])


def test_the_kernel_compares_whitened_tokens_and_attention_adds_nothing():
    network: Any = build(WIDE).eval()
    sketches, photos = encodings(network, 40, seed=1), encodings(network, 30, seed=2)
    start_matching(network, sketches, photos, 1)
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
    start_matching(network, sketches, photos, 1)
    patches = [normed(side.tokens)[:, 1:].flatten(0, 1) for side in (sketches, photos)]
    covariance = sum(torch.cov(side.T) / torch.cov(side.T).trace() for side in patches)
    strongest = torch.linalg.eigh(covariance).eigenvectors[:, -4:]
    kept = F.normalize(network.relation.project.weight, dim=1)
    torch.testing.assert_close((kept @ strongest).norm(dim=1), torch.ones(4), rtol=1e-3, atol=1e-3)


def test_patches_weigh_the_same_and_retrieval_tokens_are_compared_whitened():
    network: Any = build(WIDE)
    sketches, photos = encodings(network, 40, seed=1), encodings(network, 30, seed=2)
    start_matching(network, sketches, photos, 1)
    tokens = [normed(side.tokens) for side in (sketches, photos)]
    first = [side[:, 0] - side[:, 1:].mean(dim=(0, 1)) for side in tokens]
    mean, matrix = whitening_of(first[0], first[1], TOKEN_SHRINKAGE)
    sketch, photo = (F.normalize((side - mean.mean(dim=0)) @ matrix, dim=-1) for side in first)
    with torch.inference_mode():
        out = [
            part.finish(side.tokens, torch.zeros_like(side.tokens))
            for part, side in zip(
                (network.cross_attention.sketch, network.cross_attention.photo), (sketches[:30], photos), strict=True
            )
        ]
        alike = network.relation._global(out[0][:, 0], out[1][:, 0])[:, 0]
        for layer, side in zip((network.relation.weight_sketch, network.relation.weight_photo), out, strict=True):
            assert float(layer(side).std()) == 0
    torch.testing.assert_close(alike, 4 * (sketch[:30] * photo).sum(dim=1), rtol=1e-3, atol=1e-3)


def test_what_was_learnt_before_is_forgotten():
    networks: list[Any] = [build(ZSE_TINY, seed=4), build(ZSE_TINY, seed=4)]
    with torch.no_grad():
        for parameter in (*networks[1].relation.parameters(), *networks[1].cross_attention.parameters()):
            parameter.add_(0.3)
    sketches, photos = encodings(networks[0], 12, seed=1), encodings(networks[0], 12, seed=2)
    logits = []
    for network in networks:
        start_matching(network, sketches, photos, 7)
        with torch.inference_mode():
            logits.append(network.eval().relate(sketches, photos).logit)
    torch.testing.assert_close(logits[0], logits[1])
    assert float(logits[0].std()) > 1e-4


def test_only_the_reading_is_left_to_learn():
    network: Any = build(ZSE_TINY)
    sketches, photos = encodings(network, 8, seed=1), encodings(network, 8, seed=2)
    learnt = start_matching(network, sketches, photos, 1)
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
        start_matching(network, encodings(network, 2, seed=1), encodings(network, 2, seed=2), 1)
