import copy

import pytest
import torch

from model.checkpoint import with_config
from model.config import PRESETS, ScoreRule
from model.linear import linear
from model.registry import build_network
from model.relation import UpstreamRelation
from model.types import Encoding, Relation
from tests.model import naive
from tests.model.networks import CONFIGS, UPSTREAM_TINY, build, encodings, images

EVERY_KIND = pytest.mark.parametrize("config", list(CONFIGS.values()), ids=list(CONFIGS))
POOLED = pytest.mark.parametrize("config", [c for c in CONFIGS.values() if c.relation.kind == "pooled"], ids=str)


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
                logit, _ = naive.pooled_relation(network.relation, a, b)
            torch.testing.assert_close(relation.logit[s, p].double(), logit, rtol=1e-4, atol=1e-5)
    assert relation.logit.dtype == relation.score.dtype == torch.float32
    torch.testing.assert_close(relation.score, relation.logit.sigmoid())
    assert float(relation.logit.std()) > 1e-3, "the pairs differ, so the agreement means something"


@EVERY_KIND
@pytest.mark.parametrize("attention", [False, True])
def test_chunked_equals_whole(config, attention):
    network = build(config)
    sketches, photos = encodings(network, 2, seed=1), encodings(network, 7, seed=2)
    with torch.inference_mode():
        whole = network.relate(sketches, photos, attention=attention)
        per_pair = network.pair_budget // network.pairs_per_chunk(network.photo_tokens, network.photo_tokens)
        for budget in (1, 3 * per_pair + per_pair // 2):
            network.pair_budget = budget
            chunk = network.pairs_per_chunk(network.photo_tokens, network.photo_tokens)
            assert chunk == (1 if budget == 1 else 3)
            compare(network.relate(sketches, photos, attention=attention), whole)


@EVERY_KIND
def test_batched_equals_single(config):
    network = build(config)
    sketches, photos = encodings(network, 2, seed=1), encodings(network, 3, seed=2)
    with torch.inference_mode():
        whole = network.relate(sketches, photos)
        for s in range(2):
            for p in range(3):
                alone = network.relate(sketches[s : s + 1], photos[p : p + 1])
                torch.testing.assert_close(alone.logit[0, 0], whole.logit[s, p], rtol=1e-5, atol=1e-5)


@EVERY_KIND
def test_aligned_pairs_are_the_diagonal(config):
    network = build(config)
    sketches, photos = encodings(network, 4, seed=1), encodings(network, 4, seed=2)
    with torch.inference_mode():
        logit, sketch_token, photo_token = network.relate_aligned(sketches, photos)
        torch.testing.assert_close(logit, network.relate(sketches, photos).logit.diagonal(), rtol=1e-5, atol=1e-5)
    assert sketch_token.shape == photo_token.shape == (4, network.token_width)


@EVERY_KIND
def test_attention_changes_no_score_and_its_rows_sum_to_one(config):
    network = build(config)
    sketches, photos = encodings(network, 2, seed=1), encodings(network, 3, seed=2)
    with torch.inference_mode():
        plain, explained = network.relate(sketches, photos), network.relate(sketches, photos, attention=True)
    torch.testing.assert_close(explained.logit, plain.logit, rtol=1e-5, atol=1e-5)
    assert plain.attention is None
    why = explained.attention
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


@POOLED
def test_masked_padding_changes_nothing(config):
    network = build(config)
    sketches, photos = encodings(network, 2, seed=1), encodings(network, 3, seed=2)
    count = network.photo_tokens
    with torch.inference_mode():
        plain = network.relate(sketches, photos, attention=True)
        padded = network.relate(sketches.padded(count + 3), photos.padded(count + 5), attention=True)
    torch.testing.assert_close(padded.logit, plain.logit, rtol=1e-5, atol=1e-5)
    assert plain.attention is not None
    assert padded.attention is not None
    to_photo = padded.attention.sketch_to_photo
    torch.testing.assert_close(to_photo[:, :, :count, :count], plain.attention.sketch_to_photo, rtol=1e-5, atol=1e-6)
    assert float(to_photo[..., count:].abs().max()) == 0


@POOLED
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_batch_of_unequal_lengths_is_related_as_if_each_were_alone(config, dtype):
    if config.cross_attention.values == "own":
        pytest.skip("own values need equal token counts")
    network = build(config).cast("cpu", dtype)
    sketch = encodings(network, 1, seed=1, tokens=6)
    short, long = encodings(network, 2, seed=2, tokens=5), encodings(network, 2, seed=3, tokens=8)
    with torch.inference_mode():
        together = network.relate(sketch, Encoding.concatenate([short, long]))
        apart = torch.cat([network.relate(sketch, short).logit, network.relate(sketch, long).logit], dim=1)
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2  # bfloat16 sums the same terms in another order
    torch.testing.assert_close(together.logit, apart, rtol=tolerance, atol=tolerance)


@EVERY_KIND
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.08), (torch.float16, 0.01)])
def test_half_precision_scores_stay_close(config, dtype, tolerance):
    """A logit sums similarities whose error is that of bfloat16 tokens, about 0.5 %; the MLP's weights (here of order 1
    and more) carry it on. float16 has three more bits."""
    network = build(config)
    half = copy.deepcopy(network).cast("cpu", dtype)
    with torch.inference_mode():
        sketch_images, photo_images = images(2, seed=1), images(4, seed=2)
        exact = network.relate(network.encode_sketch(sketch_images), network.encode_photo(photo_images)).logit
        sketches = half.encode_sketch(sketch_images)
        assert sketches.tokens.dtype == dtype
        assert sketches.descriptor.dtype == torch.float32
        rounded = half.relate(sketches, half.encode_photo(photo_images)).logit
    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - exact).abs().max()) < tolerance


def test_cast_keeps_the_deciding_layers_exact():
    network = build(UPSTREAM_TINY)
    before = {name: value.clone() for name, value in network.relation.mlp.state_dict().items()}
    half = network.cast("cpu", torch.bfloat16)
    assert half.dtype == torch.bfloat16
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

    monkeypatch.setattr("model.cross_attention.linear", record)
    network.pair_budget = 1
    with torch.inference_mode():
        network.relate(encodings(network, 2, seed=1), encodings(network, 9, seed=2))
    assert seen == [2] + [-1] * 9, "two sketches at once, and every photo once for both of them"


@pytest.mark.parametrize("preset", [*PRESETS, "upstream-tiny", "vit-pooled"])
def test_gradients_reach_every_trainable_parameter(preset):
    """Both modalities in, the logit, both descriptors and both cross-attended retrieval tokens out."""
    config = CONFIGS[preset] if preset in CONFIGS else PRESETS[preset]
    network = build_network(config, seed=0).train()
    size = config.preprocess.image_size
    count = 1 if config.encoder.kind == "vit" else 2  # batch norms want more than one
    sketches, photos = network.encode_sketch(images(count, size, 1)), network.encode_photo(images(count, size, 2))
    logit, a, b = network.relate_aligned(sketches, photos)
    torch.manual_seed(0)
    parts = (logit, a, b, sketches.descriptor, photos.descriptor)
    torch.stack([(part * torch.randn_like(part)).sum() for part in parts]).sum().backward()
    silent = [
        name
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or float(parameter.grad.abs().max()) == 0)
    ]
    # A key's bias adds the same to every logit of a softmax: its gradient is zero up to rounding, by mathematics.
    assert silent == []


def test_nothing_related_to_nothing():
    network = build(UPSTREAM_TINY)
    none, some = encodings(network, 1)[:0], encodings(network, 2)
    with torch.inference_mode():
        assert network.relate(none, some).logit.shape == (0, 2)
        assert network.relate(some, none, attention=True).score.shape == (2, 0)


def test_score_rule():
    network = build(UPSTREAM_TINY)
    logit, cosine = torch.tensor([[-2.0, 0.0, 3.0]]), torch.tensor([[0.9, 0.1, 0.5]])
    torch.testing.assert_close(network.score(logit, cosine), logit.sigmoid())
    with_config(network, score=ScoreRule(relation_weight=0.5, recall_weight=4.0, bias=-1.0))
    torch.testing.assert_close(network.score(logit, cosine), torch.sigmoid(0.5 * logit + 4 * cosine - 1))


def compare(one: Relation, other: Relation) -> None:
    torch.testing.assert_close(one.logit, other.logit, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(one.score, other.score, rtol=1e-5, atol=1e-5)
    assert (one.attention is None) == (other.attention is None)
    if one.attention is not None and other.attention is not None:
        for name in ("sketch_to_photo", "photo_to_sketch", "kernel"):
            a, b = getattr(one.attention, name), getattr(other.attention, name)
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
