"""CrossATNet: the tests that every network has, and its own parts against plain loops."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from model.checkpoint import load_checkpoint, save_checkpoint
from model.crossatnet import CrossAtNet, CrossAtNetConfig
from model.errors import ConfigurationError
from model.registry import build_network, preset
from model.types import Encoding
from tests.model.networks import encodings, images

TINY = preset("crossatnet-tiny")
PLAIN = replace(TINY, preset="plain", attention=False, hash_bits=0)


def build(config=TINY, seed=0):
    network = build_network(config, seed=seed)
    assert isinstance(network, CrossAtNet)
    if network.attention is not None:
        with torch.no_grad():  # so that maps are far from flat and add something that can be seen
            network.attention.query.weight.mul_(6)
            network.attention.key.weight.mul_(6)
            for weight in network.attention.own.parameters():
                weight.mul_(3)
            network.attention.value.weight.mul_(4)
    return network


def test_relation_and_descriptor_are_the_loop():
    network = build()
    attention = network.attention
    with torch.inference_mode():
        sketches, photos = network.encode_sketch(images(2, seed=1)), network.encode_photo(images(3, seed=2))
        tokens, _, plain = network.encoder(images(3, seed=2), "photo")
        relation = network.relate(sketches, photos, attention=True)
        for p in range(3):
            own = torch.stack([attention.own(token)[0] for token in tokens[p, 1:]]).softmax(0)
            gathered = sum(w * attention.value(token) for w, token in zip(own, tokens[p, 1:], strict=True))
            expected = plain[p] + attention.gates.weight[0, 0] * gathered
            torch.testing.assert_close(photos.descriptor[p], expected / expected.norm(), rtol=1e-4, atol=1e-5)
            for s in range(2):
                query = attention.query(sketches.tokens[s, 0])
                weights = torch.stack(
                    [query @ attention.key(token) / math.sqrt(len(query)) for token in photos.tokens[p, 1:]]
                ).softmax(0)
                torch.testing.assert_close(relation.photo_map[s, p], weights, rtol=1e-4, atol=1e-5)
                vector = photos.descriptor[p] + attention.gates.weight[0, 1] * sum(
                    w * attention.value(token) for w, token in zip(weights, photos.tokens[p, 1:], strict=True)
                )
                cosine = sketches.descriptor[s] @ vector / vector.norm()
                logit = network.calibration.weight[0, 0] * cosine + network.calibration.bias[0]
                torch.testing.assert_close(relation.logit[s, p], logit, rtol=1e-4, atol=1e-4)
    assert relation.attention is None
    assert float(relation.logit.std()) > 1e-3
    assert not torch.allclose(relation.photo_map[0], relation.photo_map[1]), "the map depends on the sketch"
    torch.testing.assert_close(relation.score, relation.logit.sigmoid())


@pytest.mark.parametrize("config", [TINY, PLAIN], ids=lambda c: c.preset)
@pytest.mark.parametrize("attention", [False, True])
def test_chunked_equals_whole_and_batched_equals_single(config, attention):
    network = build(config)
    sketches, photos = encodings(network, 2, seed=1), encodings(network, 7, seed=2)
    with torch.inference_mode():
        whole = network.relate(sketches, photos, attention=attention)
        per_photo = network.pair_budget // network.photos_per_chunk(2, network.photo_tokens)
        for budget, chunk in ((1, 1), (3 * per_photo + per_photo // 2, 3)):
            network.pair_budget = budget
            assert network.photos_per_chunk(2, network.photo_tokens) == chunk
            parts = network.relate(sketches, photos, attention=attention)
            torch.testing.assert_close(parts.logit, whole.logit)
            if whole.photo_map is not None:
                torch.testing.assert_close(parts.photo_map, whole.photo_map)
        for s in range(2):
            for p in range(7):
                alone = network.relate(sketches[s : s + 1], photos[p : p + 1])
                torch.testing.assert_close(alone.logit[0, 0], whole.logit[s, p], rtol=1e-5, atol=1e-5)
        assert (whole.photo_map is not None) == (attention and config.attention)
        assert network.relate(sketches[:0], photos).logit.shape == (0, 7)
        assert network.relate(sketches, photos[:0], attention=attention).logit.shape == (2, 0)


def test_aligned_pairs_are_the_diagonal():
    network = build()
    sketches, photos = encodings(network, 4, seed=1), encodings(network, 4, seed=2)
    with torch.inference_mode():
        logit, sketch, photo = network.relate_aligned(sketches, photos)
        torch.testing.assert_close(logit, network.relate(sketches, photos).logit.diagonal(), rtol=1e-5, atol=1e-5)
    assert sketch.shape == photo.shape == (4, network.descriptor_size)


def test_masked_padding_changes_nothing():
    network = build()
    sketches, photos = encodings(network, 2, seed=1), encodings(network, 3, seed=2)
    count = network.photo_tokens
    with torch.inference_mode():
        plain = network.relate(sketches, photos, attention=True)
        padded = network.relate(sketches.padded(count + 3), photos.padded(count + 5), attention=True)
        short = encodings(network, 2, seed=5, tokens=5)
        together = network.relate(sketches, Encoding.concatenate([short, photos]))
    torch.testing.assert_close(padded.logit, plain.logit)
    torch.testing.assert_close(padded.photo_map[..., : count - 1], plain.photo_map)
    assert float(padded.photo_map[..., count - 1 :].abs().max()) == 0
    with torch.inference_mode():
        torch.testing.assert_close(together.logit[:, :2], network.relate(sketches, short).logit)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.15), (torch.float16, 0.02)])
def test_half_precision_scores_stay_close(dtype, tolerance):
    network = build()
    half = copy.deepcopy(network).cast("cpu", dtype)
    assert half.dtype == dtype
    assert half.calibration.weight.dtype == half.hash.weight.dtype == torch.float32
    with torch.inference_mode():
        exact = network.relate(network.encode_sketch(images(2, seed=1)), network.encode_photo(images(4, seed=2)))
        sketches = half.encode_sketch(images(2, seed=1))
        assert sketches.descriptor.dtype == torch.float32
        rounded = half.relate(sketches, half.encode_photo(images(4, seed=2))).logit
    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - exact.logit).abs().max()) < tolerance


def test_gradients_reach_every_part():
    network = build().train()
    sketches, photos = network.encode_sketch(images(2, seed=1)), network.encode_photo(images(2, seed=2))
    logit, a, b = network.relate_aligned(sketches, photos)
    torch.manual_seed(0)
    parts = (logit, a, b, sketches.descriptor, photos.descriptor, network.hash(photos.descriptor))
    torch.stack([(part * torch.randn_like(part)).sum() for part in parts]).sum().backward()
    silent = [
        name
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or float(parameter.grad.abs().max()) == 0)
    ]
    # Biases that every patch gets alike leave a softmax as it is: their gradient is zero up to rounding.
    assert set(silent) <= {"attention.own.2.bias", "attention.key.bias", "encoder.norm.bias"}
    assert "attention.query.weight" not in silent


@pytest.mark.parametrize("config", [TINY, PLAIN], ids=lambda c: c.preset)
def test_what_is_saved_comes_back(tmp_path, config):
    network = build(config)
    digest = save_checkpoint(network, tmp_path / "network.safetensors")
    loaded = load_checkpoint(tmp_path / "network.safetensors", "cpu", "float32")
    assert isinstance(loaded, CrossAtNet)
    assert loaded.config == network.config
    assert loaded.identity.sha256 == digest
    with torch.inference_mode():
        photos = images(2, seed=2)
        torch.testing.assert_close(loaded.encode_photo(photos).descriptor, network.encode_photo(photos).descriptor)
    if not config.hash_bits:
        assert network.hash_projection is loaded.hash_projection is None
        return
    assert network.hash_projection is not None
    assert loaded.hash_projection is not None
    assert torch.equal(loaded.hash_projection, network.hash_projection)
    assert loaded.hash_projection.shape == (16, 16)


def test_hash_codes_begin_as_a_rotation():
    weight = build().hash_projection
    assert weight is not None
    torch.testing.assert_close(weight @ weight.T, torch.eye(16), rtol=0, atol=1e-5)


def test_without_attention_the_descriptors_alone_decide():
    network = build(PLAIN)
    with torch.inference_mode():
        sketches, photos = network.encode_sketch(images(2, seed=1)), network.encode_photo(images(3, seed=2))
        logit = network.relate(sketches, photos).logit
        cosine = F.cosine_similarity(sketches.descriptor[:, None], photos.descriptor[None], dim=-1)
    torch.testing.assert_close(logit, 10 * cosine - 5, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("changes", [{"hash_bits": 12}, {"hash_bits": -8}, {"attention_width": 0}])
def test_configurations_that_cannot_work_are_refused(changes):
    with pytest.raises(ConfigurationError, match=next(iter(changes))):
        CrossAtNetConfig(**changes)


def test_a_whitening_is_refused_because_the_relation_reads_the_descriptor_as_it_was_learnt():
    with pytest.raises(ConfigurationError, match="whitened"):
        replace(TINY, encoder=replace(TINY.encoder, whitened=True))
