"""CrossATNet's own parts against plain loops; what it shares with every network is in `test_every_network`."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from model.checkpoints.files import load_checkpoint, save_checkpoint
from model.errors import ConfigurationError
from model.networks.crossatnet import CrossAtNetConfig
from tests.model.tiny_networks import CROSSATNET_PLAIN, CROSSATNET_TINY, build_crossatnet, images


def test_relation_and_descriptor_are_the_loop():
    network = build_crossatnet()
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


def test_hash_codes_begin_as_a_rotation_and_come_back_with_a_checkpoint(tmp_path):
    network = build_crossatnet()
    weight = network.hash_projection
    assert weight is not None
    assert weight.shape == (16, 16)
    save_checkpoint(network, tmp_path / "network.safetensors")
    loaded = load_checkpoint(tmp_path / "network.safetensors", "cpu", "float32").hash_projection
    assert loaded is not None
    assert torch.equal(loaded, weight)
    assert build_crossatnet(CROSSATNET_PLAIN).hash_projection is None
    torch.testing.assert_close(weight @ weight.T, torch.eye(16), rtol=0, atol=1e-5)


def test_without_attention_the_descriptors_alone_decide():
    network = build_crossatnet(CROSSATNET_PLAIN)
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
        replace(CROSSATNET_TINY, encoder=replace(CROSSATNET_TINY.encoder, whitened=True))


def test_what_sets_scale_and_codes_stays_exact():
    half = build_crossatnet().cast("cpu", torch.bfloat16)
    assert half.calibration.weight.dtype == half.hash.weight.dtype == torch.float32
