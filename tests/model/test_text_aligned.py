"""Text-aided alignment: the tests that every network has, and its own parts against plain loops."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from model.checkpoint import load_checkpoint, save_checkpoint
from model.config import EncoderConfig, RelationConfig
from model.encoder import TwinEncoder
from model.errors import ConfigurationError
from model.registry import build_network, preset
from model.text_aligned import SHARPNESS, TextAlignedConfig, TextAlignedNetwork, TextExchange
from tests.model import naive
from tests.model.networks import encodings, images

TINY = preset("text-aligned-tiny")
# As in the paper: a vision transformer for each modality.
TWIN = replace(
    TINY,
    preset="twin",
    encoder=EncoderConfig(backbone="test_vit", grid=4, width=64, separate_backbones=True),
)
KINDS = pytest.mark.parametrize("config", [TINY, TWIN], ids=lambda c: c.preset)


def build(config=TINY, seed=0):
    network = build_network(config, seed=seed)
    assert isinstance(network, TextAlignedNetwork)
    with torch.no_grad():
        for layer in network.relation.mlp:
            if isinstance(layer, torch.nn.Linear):
                layer.weight.mul_(3)
    return network


@KINDS
def test_every_pair_agrees_with_the_loop(config):
    network = build(config)
    with torch.inference_mode():
        sketches, photos = network.encode_sketch(images(2, seed=1)), network.encode_photo(images(3, seed=2))
        relation = network.relate(sketches, photos)
        for s in range(2):
            for p in range(3):
                logit, _ = naive.pooled_relation(network.relation, sketches.tokens[s], photos.tokens[p])
                torch.testing.assert_close(relation.logit[s, p].double(), logit, rtol=1e-4, atol=1e-5)
    assert float(relation.logit.std()) > 1e-3
    assert relation.attention is None


@KINDS
@pytest.mark.parametrize("attention", [False, True])
def test_chunked_equals_whole_and_batched_equals_single(config, attention):
    network = build(config)
    sketches, photos = encodings(network, 2, seed=1), encodings(network, 7, seed=2)
    with torch.inference_mode():
        whole = network.relate(sketches, photos, attention=attention)
        per_pair = network.pair_budget // network.pairs_per_chunk(network.photo_tokens, network.photo_tokens)
        for budget, chunk in ((1, 1), (3 * per_pair + per_pair // 2, 3)):
            network.pair_budget = budget
            assert network.pairs_per_chunk(network.photo_tokens, network.photo_tokens) == chunk
            parts = network.relate(sketches, photos, attention=attention)
            torch.testing.assert_close(parts.logit, whole.logit, rtol=1e-5, atol=1e-5)
            if attention:
                torch.testing.assert_close(parts.attention.sketch_to_photo, whole.attention.sketch_to_photo)
        for s in range(2):
            for p in range(7):
                alone = network.relate(sketches[s : s + 1], photos[p : p + 1])
                torch.testing.assert_close(alone.logit[0, 0], whole.logit[s, p], rtol=1e-5, atol=1e-5)
        assert network.relate(sketches[:0], photos).logit.shape == (0, 7)


def test_aligned_pairs_are_the_diagonal():
    network = build()
    sketches, photos = encodings(network, 4, seed=1), encodings(network, 4, seed=2)
    with torch.inference_mode():
        logit, sketch, photo = network.relate_aligned(sketches, photos)
        torch.testing.assert_close(logit, network.relate(sketches, photos).logit.diagonal(), rtol=1e-5, atol=1e-5)
    assert sketch.shape == photo.shape == (4, network.token_width)


def test_matches_are_the_softmax_of_what_the_relation_counts():
    network = build()
    sketches, photos = encodings(network, 1, seed=1), encodings(network, 2, seed=2)
    with torch.inference_mode():
        why = network.relate(sketches, photos, attention=True).attention
        for p in range(2):
            _, kernel = naive.pooled_relation(network.relation, sketches.tokens[0], photos.tokens[p])
            torch.testing.assert_close(why.kernel[0, p].double(), kernel, rtol=1e-4, atol=1e-5)
            to_photo = (SHARPNESS * kernel).softmax(dim=1)
            torch.testing.assert_close(why.sketch_to_photo[0, p, 1:, 1:].double(), to_photo, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                why.sketch_to_photo[0, p, 0, 1:].double(), to_photo.mean(0), rtol=1e-4, atol=1e-5
            )
            back = (SHARPNESS * kernel.T).softmax(dim=1)
            torch.testing.assert_close(why.photo_to_sketch[0, p, 1:, 1:].double(), back, rtol=1e-4, atol=1e-5)
    ones = torch.ones(1, 2, network.photo_tokens)
    torch.testing.assert_close(why.sketch_to_photo.sum(-1), ones)
    torch.testing.assert_close(why.photo_to_sketch.sum(-1), ones)


def test_masked_padding_changes_nothing():
    network = build()
    sketches, photos = encodings(network, 2, seed=1), encodings(network, 3, seed=2)
    count = network.photo_tokens
    with torch.inference_mode():
        plain = network.relate(sketches, photos, attention=True)
        padded = network.relate(sketches.padded(count + 3), photos.padded(count + 5), attention=True)
    torch.testing.assert_close(padded.logit, plain.logit, rtol=1e-5, atol=1e-5)
    to_photo = padded.attention.sketch_to_photo
    torch.testing.assert_close(to_photo[:, :, :count, :count], plain.attention.sketch_to_photo, rtol=1e-5, atol=1e-6)
    assert float(to_photo[..., count:].abs().max()) == 0


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.08), (torch.float16, 0.01)])
def test_half_precision_scores_stay_close(dtype, tolerance):
    network = build()
    half = copy.deepcopy(network).cast("cpu", dtype)
    assert next(half.relation.mlp.parameters()).dtype == torch.float32
    with torch.inference_mode():
        exact = network.relate(network.encode_sketch(images(2, seed=1)), network.encode_photo(images(4, seed=2)))
        rounded = half.relate(half.encode_sketch(images(2, seed=1)), half.encode_photo(images(4, seed=2)))
    assert 0 < float((rounded.logit - exact.logit).abs().max()) < tolerance


def silent(module):
    return [
        name
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or float(parameter.grad.abs().max()) == 0)
    ]


@KINDS
def test_gradients_reach_every_part_through_the_exchange_too(config):
    network = build(config).train()
    torch.manual_seed(0)
    exchange = TextExchange(12, config)
    sketches, photos = network.encode_sketch(images(2, seed=1)), network.encode_photo(images(2, seed=2))
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    text = exchange.read(torch.randn(2, 4, 12), mask)
    told_sketches, told_photos, words_s, words_p = exchange(sketches, photos, text, mask, torch.tensor([0, 1]))
    logit, _, _ = network.relate_aligned(told_sketches, told_photos)
    plain, _, _ = network.relate_aligned(sketches, photos)
    parts = [logit, plain, words_s, words_p, sketches.descriptor, photos.descriptor]
    parts += [told_sketches.retrieval_token, told_photos.retrieval_token]
    torch.stack([(part * torch.randn_like(part)).sum() for part in parts]).sum().backward()
    assert silent(network) == []
    assert silent(exchange) == []


def test_padding_of_sentences_changes_nothing():
    torch.manual_seed(0)
    exchange = TextExchange(12, TINY).eval()
    network = build()
    tokens, mask = torch.randn(2, 4, 12), torch.tensor([[True] * 4, [True, True, False, False]])
    longer, longer_mask = F.pad(tokens, (0, 0, 0, 3), value=7.0), F.pad(mask, (0, 3))
    sketches, photos = encodings(network, 3, seed=1), encodings(network, 3, seed=2)
    labels = torch.tensor([1, 0, 1])
    with torch.no_grad():
        one = exchange(sketches, photos, exchange.read(tokens, mask), mask, labels)
        other = exchange(sketches, photos, exchange.read(longer, longer_mask), longer_mask, labels)
    for a, b in ((one[0].tokens, other[0].tokens), (one[1].tokens, other[1].tokens), (one[2], other[2])):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_exchange_is_between_an_image_and_the_text_of_its_category():
    torch.manual_seed(0)
    exchange = TextExchange(12, TINY).eval()
    network = build()
    tokens, mask = torch.randn(2, 4, 12), torch.ones(2, 4, dtype=torch.bool)
    sketches, photos = encodings(network, 2, seed=1), encodings(network, 2, seed=2)
    with torch.no_grad():
        text = exchange.read(tokens, mask)
        both, _, _, _ = exchange(sketches, photos, text, mask, torch.tensor([0, 1]))
        changed, _, _, _ = exchange(sketches, photos, text, mask, torch.tensor([0, 0]))
        image_side = exchange.sketch.project(sketches.tokens[:1], None, "sketch")
        alone = exchange.sketch(image_side, exchange.sketch.project(text[:1], None, "photo"))[0]
    torch.testing.assert_close(both.tokens[:1], alone, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(both.tokens[0], changed.tokens[0])
    assert not torch.allclose(both.tokens[1], changed.tokens[1])


@KINDS
def test_what_is_saved_comes_back_and_holds_no_text(tmp_path, config):
    network = build(config)
    save_checkpoint(network, tmp_path / "network.safetensors")
    loaded = load_checkpoint(tmp_path / "network.safetensors", "cpu", "float32")
    assert isinstance(loaded, TextAlignedNetwork)
    assert loaded.config == network.config
    assert {name.split(".")[0] for name in network.state_dict()} == {"encoder", "relation"}
    with torch.inference_mode():
        shown = images(2, seed=2)
        torch.testing.assert_close(
            loaded.encode_sketch(shown).tokens, network.encode_sketch(shown).tokens, rtol=1e-4, atol=1e-4
        )


def test_two_transformers_start_alike_and_are_two():
    network = build(TWIN)
    assert isinstance(network.encoder, TwinEncoder)
    with torch.inference_mode():
        shown = images(2)
        torch.testing.assert_close(network.encode_sketch(shown).tokens, network.encode_photo(shown).tokens)
        next(network.encoder.sketch.parameters()).add_(1)
        assert not torch.allclose(network.encode_sketch(shown).tokens, network.encode_photo(shown).tokens)
    assert preset("text-aligned-vit-b16").encoder.kind == "vit"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"relation": RelationConfig()}, "pooled"),
        ({"text_heads": 7}, "7 heads"),
        ({"exchange": replace(TINY.exchange, values="own")}, "different token counts"),
    ],
)
def test_configurations_that_cannot_work_are_refused(changes, says):
    with pytest.raises(ConfigurationError, match=says):
        replace(TextAlignedConfig(), **changes)
