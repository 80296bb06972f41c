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
from model.checkpoint import load_tensors, read_checkpoint, save_checkpoint
from model.config import ScoreRule, ZseConfig
from model.data.items import Dataset
from model.encoder import HybridEncoder
from model.errors import ConfigurationError
from model.network import Network
from model.registry import build_network
from model.training.config import TrainConfig
from model.training.loop import Objective, Process, Trainer
from model.training.material import (
    BatchMaker,
    Material,
    load_material,
    training_preprocess,
    with_names,
    with_teacher,
)
from model.training.objectives import ContrastiveObjective, Semantics, UpstreamObjective
from model.training.teacher import semantics_of
from model.training.validate import Validation, calibrate, validate
from model.training.views import Views

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class RunPlan:
    """Where a run finds and leaves things.

    Attributes:
        folder: of the run: state, log and checkpoint.
        train: sketches and photos to learn from.
        validation: of held-out seen categories; None selects nothing and calibrates nothing.
        extra: more sketches to learn from.
        initial: checkpoint to begin from, instead of the backbone's weights alone.
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
    initial: Path | None = None


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
    network = _start(network_config, config, plan)
    if plan.initial is None and semantics.projection is not None:
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
    batches = BatchMaker(
        material, network_config.preprocess, config, **_views(network, material, network_config, config, report)
    )
    trainer = Trainer(objective, batches, config, process)
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


def _start(network_config: ZseConfig, config: TrainConfig, plan: RunPlan) -> Network:
    """The network before the first step, with what stays as it is marked so."""
    network = build_network(network_config, None if plan.initial else plan.start, seed=config.seed)
    if plan.initial is not None:
        _, tensors = read_checkpoint(plan.initial)
        load_tensors(network, tensors, str(plan.initial))
    freeze(network, config)
    return network


def freeze(network: Network, config: TrainConfig) -> None:
    """Stop the gradient of the backbones' first stages, and of whole backbones whose features are stored."""
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, HybridEncoder):
        if config.frozen_stages or config.photo_views or config.sketch_views:
            raise ConfigurationError("frozen_stages, photo_views and sketch_views need a network with a hybrid encoder")
        return
    shared = encoder.sketch_backbone is None
    if shared and bool(config.photo_views) != bool(config.sketch_views):
        raise ConfigurationError("one backbone serves both modalities: store the views of both, or of none")
    for modality, stored in (("photo", config.photo_views), ("sketch", config.sketch_views)):
        backbone = encoder.backbone_of(modality)  # type: ignore[arg-type]
        stem = [backbone.conv_stem, backbone.bn1, *backbone.blocks[: max(0, config.frozen_stages - 1)]]
        for module in [backbone] if stored else stem if config.frozen_stages else []:
            module.requires_grad_(requires_grad=False)


def _views(
    network: Network, material: Material, network_config: ZseConfig, config: TrainConfig, report: Report
) -> dict[str, Views]:
    """Stored features of what the configuration keeps as it is."""
    wanted = {
        "photo_views": (material.photos, "photo", config.photo_views),
        "sketch_views": (material.sketches, "sketch", config.sketch_views),
        "extra_views": (material.extra, "sketch", config.sketch_views),
    }
    views = {}
    for name, (images, modality, count) in wanted.items():
        if images is None or not count:
            continue

        def progress(done: int, total: int, name: str = name) -> None:
            report({"doing": f"storing {name}", "done": done, "total": total})

        views[name] = Views(
            network,
            images.pixels,
            modality,  # type: ignore[arg-type]
            count,
            config=config,
            preprocess=training_preprocess(network_config.preprocess, config),
            progress=progress,
        )
    return views


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
