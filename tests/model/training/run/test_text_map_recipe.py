"""The recipe that gives a checkpoint a map of words, from a tiny checkpoint and drawn pictures to another file."""

import importlib.util
import json
import sys

import pytest
import torch
from torch.nn import functional as F

from model.checkpoints.files import load_checkpoint, read_checkpoint, save_checkpoint
from model.config import TextTowerConfig
from model.networks.encoder_network import EncoderNetwork
from model.networks.registry import build_network
from model.presets import ZSE_TINY
from model.text.clip_tower import ClipTower
from model.training.run.fit_text_map import give_text_map
from tests.model.training.conftest import draw_collection
from tests.paths import ROOT

TRAIN = ROOT / "train"
HELD_OUT = ("bear", "crab")
DRAWN = [[[0, 200, 100], [10, 30, 220]]]


@pytest.fixture
def embedded():
    return []


@pytest.fixture
def towers():
    """What each of them was embedded with."""
    return []


@pytest.fixture
def recipe(monkeypatch, embedded, towers):
    monkeypatch.syspath_prepend(str(TRAIN))
    spec = importlib.util.spec_from_file_location("text_map_recipe", TRAIN / "text_map.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def embed(names, tower=None):
        towers.append(tower)
        embedded.append(list(names))
        return F.normalize(torch.randn(len(names), 8, generator=torch.Generator().manual_seed(1)), dim=1)

    monkeypatch.setattr(module, "VALIDATION", HELD_OUT)
    monkeypatch.setattr(module, "PENALTIES", (0.1, 1.0))
    monkeypatch.setattr(module, "embed_phrases", embed)
    yield module
    sys.modules.pop("zse_lite", None)


@pytest.fixture
def call(recipe, tmp_path, monkeypatch, capsys):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(build_network(ZSE_TINY, seed=1), path, torch.float16, {"training": json.dumps({"runs": 2})})
    data = draw_collection(tmp_path / "data", ("dog", "bee", "cow", "fox", *HELD_OUT), each=3)
    (tmp_path / "test.txt").write_text("fox\n")
    words = [("dog", 1), ("crab", 2), ("fox", 3), ("moon", 4)]
    lines = [json.dumps({"word": word, "key_id": str(key), "drawing": DRAWN}) for word, key in words]
    (tmp_path / "strokes.ndjson").write_text("\n".join(lines) + "\n")

    def run(*arguments):
        given = [path, *arguments, "--data", data, "--strokes", tmp_path / "strokes.ndjson"]
        monkeypatch.setattr(sys, "argv", ["text_map.py", *map(str, given), "--without", str(tmp_path / "test.txt")])
        with torch.inference_mode():
            recipe.main()
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def test_a_checkpoint_gets_a_map_and_stays_what_it_was(call, embedded, tmp_path):
    target = tmp_path / "worded.safetensors"
    counted, saved = call(target)
    assert embedded == [["bee", "dog", "moon"]]  # cow is reserved, fox left out, bear and crab are for validation
    assert counted == {"images": 8, "categories": 3}
    assert saved["changed"] == []
    metadata, tensors = read_checkpoint(target)
    before, old = read_checkpoint(tmp_path / "tiny.safetensors")
    assert saved["sha256"] == metadata["sha256"] == before["sha256"]
    assert tensors.keys() - old.keys() == {"text_map.mean", "text_map.matrix"}
    assert metadata["training"] == before["training"]
    assert all(value.dtype == torch.float16 for value in tensors.values() if value.is_floating_point())
    assert load_checkpoint(target, "cpu").config.encoder.text_width == 8


def test_penalties_are_compared_on_the_validation_categories_alone(call, embedded, tmp_path):
    _, sketch, *penalties = call("--choose")
    assert embedded == [["bee", "dog", "moon"], list(HELD_OUT)]
    assert set(sketch) == {"penalty", "sketch among validation", "sketch among all"}
    assert [row["penalty"] for row in penalties] == [0.1, 1.0]
    for row in penalties:
        assert all(0 < quality[0] <= 1 for name, quality in row.items() if name != "penalty")
    assert not list(tmp_path.glob("worded*"))


def test_a_checkpoint_keeps_its_own_text_tower(call, towers, tmp_path):
    path, target = tmp_path / "tiny.safetensors", tmp_path / "worded.safetensors"
    network = build_network(ZSE_TINY, seed=1)
    assert isinstance(network, EncoderNetwork)
    tower = ClipTower(TextTowerConfig(vocabulary=9, context=4, width=64, depth=1, embedding=8, quick_gelu=True))
    images = torch.randn(4, network.descriptor_size, generator=torch.Generator().manual_seed(2))
    give_text_map(network, images, torch.eye(8)[:2], torch.arange(4) % 2, 0.1, tower=tower)
    save_checkpoint(network, path, torch.float16)
    _, saved = call(target)
    call("--choose")
    assert [each is not None and each.config for each in towers] == [tower.config] * 3
    assert saved["changed"] == ["text_map.matrix", "text_map.mean"]
    assert load_checkpoint(target, "cpu").config.encoder.text_tower == tower.config


def test_a_target_is_asked_for(call):
    with pytest.raises(SystemExit):
        call()
