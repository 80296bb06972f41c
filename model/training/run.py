"""A training run from data to checkpoint: one folder, resumable, selected on held-out seen categories."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from model.backbone import create_classifier
from model.checkpoint import save_checkpoint
from model.config import ScoreRule, ZseConfig
from model.data.items import Dataset
from model.errors import ConfigurationError
from model.registry import build_network
from model.training.config import TrainConfig
from model.training.loop import Objective, Process, Trainer
from model.training.material import BatchMaker, Material, load_material, with_names, with_teacher
from model.training.objectives import ContrastiveObjective, Semantics, UpstreamObjective
from model.training.teacher import semantics_of
from model.training.validate import Validation, calibrate, validate

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class RunPlan:
    """Where a run finds and leaves things.

    Attributes:
        folder: of the run: state, log and checkpoint.
        train: sketches and photos to learn from.
        validation: of held-out seen categories; None selects nothing and calibrates nothing.
        extra: more sketches to learn from.
        start: backbone weights: "package", "hub", a file, or None for random ones.
        cache: folder for decoded images and name embeddings.
        side: of decoded training images, in pixels.
    """

    folder: Path
    train: Dataset
    validation: Dataset | None
    extra: Dataset | None
    start: str | Path | None
    cache: Path
    side: int = 256


def train(
    network_config: ZseConfig,
    config: TrainConfig,
    plan: RunPlan,
    device: torch.device,
    report: Report,
    *,
    process: Process | None = None,
) -> Path:
    """Train, continuing where the folder's state ends.

    Args:
        network_config: what to train.
        config: how.
        plan: on what.
        device: where.
        report: called with plain values after every step, at validations and with the progress of decoding.
        process: this process among several.

    Returns:
        the checkpoint's path.
    """
    process = process or Process()
    plan.folder.mkdir(parents=True, exist_ok=True)
    _remember(plan.folder / "config.json", {"network": asdict(network_config), "training": asdict(config)})
    torch.manual_seed(config.seed)
    material, semantics = _material(network_config, config, plan, device, report)
    network = build_network(network_config, plan.start, seed=config.seed)
    if semantics.projection is not None:
        network.start_from(semantics.projection)
    objective: Objective
    if config.objective == "upstream":
        objective = UpstreamObjective(network)
    else:
        objective = ContrastiveObjective(network, len(material.categories), config, semantics)
    objective = objective.to(device)
    if device.type == "cuda":
        objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.pair_budget = 2 * 2**30
    trainer = Trainer(objective, BatchMaker(material, network_config.preprocess, config), config, process)
    state = plan.folder / "state.pt"
    if state.is_file():
        trainer.resume(state)
    held_out = _held_out(plan, network_config, device, report)
    started, first = time.perf_counter(), trainer.step

    def after(step: int, losses: dict[str, float]) -> None:
        seconds = (time.perf_counter() - started) / (step - first)
        report({"step": step, "of": config.steps, "seconds_per_step": seconds, **losses})
        last = step == config.steps
        if process.rank == 0 and (last or (config.save_every and step % config.save_every == 0)):
            trainer.save(state)
        if held_out and process.rank == 0 and (last or (config.validate_every and step % config.validate_every == 0)):
            report({"validated": step, **figures(validate_averaged(trainer, held_out))})

    trainer.run(after)
    if process.rank == 0:
        _finish(trainer, network_config, held_out, plan, report)
    return plan.folder / "checkpoint.safetensors"


def validate_averaged(trainer: Trainer, held_out: Material) -> Validation:
    """Validation of the weights that will be kept."""
    network = trainer.network.eval()
    device = held_out.photos.pixels.device.type
    with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
        return validate(network, held_out.sketches, held_out.photos)


def figures(validation: Validation) -> dict[str, float]:
    """The scalars of a validation."""
    names = ("map_recall", "precision_recall", "map_relation", "precision_relation")
    return {name: round(getattr(validation, name), 5) for name in names}


def _material(
    network_config: ZseConfig, config: TrainConfig, plan: RunPlan, device: torch.device, report: Report
) -> tuple[Material, Semantics]:
    def progress(what: str, done: int, total: int) -> None:
        if done % 500 == 0 or done == total:
            report({"doing": what, "done": done, "total": total})

    preprocess = network_config.preprocess
    material = load_material(
        plan.train, plan.extra, preprocess, side=plan.side, device=device, cache=plan.cache, progress=progress
    )
    if config.objective == "upstream":
        return material, Semantics()
    names = plan.cache / "names.safetensors"
    if config.weights.text or material.extra is not None:
        material = with_names(material, names)
    if not config.weights.distil or plan.start is None:
        return material, Semantics(names=material.names)
    classifier = create_classifier(network_config.encoder, plan.start)
    width = network_config.encoder.descriptor_size or network_config.encoder.width
    semantics = semantics_of(classifier, material.names, width)
    return with_teacher(material, classifier, preprocess, names), semantics


def _held_out(plan: RunPlan, network_config: ZseConfig, device: torch.device, report: Report) -> Material | None:
    if plan.validation is None:
        return None
    size = network_config.preprocess.image_size
    report({"doing": "reading validation categories", "done": 0, "total": 1})
    return load_material(plan.validation, None, network_config.preprocess, side=size, device=device, cache=plan.cache)


def _finish(
    trainer: Trainer, network_config: ZseConfig, held_out: Material | None, plan: RunPlan, report: Report
) -> None:
    """Calibrate the score rule on validation categories and write the checkpoint in half precision."""
    network = trainer.network.eval()
    if held_out is not None:
        validation = validate_averaged(trainer, held_out)
        weight, quality = calibrate(validation)
        report({"calibrated": trainer.step, "recall_weight": weight, "map_fused": round(quality, 5)})
        network.config = replace(network_config, score=ScoreRule(recall_weight=weight, bias=-weight / 2))
    digest = save_checkpoint(network, plan.folder / "checkpoint.safetensors", torch.float16)
    report({"saved": str(plan.folder / "checkpoint.safetensors"), "sha256": digest})


def _remember(path: Path, values: dict[str, Any]) -> None:
    """Write a run's configuration, or refuse to continue a run that was started with another one."""
    text = json.dumps(values, indent=1, sort_keys=True)
    if path.is_file() and path.read_text() != text:
        raise ConfigurationError(
            f"{path.parent} holds a run with another configuration; give another --run folder, or the same options"
        )
    path.write_text(text)
