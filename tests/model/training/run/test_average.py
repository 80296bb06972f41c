"""The recipe that averages runs, from two checkpoints and a folder of images to one checkpoint."""

import importlib.util
import json
import sys
from dataclasses import replace

import pytest
import torch

from model.checkpoints.files import load_checkpoint, read_checkpoint, save_checkpoint
from model.config import RelationConfig
from model.networks.registry import build_network, preset
from model.networks.zse_sbir import ZseNetwork
from model.presets import ZSE_TINY
from tests.model.training.conftest import draw_collection
from tests.paths import ROOT

TRAIN = ROOT / "train"
MATCHING_TINY = replace(
    ZSE_TINY,
    encoder=replace(ZSE_TINY.encoder, whitened=True),
    cross_attention=replace(ZSE_TINY.cross_attention, values="none"),
    relation=RelationConfig(kind="matching", width=16, hidden=(4,), radii=(2.0, 0.0)),
)
HELD_OUT = ("bear", "crab")


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(str(TRAIN))
    spec = importlib.util.spec_from_file_location("average_recipe", TRAIN / "average.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "VALIDATION", HELD_OUT)
    yield module
    sys.modules.pop("zse_lite", None)


def save_run(folder, change, config=MATCHING_TINY, start=None, **story):
    """A run that began with the weights of seed 0 and moved by a random amount."""
    network = build_network(config, seed=0)
    draws = torch.Generator().manual_seed(change)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=draws))
    folder.mkdir()
    path = folder / "checkpoint.safetensors"
    told = {"seed": 7, "categories": ["ant", f"only {change}"], **story}
    save_checkpoint(network, path, None, {"training": json.dumps(told)})
    if start is not None:
        (folder / "config.json").write_text(json.dumps({"start": start}))
    return path


@pytest.fixture
def runs(tmp_path):
    start = {"backbone": "package", "checkpoint": None}
    return [save_run(tmp_path / f"run-{change}", change, start=start) for change in (1, 2, 3)]


def test_the_mean_is_the_mean_of_each_weight(recipe, runs):
    mean = recipe.averaged(runs).state_dict()
    tensors = [read_checkpoint(path)[1] for path in runs]
    assert mean.keys() == tensors[0].keys()
    moved = 0
    for name, value in mean.items():
        if not value.is_floating_point():
            assert torch.equal(value, tensors[0][name])
            continue
        expected = torch.zeros_like(value)
        for each in tensors:
            expected += each[name] / len(tensors)
        torch.testing.assert_close(value, expected, msg=name)
        moved += not torch.equal(value, tensors[0][name])
    assert moved > 20
    alone = recipe.averaged(runs[:1]).state_dict()
    assert all(torch.equal(alone[name], value) for name, value in tensors[0].items())


def test_two_runs_become_a_whitened_checkpoint_with_a_score_rule(recipe, runs, tmp_path, monkeypatch, capsys):
    data = draw_collection(tmp_path / "data", ("ant", "bee", "dog", "fox", *HELD_OUT), each=3)
    (tmp_path / "test.txt").write_text("fox\n")
    target = tmp_path / "mean.safetensors"
    given = [str(path) for path in (target, *runs[:2], "--data", data, "--without", tmp_path / "test.txt")]
    monkeypatch.setattr(sys, "argv", ["average.py", *given])
    recipe.main()
    reached, saved = map(json.loads, capsys.readouterr().out.splitlines())
    assert 0 < reached["precision_10_fused"] <= 1
    assert saved["saved"] == str(target)
    metadata, tensors = read_checkpoint(target)
    assert saved["sha256"] == metadata["sha256"]
    story = json.loads(metadata["training"])
    assert story == {"categories": ["ant", "bee", "dog", "only 1", "only 2"], "runs": 2}
    mean = recipe.averaged(runs[:2]).state_dict()
    fitted = {name for name, value in tensors.items() if not torch.equal(value, mean[name].to(value.dtype))}
    assert {name.split(".")[0] for name in fitted} == {"whitening", "relation"}
    assert {"relation.mean", "relation.matrix"} <= fitted
    network = load_checkpoint(target, device="cpu", dtype="float32")
    assert isinstance(network, ZseNetwork)
    assert network.config.score != MATCHING_TINY.score
    assert all(bool(value.isfinite().all()) for value in tensors.values())


def test_weights_too_large_for_half_precision_stay_whole(recipe, tmp_path, monkeypatch):
    path = save_run(tmp_path / "run", 1)
    network = load_checkpoint(path, device="cpu", dtype="float32", trainable=True)
    with torch.no_grad():
        next(value for name, value in network.named_buffers() if name.endswith("running_var")).fill_(1e6)
    save_checkpoint(network, path)
    data = draw_collection(tmp_path / "data", ("ant", "bee", *HELD_OUT), each=2)
    target = tmp_path / "mean.safetensors"
    monkeypatch.setattr(sys, "argv", ["average.py", str(target), str(path), str(path), "--data", str(data)])
    recipe.main()
    _, tensors = read_checkpoint(target)
    assert all(bool(value.isfinite().all()) for value in tensors.values())
    assert max(float(value.max()) for value in tensors.values()) == 1e6


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 8}, "seed"),
        ({"start": {"backbone": "hub", "checkpoint": None}}, "backbone"),
        ({"start": {"backbone": "package", "checkpoint": "other.safetensors"}}, "checkpoint"),
        (
            {"config": replace(MATCHING_TINY, relation=replace(MATCHING_TINY.relation, width=8))},
            "network.relation.width",
        ),
    ],
    ids=["another seed", "another backbone", "another checkpoint", "another network"],
)
def test_runs_that_did_not_start_alike_are_refused(recipe, runs, tmp_path, change, named):
    other = save_run(tmp_path / "other", 4, **change)
    with pytest.raises(SystemExit, match=f"other/checkpoint.safetensors and .* did not start alike .*{named}"):
        recipe.averaged([*runs, other])


def test_what_does_not_change_the_start_is_no_reason_to_refuse(recipe, runs, tmp_path):
    scored = replace(MATCHING_TINY, score=replace(MATCHING_TINY.score, recall_weight=3.0))
    other = save_run(tmp_path / "other", 4, scored, steps=900)  # no folder of its run around it
    recipe.averaged([*runs, other])


def test_other_networks_are_refused(recipe, tmp_path):
    path = save_run(tmp_path / "run", 1, preset("crossatnet-tiny"))
    with pytest.raises(SystemExit, match="averages ZSE-SBIR networks"):
        recipe.averaged([path, path])


def test_a_run_that_does_not_say_what_it_met_leaves_it_unknown(recipe, runs, tmp_path):
    silent = save_run(tmp_path / "silent", 4, categories=None)
    assert recipe.learnt_by_all(runs[:2], ("bee",)) == ["ant", "bee", "only 1", "only 2"]
    assert recipe.learnt_by_all([runs[0], silent], ("bee",)) is None
