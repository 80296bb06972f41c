"""One step after another: schedule, averaging, what is trained and what is not, saved states."""

import copy
import math

import pytest
import torch
from torch import nn

from model.errors import CheckpointError, DivergedError
from model.presets import ZSE_TINY
from model.training.config import UPSTREAM_RECIPE, LossWeights
from model.training.run.loop import LARGEST_GRADIENT, Trainer, learning_rate, parameter_groups, set_training
from tests.model.training.conftest import tiny


def test_the_rate_warms_up_and_falls_to_a_hundredth():
    config = tiny(steps=100, warmup=10, learning_rate=2.0)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == max(rates) == 2.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(2.0 * (0.01 + 0.99 / 2))
    assert 0.02 < rates[-1] < 0.025
    assert {learning_rate(UPSTREAM_RECIPE, step) for step in (0, 1, 10_000, 19_999)} == {1e-5}


def test_backbones_learn_slower_and_only_matrices_decay(objective_for):
    config = tiny(backbone_rate=0.1, weight_decay=0.05)
    objective, _ = objective_for(config)
    groups = parameter_groups(objective, config)
    found = {id(parameter): group for group in groups for parameter in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in groups) == len(list(objective.parameters()))
    for name, parameter in objective.named_parameters():
        assert found[id(parameter)]["share"] == (0.1 if "backbone" in name else 1.0)
        assert found[id(parameter)]["weight_decay"] == (0.05 if parameter.ndim >= 2 else 0.0)


@pytest.mark.parametrize("batch_norm", ["frozen", "batch"])
def test_the_average_follows_weights_and_running_statistics(objective_for, batch_norm):
    config = tiny(ema=0.6, batch_norm=batch_norm)
    objective, batches = objective_for(config)
    trainer = Trainer(objective, config)
    expected = {name: value.clone() for name, value in objective.network.state_dict().items()}
    start = copy.deepcopy(expected)
    for step in range(1, 4):
        trainer.advance(batches)
        decay = min(0.6, (1 + step) / (10 + step))
        for name, value in objective.network.state_dict().items():
            kept = decay * expected[name] + (1 - decay) * value if value.is_floating_point() else value
            expected[name] = kept.clone()
    assert trainer.network is not objective.network
    assert not trainer.network.training
    averaged = trainer.network.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(averaged[name], value, msg=name)
    moved = any(not torch.equal(averaged[name], start[name]) for name in averaged if "running_mean" in name)
    assert moved == (batch_norm == "batch")


def test_without_averaging_the_network_itself_is_kept(objective_for):
    objective, _ = objective_for(tiny(ema=0.0))
    assert Trainer(objective, tiny(ema=0.0)).network is objective.network


def test_every_trained_parameter_gets_a_gradient(objective_for):
    objective, batches = objective_for(tiny())
    set_training(objective, tiny())
    terms = objective(batches.make(0, 0), torch.Generator().manual_seed(0))
    assert set(terms) == {"contrast", "classify", "rank", "decide"}
    objective.total(terms).backward()
    without = {name for name, p in objective.named_parameters() if p.grad is None or not bool(p.grad.abs().sum())}
    # a bias that moves all logits of a softmax alike has no effect
    assert without <= {"network.relation.weight_sketch.bias", "network.relation.weight_photo.bias"}


def test_a_weight_of_zero_skips_its_term(objective_for):
    config = tiny(weights=LossWeights(text=0.0, distil=0.0, rank=0.0, decide=0.0, classify=0.0))
    objective, batches = objective_for(config)
    assert set(objective(batches.make(0, 0), torch.Generator().manual_seed(0))) == {"contrast"}


def test_the_total_is_the_weighted_sum(objective_for):
    objective, _ = objective_for(tiny(weights=LossWeights(contrast=2.0, rank=0.25, text=0.0, distil=0.0)))
    terms = {"contrast": torch.tensor(3.0), "rank": torch.tensor(4.0)}
    assert float(objective.total(terms)) == 7.0


def test_a_loss_that_is_no_number_stops_before_the_weights_are_spoilt(objective_for):
    objective, batches = objective_for(tiny())
    trainer = Trainer(objective, tiny())
    with torch.no_grad():
        objective.prototypes.fill_(math.nan)
    before = {name: value.clone() for name, value in objective.network.state_dict().items()}
    with pytest.raises(DivergedError, match="step 1 is nan: lower the learning_rate"):
        trainer.advance(batches)
    assert all(torch.equal(value, before[name]) for name, value in objective.network.state_dict().items())


def test_a_finite_loss_whose_gradient_is_none_stops_before_the_weights_are_spoilt(objective_for):
    objective, batches = objective_for(tiny())
    trainer = Trainer(objective, tiny())
    first = next(parameter for parameter in objective.network.parameters() if parameter.requires_grad)
    first.register_hook(lambda gradient: gradient * math.inf)
    before = {name: value.clone() for name, value in objective.network.named_parameters()}
    with pytest.raises(DivergedError, match="the gradient of step 1 is no finite number: lower the learning_rate"):
        trainer.advance(batches)
    assert trainer.step == 0
    assert all(torch.equal(value, before[name]) for name, value in objective.network.named_parameters())


def test_large_gradients_are_scaled_down(objective_for):
    for weight, clipped in ((1e4, True), (1e-4, False)):
        config = tiny(weights=LossWeights(contrast=weight, classify=0, text=0, distil=0, rank=0, decide=0))
        objective, batches = objective_for(config)
        Trainer(objective, config).advance(batches)
        gradients = [parameter.grad for parameter in objective.parameters() if parameter.grad is not None]
        norm = float(torch.stack([gradient.norm() for gradient in gradients]).norm())
        assert (norm == pytest.approx(LARGEST_GRADIENT, rel=1e-4)) == clipped
        assert 0 < norm < LARGEST_GRADIENT * 1.001


def test_frozen_stages_stay_and_the_rest_moves(objective_for):
    config = tiny(frozen_stages=2)
    objective, batches = objective_for(config)
    before = {name: value.clone() for name, value in objective.network.named_parameters()}
    trainer = Trainer(objective, config)
    for _ in range(2):
        trainer.advance(batches)
    still = {name for name, value in objective.network.named_parameters() if torch.equal(value, before[name])}
    backbone = {name for name in before if name.startswith("encoder.backbone.")}
    stem = {name for name in backbone if name.split(".")[2] in {"conv_stem", "bn1"} or ".blocks.0." in name}
    assert stem
    assert stem <= still
    assert not (backbone - stem) & still


def test_batch_norms_renew_their_statistics_only_where_asked_to(objective_for):
    objective, _ = objective_for(tiny())
    norms = [module for module in objective.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert norms
    for config, renewed in ((tiny(), False), (tiny(batch_norm="batch"), True)):
        set_training(objective, config)
        assert {module.training for module in norms} == {renewed}
    set_training(objective, tiny(batch_norm="batch", photo_views=1, sketch_views=1))
    assert {module.training for module in norms} == {False}
    assert objective.network.relation.training


def test_a_saved_state_brings_back_every_bit(objective_for, tmp_path):
    config = tiny()
    objective, batches = objective_for(config)
    trainer = Trainer(objective, config)
    trainer.advance(batches)
    trainer.best = (0.25, 1)
    trainer.save(tmp_path / "state.pt")
    ahead = trainer.advance(batches)
    other, _ = objective_for(tiny(seed=99))
    resumed = Trainer(other, config)
    resumed.resume(tmp_path / "state.pt")
    assert (resumed.step, resumed.best) == (1, (0.25, 1))
    assert resumed.advance(batches) == ahead
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "another"])
def test_a_damaged_state_is_refused_in_words(objective_for, tmp_path, damage):
    config = tiny()
    objective, _ = objective_for(config)
    trainer = Trainer(objective, config)
    path = tmp_path / "state.pt"
    trainer.save(path)
    content = path.read_bytes()
    path.write_bytes({"truncated": content[: len(content) // 2], "garbage": b"no state", "empty": b""}.get(damage, b""))
    if damage == "another":
        torch.save({"step": 1}, path)
    with pytest.raises(CheckpointError, match=r"cannot resume from .*state\.pt: it is damaged"):
        trainer.resume(path)


def test_a_state_of_another_network_is_refused(objective_for, tmp_path):
    config = tiny()
    objective, _ = objective_for(config)
    Trainer(objective, config).save(tmp_path / "state.pt")
    from dataclasses import replace

    wider = replace(ZSE_TINY, encoder=replace(ZSE_TINY.encoder, descriptor_size=24))
    other, _ = objective_for(config, wider)
    with pytest.raises(CheckpointError, match="cannot resume"):
        Trainer(other, config).resume(tmp_path / "state.pt")
