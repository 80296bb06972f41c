"""`sketchseek train --preset` of the other networks by their default recipes, from images to a checkpoint."""

from __future__ import annotations

import json

import pytest
import torch

import model.training.material.name_embeddings
import model.training.material.sentence_tokens
from app.cli import main
from model.checkpoints.files import load_checkpoint
from model.data.descriptions import Descriptions, write_descriptions
from model.networks.registry import preset
from tests.model.training.conftest import CATEGORIES, draw_collection

OWN = {"crossatnet-tiny": {"triplet", "attend", "graph", "hash"}, "text-aligned-tiny": {"triplet", "sentences"}}
SETTINGS = ("categories=3", "per_category=2", "hard=2", "easy=1", "warmup=1", "weights.distil=0")


@pytest.fixture(autouse=True)
def sentence_encoder(monkeypatch):
    """Fixed embeddings in place of the sentence transformer, which takes long to load."""
    fixed = torch.Generator().manual_seed(0)
    monkeypatch.setattr(
        model.training.material.name_embeddings, "_encode", lambda names: torch.randn(len(names), 384, generator=fixed)
    )
    monkeypatch.setattr(
        model.training.material.sentence_tokens,
        "_encode",
        lambda said: [torch.randn(4, 384, generator=fixed) for _ in said],
    )


@pytest.mark.parametrize("name", list(OWN))
def test_the_other_networks_train_by_their_own_recipe(name, tmp_path, capsys):
    data, described = draw_collection(tmp_path / "data"), tmp_path / "descriptions.json"
    write_descriptions(described, Descriptions("a test", ("How?",), dict.fromkeys(CATEGORIES, ("It is so.",))))
    arguments = ["train", "--preset", name, "--data", str(data), "--run", str(tmp_path / "run"), "--steps", "2",
                 "--start", "none", "--device", "cpu", "--validation", "2", "--cache", str(tmp_path / "cache"),
                 *(part for setting in SETTINGS for part in ("--set", setting))]  # fmt: skip
    if name == "text-aligned-tiny":
        arguments += ["--descriptions", str(described)]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    assert printed.out.startswith(f"wrote {checkpoint} (sha256 ")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert OWN[name] <= set().union(*lines), "each term of its own is trained"
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["training"]["objective"] == preset(name).architecture
    network = load_checkpoint(checkpoint, "cpu", "float32")
    assert network.config.preset == name
    assert (network.hash_projection is not None) == (name == "crossatnet-tiny")
