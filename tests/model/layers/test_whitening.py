"""Whitening: no change until fitted, then a like share for every direction; saved, and kept exact."""

from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F

from model.checkpoints.files import load_checkpoint, save_checkpoint
from model.layers.whitening import Whitening, whitening_of
from model.networks.encoder_network import EncoderNetwork
from model.networks.registry import build_network
from model.presets import ZSE_TINY

WHITENED = replace(ZSE_TINY, encoder=replace(ZSE_TINY.encoder, whitened=True))


def uneven(count: int, size: int, shift: float, seed: int) -> torch.Tensor:
    """Unit vectors with a common part, whose directions vary very unequally."""
    spread = torch.logspace(0, -1.5, size)
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, size, generator=generator) * spread + shift, dim=1)


def test_nothing_changes_until_it_is_fitted_or_after_a_reset():
    whitening = Whitening(12)
    descriptors = uneven(9, 12, 0.3, 1)
    torch.testing.assert_close(whitening(descriptors, "sketch"), descriptors)
    whitening.fit(uneven(50, 12, 0.3, 2), uneven(60, 12, -0.2, 3))
    assert not torch.allclose(whitening(descriptors, "sketch"), descriptors, atol=1e-2)
    whitening.reset()
    torch.testing.assert_close(whitening(descriptors, "photo"), descriptors)


def test_fitted_vectors_are_centred_per_modality_and_vary_alike_in_all_directions():
    sketches, photos = uneven(4000, 8, 0.4, 1), uneven(4000, 8, -0.4, 2)
    mean, matrix = whitening_of(sketches, photos, shrinkage=0.0)
    moved = [(part - centre) @ matrix for part, centre in zip((sketches, photos), mean, strict=True)]
    covariance = sum(part.T @ part / (before - before.mean(0)).square().sum() for part, before in
                     zip(moved, (sketches, photos), strict=True))  # fmt: skip
    for part in moved:
        torch.testing.assert_close(part.mean(0), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(covariance / covariance.trace(), torch.eye(8) / 8, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(matrix, matrix.T)


def test_much_shrinkage_leaves_the_centring_alone():
    sketches, photos = uneven(80, 8, 0.4, 1), uneven(80, 8, -0.4, 2)
    _, matrix = whitening_of(sketches, photos, shrinkage=1e9)
    torch.testing.assert_close(matrix, torch.eye(8), atol=1e-4, rtol=0)


def test_a_modality_whose_images_are_all_alike_is_no_error():
    same = F.normalize(torch.ones(5, 8), dim=1)
    mean, matrix = whitening_of(same, same, shrinkage=1.0)
    assert mean.isfinite().all()
    assert matrix.isfinite().all()


def whitening_in(network):
    assert isinstance(network, EncoderNetwork)
    assert network.whitening is not None
    return network.whitening


CLOSE: dict[str, Any] = {"atol": 1e-4, "rtol": 1e-4}  # folded norms round differently on every processor


def test_a_network_whitens_what_leaves_it_and_a_checkpoint_keeps_it(tmp_path):
    network = build_network(WHITENED, None, seed=3).eval()
    plain = build_network(ZSE_TINY, None, seed=3).eval()
    images = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    before = plain.encode_sketch(images).descriptor, plain.encode_photo(images).descriptor
    torch.testing.assert_close(network.encode_sketch(images).descriptor, before[0])
    whitening = whitening_in(network)
    whitening.fit(*before)
    save_checkpoint(network, tmp_path / "w.safetensors")
    loaded = load_checkpoint(tmp_path / "w.safetensors", dtype="float32")
    torch.testing.assert_close(loaded.encode_sketch(images).descriptor, whitening(before[0], "sketch"), **CLOSE)
    torch.testing.assert_close(loaded.encode_photo(images).descriptor, whitening(before[1], "photo"), **CLOSE)
    # its rounding would move what recall orders by
    half = whitening_in(load_checkpoint(tmp_path / "w.safetensors", dtype="bfloat16"))
    assert half.mean.dtype == half.matrix.dtype == torch.float32
    torch.testing.assert_close(half.matrix, whitening.matrix)
