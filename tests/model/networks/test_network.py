"""ZSE-SBIR against plain loops; what it shares with every network is in `test_every_network`."""

import pytest
import torch

from model.checkpoints.files import with_config
from model.layers.linear import linear
from model.layers.relation import PooledRelation, UpstreamRelation
from model.score_rules import ScoreRule
from tests.model import naive
from tests.model.tiny_networks import CONFIGS, UPSTREAM_TINY, build, encodings, images

EVERY_KIND = pytest.mark.parametrize("config", list(CONFIGS.values()), ids=list(CONFIGS))


@EVERY_KIND
def test_every_pair_agrees_with_the_loop(config):
    network = build(config)
    with torch.inference_mode():
        sketches, photos = network.encode_sketch(images(2, seed=1)), network.encode_photo(images(3, seed=2))
        relation = network.relate(sketches, photos)
    for s in range(2):
        for p in range(3):
            a, b, _, _ = naive.cross_attention(network.cross_attention, sketches.tokens[s], photos.tokens[p])
            if isinstance(network.relation, UpstreamRelation):
                logit, _ = naive.upstream_relation(network.relation, a, b)
            else:
                assert isinstance(network.relation, PooledRelation)
                logit, _ = naive.pooled_relation(network.relation, a, b)
            torch.testing.assert_close(relation.logit[s, p].double(), logit, rtol=1e-4, atol=1e-5)
    assert relation.logit.dtype == relation.score.dtype == torch.float32
    torch.testing.assert_close(relation.score, relation.logit.sigmoid())
    assert float(relation.logit.std()) > 1e-3, "the pairs differ, so the agreement means something"


@EVERY_KIND
def test_rows_of_attention_sum_to_one(config):
    network = build(config)
    sketches, photos = encodings(network, 2, seed=1), encodings(network, 3, seed=2)
    with torch.inference_mode():
        why = network.relate(sketches, photos, attention=True).attention
    assert why is not None
    count = network.photo_tokens
    for weights in (why.sketch_to_photo, why.photo_to_sketch):
        assert weights.shape == (2, 3, count, count)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, count))
    if config.relation.kind == "upstream":
        assert why.kernel is None
    else:
        assert why.kernel is not None
        assert why.kernel.shape == (2, 3, count - 1, count - 1)
        assert float(why.kernel.abs().max()) <= 1 + 1e-5


def test_cast_keeps_the_deciding_layers_exact():
    network = build(UPSTREAM_TINY)
    assert isinstance(network.relation, UpstreamRelation)
    before = {name: value.clone() for name, value in network.relation.mlp.state_dict().items()}
    half = network.cast("cpu", torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert isinstance(half.relation, UpstreamRelation)
    for name, value in half.relation.mlp.state_dict().items():
        assert torch.equal(value, before[name])


@EVERY_KIND
def test_every_image_is_projected_once_whatever_the_number_of_pairs(config, monkeypatch):
    network = build(config)
    seen = []

    def record(layer, x, activation="none"):
        if layer in (network.cross_attention.sketch.query, network.cross_attention.photo.query):
            seen.append(len(x) if layer is network.cross_attention.sketch.query else -len(x))
        return linear(layer, x, activation)

    monkeypatch.setattr("model.layers.cross_attention.linear", record)
    network.pair_budget = 1
    with torch.inference_mode():
        network.relate(encodings(network, 2, seed=1), encodings(network, 9, seed=2))
    assert seen == [2] + [-1] * 9, "two sketches at once, and every photo once for both of them"


def test_score_rule():
    network = build(UPSTREAM_TINY)
    logit, cosine = torch.tensor([[-2.0, 0.0, 3.0]]), torch.tensor([[0.9, 0.1, 0.5]])
    torch.testing.assert_close(network.score(logit, cosine), logit.sigmoid())
    with_config(network, score=ScoreRule(relation_weight=0.5, recall_weight=4.0, bias=-1.0))
    torch.testing.assert_close(network.score(logit, cosine), torch.sigmoid(0.5 * logit + 4 * cosine - 1))
