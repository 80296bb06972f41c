import math
from dataclasses import replace

import pytest
import torch

from model.backbones.timm_backbones import Block
from model.config import EncoderConfig, kept_count
from model.errors import ConfigurationError
from model.networks.encoder import keep_most_attended, retrieval_attention, run_blocks
from model.presets import ZSE_LITE, ZSE_LITE0, ZSE_TINY, ZSE_VIT_B16
from tests.model.tiny_networks import UPSTREAM_TINY, VIT_POOLED, build, images


def naive_attention(block, tokens, prefix):
    """Token 0's attention to each patch token, one image, one head and one token at a time."""
    width = tokens.shape[2]
    heads = block.attn.num_heads
    size = width // heads
    out = []
    for image in tokens:
        qkv = [block.attn.qkv(block.norm1(token)) for token in image]
        weights = torch.zeros(len(image))
        for head in range(heads):
            query = qkv[0][head * size : (head + 1) * size]
            keys = [v[width + head * size : width + (head + 1) * size] for v in qkv]
            weights += torch.stack([query @ key / math.sqrt(size) for key in keys]).softmax(0) / heads
        out.append(weights[prefix:])
    return torch.stack(out)


def naive_keep(tokens, attention, rate, prefix):
    """The most attended patch tokens of every image, in the order of the grid."""
    kept_tokens, kept_positions = [], []
    for image, informative in zip(tokens, attention, strict=True):
        keep = math.ceil(rate * len(informative))
        ranked = sorted(range(len(informative)), key=lambda i: -float(informative[i]))[:keep]
        positions = sorted(ranked)
        kept_tokens.append(torch.stack([*image[:prefix], *(image[prefix + p] for p in positions)]))
        kept_positions.append(torch.tensor(positions))
    return torch.stack(kept_tokens), torch.stack(kept_positions)


def block(width=16, heads=4):
    torch.manual_seed(0)
    return Block(width, heads, qkv_bias=True).eval()


@pytest.mark.parametrize("prefix", [1, 3])
def test_retrieval_attention_agrees_with_a_loop(prefix):
    tokens = torch.randn(2, 10, 16) * 3
    with torch.no_grad():
        module = block()
        torch.testing.assert_close(
            retrieval_attention(module, tokens, prefix), naive_attention(module, tokens, prefix), rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize(("rate", "prefix"), [(0.5, 1), (0.9, 1), (0.1, 3), (1.0, 1)])
def test_the_most_attended_tokens_are_kept_and_gathered_rightly(rate, prefix):
    torch.manual_seed(1)
    tokens, attention = torch.randn(3, prefix + 11, 4), torch.rand(3, 11)
    positions = torch.arange(11).expand(3, -1)
    kept, where = keep_most_attended(tokens, positions, attention, rate, prefix)
    slow_kept, slow_where = naive_keep(tokens, attention, rate, prefix)
    assert torch.equal(kept, slow_kept)
    assert torch.equal(where, slow_where)


def test_positions_count_in_the_original_grid_after_several_prunings():
    """A block that changes nothing lets every kept token be compared with the one at its reported position."""
    torch.manual_seed(2)
    still = block()
    with torch.no_grad():
        still.attn.proj.weight.zero_()
        still.attn.proj.bias.zero_()
        still.mlp.fc2.weight.zero_()
        still.mlp.fc2.bias.zero_()
        tokens = torch.randn(3, 1 + 25, 16)
        kept, positions = run_blocks(torch.nn.ModuleList([still] * 3), tokens, ((1, 0.7), (3, 0.5)), 1)
    assert kept.shape == (3, 1 + 9, 16)  # 25 -> 18 -> 9
    for image in range(3):
        assert positions[image].tolist() == sorted(set(positions[image].tolist()))
        assert torch.equal(kept[image, 1:], tokens[image, 1:][positions[image]])
    assert torch.equal(kept[:, 0], tokens[:, 0])


def test_upstreams_keep_rates_leave_its_token_counts():
    counts, count = [], 196
    for _ in range(3):
        count = kept_count(count, 0.9)
        counts.append(count)
    assert counts == [177, 160, 144]
    rates = ((4, 0.9), (7, 0.9), (10, 0.9))
    pruned = replace(
        ZSE_VIT_B16,
        encoder=replace(ZSE_VIT_B16.encoder, keep_rates=rates, backbone="vit_tiny_patch16_224", width=192),
        relation=VIT_POOLED.relation,
    )
    network = build(pruned)
    with torch.inference_mode():
        encoding = network.encode_photo(images(1, 224))
    assert encoding.tokens.shape == (1, 145, 192)
    assert encoding.positions.shape == (1, 144)
    assert network.photo_tokens == 145


def test_whole_counts_are_not_rounded_up_by_floating_point():
    assert kept_count(100, 0.07) == 7
    assert all(kept_count(10 * n, 0.1) == n for n in range(1, 40))
    assert kept_count(1, 0.01) == 1


@pytest.mark.parametrize("config", [VIT_POOLED, ZSE_TINY], ids=lambda c: c.preset)
def test_a_keep_rate_of_one_prunes_nothing(config):
    whole = build(replace(config, encoder=replace(config.encoder, keep_rates=())), seed=3)
    with torch.inference_mode():
        expected = whole.encode_photo(images(2))
        rated = build(replace(config, encoder=replace(config.encoder, keep_rates=((1, 1.0), (2, 1.0)))), seed=3)
        kept = rated.encode_photo(images(2))
    assert torch.equal(kept.tokens, expected.tokens)
    assert kept.positions.tolist() == [list(range(16))] * 2
    assert torch.equal(kept.descriptor, expected.descriptor)


@pytest.mark.parametrize("config", [UPSTREAM_TINY, VIT_POOLED, ZSE_TINY], ids=lambda c: c.preset)
def test_batched_equals_single(config):
    network = build(config)
    pictures = images(3)
    with torch.inference_mode():
        for encode in (network.encode_sketch, network.encode_photo):
            batch = encode(pictures)
            for number in range(3):
                alone = encode(pictures[number : number + 1])
                torch.testing.assert_close(batch.tokens[number], alone.tokens[0], rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(batch.descriptor[number], alone.descriptor[0], rtol=1e-4, atol=1e-5)
                assert torch.equal(batch.positions[number], alone.positions[0])


@pytest.mark.parametrize("config", [UPSTREAM_TINY, VIT_POOLED, ZSE_TINY], ids=lambda c: c.preset)
def test_shapes_and_norms_are_as_announced(config):
    network = build(config)
    with torch.inference_mode():
        encoding = network.encode_sketch(images(2))
    assert encoding.tokens.shape == (2, network.photo_tokens, network.token_width)
    assert encoding.positions.shape == (2, network.photo_tokens - 1)
    assert encoding.positions.dtype == torch.int64
    assert int(encoding.positions.max()) < network.grid**2
    assert encoding.descriptor.shape == (2, network.descriptor_size)
    assert encoding.descriptor.dtype == torch.float32
    torch.testing.assert_close(encoding.descriptor.norm(dim=-1), torch.ones(2))
    assert encoding.mask is None
    assert torch.equal(encoding.retrieval_token, encoding.tokens[:, 0])


def test_registers_leave_with_the_encoder_and_positions_stay_right():
    config = replace(
        VIT_POOLED,
        encoder=replace(
            VIT_POOLED.encoder, backbone="vit_small_patch14_reg4_dinov2", width=384, grid=4, keep_rates=((2, 0.5),),
            scale_embedding=False,
        ),
        preprocess=replace(VIT_POOLED.preprocess, image_size=56),
    )  # fmt: skip
    network = build(config)
    with torch.inference_mode():
        encoding = network.encode_photo(images(1, 56))
    assert encoding.tokens.shape == (1, 1 + 8, 384)
    assert int(encoding.positions.max()) < 16


def test_the_lite_preset_keeps_about_fifty_tokens():
    assert 45 <= 1 + ZSE_LITE.encoder.kept_patches <= 60


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"keep_rates": ((4, 0.0),)}, "above 0"),
        ({"keep_rates": ((4, 1.5),)}, "at most 1"),
        ({"keep_rates": ((4, float("nan")),)}, "above 0"),
        ({"keep_rates": ((7, 0.9), (4, 0.9))}, "in order"),
        ({"keep_rates": ((4, 0.9), (4, 0.9))}, "each once"),
        ({"keep_rates": ((0, 0.9),)}, "from 1"),
    ],
)
def test_impossible_keep_rates_are_refused(changes, says):
    with pytest.raises(ConfigurationError, match=says):
        EncoderConfig(**changes)


def test_a_hybrid_that_cannot_be_is_refused():
    with pytest.raises(ConfigurationError, match="5 heads"):
        replace(ZSE_TINY.encoder, heads=5)
    with pytest.raises(ConfigurationError, match="names block 3"):
        replace(ZSE_TINY.encoder, keep_rates=((3, 0.5),))
    with pytest.raises(ConfigurationError, match="descriptor_size"):
        replace(ZSE_TINY.encoder, descriptor_size=0)


def test_a_vit_is_asked_for_its_depth():
    encoder = replace(VIT_POOLED.encoder, keep_rates=((40, 0.5),))
    with pytest.raises(ConfigurationError, match="names block 40"):
        build(replace(VIT_POOLED, encoder=encoder))


def test_pruned_tokens_need_a_relation_network_that_can_read_them():
    encoder = replace(ZSE_VIT_B16.encoder, keep_rates=((4, 0.9), (7, 0.9), (10, 0.9)))
    with pytest.raises(ConfigurationError, match=r"reads all 196 patch tokens.*leave 144.*'pooled'"):
        replace(ZSE_VIT_B16, encoder=encoder)
    assert replace(ZSE_VIT_B16, encoder=encoder, relation=ZSE_LITE0.relation).encoder.kept_patches == 144


def test_impossible_parts_are_refused():
    with pytest.raises(ConfigurationError, match="even patch grid"):
        replace(UPSTREAM_TINY, encoder=replace(UPSTREAM_TINY.encoder, grid=5))
    with pytest.raises(ConfigurationError, match="attention heads"):
        replace(UPSTREAM_TINY, cross_attention=replace(UPSTREAM_TINY.cross_attention, heads=7))
    with pytest.raises(ConfigurationError, match="2 bins"):
        replace(VIT_POOLED, relation=replace(VIT_POOLED.relation, bins=1))
