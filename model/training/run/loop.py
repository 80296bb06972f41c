"""The training loop: optimiser, schedule, averaging of weights, saved states that resume exactly."""

from __future__ import annotations

import copy
import gc
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.errors import CheckpointError, DivergedError
from model.networks.network import Network
from model.training.config import TrainConfig
from model.training.material.batches import BatchMaker
from model.training.objectives.objective import ContrastiveObjective, UpstreamObjective
from model.training.run.processes import Process
from model.training.sampling import generator_for
from model.whole_file import whole_file

Objective = ContrastiveObjective | UpstreamObjective
LARGEST_GRADIENT = 10.0  # gradients of a larger norm are scaled down to it


class Trainer:
    """Trains an objective's network step by step.

    Args:
        objective: on its device.
        config: how to train.
        process: this process among several; gradients are the mean over all of them.

    Attributes:
        step: steps done.
        best: the best validation so far and its step; the step is 0 before the first.
    """

    def __init__(self, objective: Objective, config: TrainConfig, process: Process | None = None) -> None:
        self.objective = objective
        self.config = config
        self.best: tuple[float, int] = (-math.inf, 0)
        self.process = process or Process()
        self.step = 0
        self.optimiser = torch.optim.AdamW(parameter_groups(objective, config), lr=config.learning_rate)
        self.average = (
            copy.deepcopy(objective.network).requires_grad_(requires_grad=False).eval() if config.ema else None
        )
        self._parallel: nn.Module = objective
        if self.process.count > 1:
            self._parallel = nn.parallel.DistributedDataParallel(objective, find_unused_parameters=True)
        self._mixed = next(objective.parameters()).device.type == "cuda"

    @property
    def network(self) -> Network:
        """The network to validate and to keep: averaged weights, where there is an average."""
        return self.objective.network if self.average is None else self.average

    def advance(self, batches: BatchMaker) -> dict[str, float]:
        """One optimiser step; the terms of its loss by name, and their weighted sum as "loss".

        Raises:
            DivergedError: the loss or its gradient is no finite number; the weights are as they were before the step.
        """
        config = self.config
        set_training(self.objective, config)
        rate = learning_rate(config, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        batch = batches.make(self.step, self.process.rank)
        device = batch.labels.device
        draws = generator_for(config.draws_seed, self.step, self.process.rank, purpose=2, device=device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._mixed):
            terms: dict[str, Tensor] = self._parallel(batch, draws)
        loss = self.objective.total(terms)
        values = torch.stack([term.detach().float() for term in (*terms.values(), loss)]).tolist()
        losses = dict(zip([*terms, "loss"], values, strict=True))
        if not math.isfinite(losses["loss"]):
            raise self._diverged(f"the loss of step {self.step + 1} is {losses['loss']}")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.objective.parameters(), max_norm=LARGEST_GRADIENT)
        if not bool(norm.isfinite()):
            raise self._diverged(f"the gradient of step {self.step + 1} is no finite number")
        self.optimiser.step()
        self.step += 1
        self._update_average()
        return losses

    def _diverged(self, what: str) -> DivergedError:
        return DivergedError(
            f"{what}: lower the learning_rate or raise the warmup, and start again in another --run folder"
        )

    def run(
        self,
        batches: BatchMaker,
        after: Callable[[int, dict[str, float]], None],
        stop: Callable[[], bool] | None = None,
    ) -> bool:
        """All steps that are left.

        Args:
            batches: makes the batch of each step.
            after: called with the number of steps done and the step's losses.
            stop: asked after every step whether to stop there.

        Returns:
            whether the last step is done.
        """
        device = next(self.objective.parameters()).device
        while self.step < self.config.steps:
            losses = self.advance(batches)
            after(self.step, losses)
            if stop is not None and self.process.any(flag=stop(), device=device):
                break
        return self.step == self.config.steps

    def release(self) -> None:
        """Let go of the other processes; no step can follow.

        A gradient reducer that outlives its process group can deadlock when it is freed: it then frees the group while
        holding the interpreter's lock, which a thread of the group may be waiting for (seen with torch 2.13 and gloo).
        """
        self._parallel = self.objective
        if self.process.count > 1:
            gc.collect()

    def save(self, path: Path) -> None:
        """Write the whole state; the file appears whole or not at all."""
        state = {
            "step": self.step,
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "best": list(self.best),
        }
        with whole_file(path) as unfinished:
            torch.save(state, unfinished)

    def resume(self, path: Path) -> None:
        """Continue from a saved state.

        Raises:
            CheckpointError: the file is damaged or belongs to another network or configuration.
        """
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            self.objective.load_state_dict(state["objective"])
            self.optimiser.load_state_dict(state["optimiser"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            quality, step = state.get("best", self.best)
            self.best = (float(quality), int(step))
            self.step = int(state["step"])
        except (pickle.UnpicklingError, RuntimeError, LookupError, ValueError, EOFError, TypeError) as error:
            raise CheckpointError(
                f"cannot resume from {path}: it is damaged or was saved by another kind of run; "
                "remove it to start again, or give another --run folder"
            ) from error

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is None:
            return
        # early on the average follows closely, so that random starts are forgotten
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        current = self.objective.network.state_dict()
        for name, averaged in self.average.state_dict().items():
            if averaged.is_floating_point():
                averaged.lerp_(current[name], 1 - decay)
            else:
                averaged.copy_(current[name])


def set_training(objective: Objective, config: TrainConfig) -> None:
    """Training mode, with the batch normalisation that the configuration asks for."""
    objective.train()
    for name, module in objective.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            stored = config.sketch_views if "sketch_backbone" in name else config.photo_views
            module.train(config.batch_norm == "batch" and not stored)


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of new parts at a step counted from 0."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.learning_rate
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


def parameter_groups(objective: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Four groups: backbone or new, decayed (matrices) or not."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(("backbone" in name, parameter.ndim >= 2), []).append(parameter)
    return [
        {
            "params": parameters,
            "share": config.backbone_rate if backbone else 1.0,
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (backbone, decayed), parameters in sorted(groups.items())
    ]
