"""Text-aided alignment's own parts against loops; what it shares with every network is in `test_every_network`."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from model.config import RelationConfig
from model.errors import ConfigurationError
from model.layers.matches import SHARPNESS
from model.networks.encoder import TwinEncoder
from model.networks.registry import preset
from model.networks.text_aligned import TextAlignedConfig, TextExchange
from tests.model import naive
from tests.model.tiny_networks import (
    TEXT_ALIGNED_TINY,
    TEXT_ALIGNED_TWIN,
    build_text_aligned,
    encodings,
    images,
    silent,
)

KINDS = pytest.mark.parametrize("config", [TEXT_ALIGNED_TINY, TEXT_ALIGNED_TWIN], ids=lambda c: c.preset)


@KINDS
def test_every_pair_agrees_with_the_loop(config):
    network = build_text_aligned(config)
    with torch.inference_mode():
        sketches, photos = network.encode_sketch(images(2, seed=1)), network.encode_photo(images(3, seed=2))
        relation = network.relate(sketches, photos)
        for s in range(2):
            for p in range(3):
                logit, _ = naive.pooled_relation(network.relation, sketches.tokens[s], photos.tokens[p])
                torch.testing.assert_close(relation.logit[s, p].double(), logit, rtol=1e-4, atol=1e-5)
    assert float(relation.logit.std()) > 1e-3
    assert relation.attention is None


def test_matches_are_the_softmax_of_what_the_relation_counts():
    network = build_text_aligned()
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


@KINDS
def test_gradients_reach_every_part_through_the_exchange_too(config):
    network = build_text_aligned(config).train()
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
    assert silent(network) == set()
    assert silent(exchange) == set()


def test_padding_of_sentences_changes_nothing():
    torch.manual_seed(0)
    exchange = TextExchange(12, TEXT_ALIGNED_TINY).eval()
    network = build_text_aligned()
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
    exchange = TextExchange(12, TEXT_ALIGNED_TINY).eval()
    network = build_text_aligned()
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
def test_a_checkpoint_holds_nothing_of_the_text(config):
    assert {name.split(".")[0] for name in build_text_aligned(config).state_dict()} == {"encoder", "relation"}


def test_two_transformers_start_alike_and_are_two():
    network = build_text_aligned(TEXT_ALIGNED_TWIN)
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
        ({"exchange": replace(TEXT_ALIGNED_TINY.exchange, values="own")}, "different token counts"),
    ],
)
def test_configurations_that_cannot_work_are_refused(changes, says):
    with pytest.raises(ConfigurationError, match=says):
        replace(TextAlignedConfig(), **changes)
