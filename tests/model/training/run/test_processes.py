"""Processes that train together: gradients are the mean of the parts, and waits end."""

import os

import pytest
import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import start_processes

from model.errors import ConfigurationError
from model.presets import ZSE_TINY
from model.training.material.batches import BatchMaker
from model.training.material.material import load_material
from model.training.objectives.objective import Semantics
from model.training.run.loop import Trainer, set_training
from model.training.run.preparation import build_objective, start_network
from model.training.run.processes import Process, joined
from model.training.sampling import generator_for
from tests.forked import fork_context
from tests.model.training.conftest import CPU, tiny


def together(rank, folder, dataset, cache):
    """In each of two processes: one backward pass of both, against the mean of two passes of its own."""
    os.environ.update(WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1")
    os.environ["MASTER_PORT"] = (folder / "port").read_text()
    torch.set_num_threads(1)
    config = tiny(seed=3)
    with joined(CPU) as (process, device):
        order = []
        with process.first_alone():
            order.append((folder / "prepared").exists())
            material = load_material(dataset, None, ZSE_TINY.preprocess, side=64, device=device, cache=cache)
            (folder / "prepared").touch()
        assert order == [rank == 1]  # the first process had prepared everything before the second began
        assert process.any(flag=rank == 1, device=device)
        assert not process.any(flag=False, device=device)
        network = start_network(ZSE_TINY, config, None, None, Semantics())
        objective = build_objective(network, len(material.categories), config, Semantics())
        batches = BatchMaker(material, ZSE_TINY.preprocess, config)
        trainer = Trainer(objective, config, process)
        set_training(objective, config)

        def backward(parallel: nn.Module, part: int) -> dict[str, torch.Tensor]:
            objective.zero_grad(set_to_none=True)
            terms = parallel(batches.make(0, part), generator_for(config.seed, 0, part, purpose=2))
            objective.total(terms).backward()
            return {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}

        alone = [backward(objective, part) for part in (0, 1)]
        assert any(not torch.allclose(alone[0][name], alone[1][name]) for name in alone[0])
        shared = backward(trainer._parallel, rank)
        assert shared.keys() == alone[0].keys()
        for name, gradient in shared.items():
            torch.testing.assert_close(gradient, (alone[0][name] + alone[1][name]) / 2, atol=1e-6, rtol=1e-4, msg=name)
        trainer.advance(batches)
        whole = torch.cat([value.flatten().float() for value in objective.state_dict().values()])
        others = [torch.empty_like(whole) for _ in range(2)]
        distributed.all_gather(others, whole)
        assert torch.equal(others[0], others[1])
        trainer.release()
        (folder / f"done-{rank}").touch()


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_gradients_are_the_mean_over_two_processes(tmp_path, dataset, cache):
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(probe.getsockname()[1]))
    fork_context()
    start_processes(together, (tmp_path, dataset, cache), nprocs=2, start_method="forkserver")
    assert {path.name for path in tmp_path.iterdir()} >= {"done-0", "done-1"}


def test_a_process_alone_waits_for_nobody(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with joined(CPU) as (process, device):
        assert (process, device) == (Process(0, 1), CPU)
        assert process.first
        with process.first_alone():
            pass
        assert process.any(flag=True, device=device)
        assert not process.any(flag=False, device=device)


def test_an_incomplete_environment_is_named(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="start them with torchrun"), joined(CPU):
        pass
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ConfigurationError, match="must be numbers"), joined(CPU):
        pass
