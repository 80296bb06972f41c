from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import model.backbones.hub
import model.backbones.torchvision_guard

# isort: split
import timm

from model.backbones.timm_backbones import create_backbone
from model.config import EncoderConfig
from model.errors import CheckpointError, CheckpointNotFoundError, ConfigurationError, WeightsUnavailableError
from model.layers.folding import fold_batch_norms
from model.networks.encoder import VitEncoder
from model.networks.registry import build_network, preset, with_backbone
from model.networks.zse_sbir import ZseNetwork
from model.presets import ZSE_LITE, ZSE_TINY, ZSE_VIT_B16
from tests.model.tiny_networks import UPSTREAM_TINY, VIT_POOLED, images


def test_presets_are_found_by_name():
    assert preset("zse-lite") is ZSE_LITE
    with pytest.raises(ConfigurationError, match=r"choose one of.*zse-lite"):
        preset("zse-huge")


def test_a_seed_makes_weights_reproducible_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (build_network(ZSE_TINY, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    key = "encoder.position"
    assert torch.equal(first.state_dict()[key], second.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])


@pytest.mark.parametrize(
    ("name", "width", "grid", "mean"),
    [
        ("vit_base_patch16_224.sam_in1k", 768, 14, 0.5),
        ("vit_base_patch16_clip_224.openai", 768, 14, 0.48145466),
        ("vit_small_patch14_reg4_dinov2", 384, 16, 0.485),
        ("vit_base_patch8_224.dino", 768, 28, 0.485),
    ],
)
def test_a_backbone_brings_its_own_width_grid_and_normalisation(name, width, grid, mean):
    config = with_backbone(ZSE_VIT_B16, name)
    assert (config.encoder.width, config.encoder.grid) == (width, grid)
    assert config.preprocess.mean[0] == mean
    assert config.preset == "custom"
    assert not config.encoder.scale_embedding


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_tiny_patch16_224", 64),
        ("vit_tiny_patch16_224", 96),
        ("vit_small_patch14_reg4_dinov2", 56),  # registers
        ("vit_base_patch16_clip_quickgelu_224.openai", 32),  # a norm before the blocks, another activation
        ("deit3_small_patch16_224", 32),  # positions without a class token, layer scale
        ("deit_tiny_distilled_patch16_224", 32),  # a distillation token beside the class token
        ("test_vit", 64),
    ],
)
@pytest.mark.parametrize(
    "base", [UPSTREAM_TINY, pytest.param(VIT_POOLED, marks=pytest.mark.slow)], ids=lambda c: c.preset
)
def test_other_vits_work_whole(name, size, base):
    config = with_backbone(base, name, size)
    config = replace(config, cross_attention=replace(config.cross_attention, heads=2))
    network = build_network(config, seed=0)
    assert isinstance(network, ZseNetwork)
    assert isinstance(network.encoder, VitEncoder)
    with torch.inference_mode():
        sketches, photos = network.encode_sketch(images(1, size, 1)), network.encode_photo(images(2, size, 2))
        relation = network.relate(sketches, photos)
        reference = network.encoder.backbone.forward_features(images(2, size, 2))
    assert photos.tokens.shape == (2, 1 + config.encoder.grid**2, config.encoder.width)
    assert bool(torch.isfinite(relation.logit).all())
    # The same numbers as timm's own forward pass of this model.
    torch.testing.assert_close(photos.tokens[:, 0], reference[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(photos.tokens[:, -1], reference[:, -1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_model", "timm has no model"),
        ("vit_tiny_patch16_224.no_such_tag", "timm has no model"),
        ("resnet18", "no vision transformer with a class token"),
        ("vit_base_patch16_siglip_224", "no vision transformer with a class token"),
        ("vit_wee_patch16_reg1_gap_256", "no vision transformer with a class token"),
    ],
)
def test_unsuitable_backbones_are_refused_in_one_sentence(name, says):
    with pytest.raises(ConfigurationError, match=says):
        with_backbone(VIT_POOLED, name)


def test_the_documented_backbone_can_be_had():
    config = with_backbone(ZSE_LITE, "vit_small_patch14_reg4_dinov2.lvd142m", image_size=224)
    assert (config.encoder.width, config.encoder.grid, config.preprocess.image_size) == (384, 16, 224)
    assert config.encoder.keep_rates == ZSE_LITE.encoder.keep_rates
    assert not config.encoder.separate_backbones


def test_patches_must_divide_the_image():
    with pytest.raises(ConfigurationError, match="patches of 14 pixels, which do not divide 100"):
        with_backbone(VIT_POOLED, "vit_small_patch14_dinov2", 100)


@pytest.mark.parametrize("kind", ["vit", "hybrid"])
def test_wrong_kinds_are_refused(kind):
    encoder = EncoderConfig(kind=kind, backbone="resnet18", width=16, heads=2, depth=1, descriptor_size=4)
    with pytest.raises(ConfigurationError):
        create_backbone(encoder, 64)


def test_a_width_or_grid_that_the_backbone_does_not_have_is_refused():
    with pytest.raises(ConfigurationError, match="has width 64, not 32"):
        create_backbone(replace(UPSTREAM_TINY.encoder, width=32), 64)
    with pytest.raises(ConfigurationError, match="not 6 x 6"):
        create_backbone(replace(UPSTREAM_TINY.encoder, grid=6), 64)


VIT = replace(UPSTREAM_TINY.encoder, backbone="test_vit.r160_in1k")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """The hub does not answer, and its cache is an empty folder."""
    monkeypatch.setattr(model.backbones.hub, "hub_answers", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("offline")
def test_an_unreachable_hub_is_one_sentence():
    with pytest.raises(WeightsUnavailableError, match="pass the file instead"):
        create_backbone(VIT, 64, "hub")


def test_offline_mode_is_honoured(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        model.backbones.hub, "get_session", lambda: pytest.fail("the network was asked in offline mode")
    )
    assert not model.backbones.hub.hub_answers()


def test_a_hub_that_does_not_answer_costs_no_retries(monkeypatch):
    asked = []

    class Session:
        def head(self, url, timeout):
            asked.append((url, timeout))
            raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(model.backbones.hub, "get_session", Session)
    assert not model.backbones.hub.hub_answers()
    assert len(asked) == 1
    assert asked[0][1] <= 10


def test_cached_weights_serve_without_the_hub(offline):
    weights = timm.create_model("test_vit").state_dict()
    folder = offline / "models--timm--test_vit.r160_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    save_file(weights, folder / "snapshots" / "abc" / "model.safetensors")
    backbone = create_backbone(VIT, 64, "hub")
    assert torch.equal(backbone.state_dict()["blocks.0.attn.qkv.weight"], weights["blocks.0.attn.qkv.weight"])


def test_a_model_without_pretrained_weights_is_refused():
    with pytest.raises(WeightsUnavailableError, match="no pretrained weights"):
        create_backbone(replace(VIT, backbone="vit_small_patch16_36x1_224", width=384), 64, "hub")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
def test_a_local_file_of_weights_is_loaded(tmp_path, name, suffix):
    weights = timm.create_model(name).state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": weights}, path)
    else:
        save_file(weights, path)
    encoder = replace(ZSE_TINY.encoder, backbone=name) if name == "test_efficientnet" else UPSTREAM_TINY.encoder
    backbone = create_backbone(encoder, 64, path)
    loaded = backbone.state_dict()
    same = [key for key in loaded if loaded[key].shape == weights[key].shape]
    assert len(same) >= len(loaded) - 1  # a ViT's positions are resampled to the grid
    assert all(torch.equal(loaded[key], weights[key]) for key in same)


def test_files_that_are_no_weights_are_refused(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match="no file of weights"):
        create_backbone(UPSTREAM_TINY.encoder, 64, tmp_path / "missing.safetensors")
    save_file({"w": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="does not hold weights for the backbone"):
        create_backbone(UPSTREAM_TINY.encoder, 64, tmp_path / "other.safetensors")
    (tmp_path / "broken.pth").write_bytes(b"\x80\x04nothing")
    with pytest.raises(CheckpointError, match="nothing in it was executed"):
        create_backbone(UPSTREAM_TINY.encoder, 64, tmp_path / "broken.pth")


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "efficientnet_b0", "test_efficientnet", "mobilenetv3_small_050"]
)
def test_folding_changes_nothing_but_rounding(name):
    """Batch norms with statistics of their own, as after training, and both kinds of padding."""
    torch.manual_seed(0)
    backbone = timm.create_model(name, num_classes=0).eval()
    count = 0
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            count += 1
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(module.weight, 1, 0.2)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    with torch.inference_mode():
        expected = backbone(images(2, 64))
        assert fold_batch_norms(backbone) == count
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in backbone.modules())
        torch.testing.assert_close(backbone(images(2, 64)), expected, rtol=1e-3, atol=1e-4)
