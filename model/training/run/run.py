"""A training run from data to checkpoint: one folder, resumable, selected on held-out seen categories."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from model.checkpoints.files import load_tensors, read_checkpoint, save_checkpoint
from model.config import NetworkConfig
from model.data.items import Dataset
from model.data.pairs import Pairs
from model.errors import StoppedError
from model.evaluation.calibrate import ChosenRule
from model.evaluation.seen import learnt_from
from model.training.config import TrainConfig
from model.training.material.material import Material
from model.training.run.fit_whitening import fit_whitening
from model.training.run.loop import Trainer, learning_rate
from model.training.run.preparation import Report, build_objective, make_batches, prepare_material, start_network
from model.training.run.processes import Process
from model.training.run.run_configuration import describe, remember
from model.training.run.validation import Validation, load_validation, validate
from model.training.run.words import Words, find_words, fit_words
from model.whole_file import remove_leftovers

CHECKPOINT, STATE, BEST, CONFIG = "checkpoint.safetensors", "state.pt", "best.safetensors", "config.json"


@dataclass(frozen=True)
class RunPlan:
    """Where a run finds and leaves things.

    Attributes:
        folder: of the run: configuration, state and checkpoint.
        train: sketches and photos to learn from.
        validation: of held-out seen categories; None selects nothing and leaves the score rule as configured.
        extra: more sketches to learn from.
        start: backbone weights: "package", "hub", a file, or None for random ones.
        cache: folder for decoded images and name embeddings.
        side: of decoded training images, in pixels.
        initial: checkpoint to begin from, instead of the backbone's weights alone.
        descriptions: file of sentences that describe categories, besides those that come with the package.
        pairs: drawings of `train` with the photo that each was made from, or None.
        undrawn: photos without drawings, of whatever they may be, or None.
    """

    folder: Path
    train: Dataset
    validation: Dataset | None
    extra: Dataset | None
    start: str | Path | None
    cache: Path
    side: int = 256
    initial: Path | None = None
    descriptions: Path | None = None
    pairs: Pairs | None = None
    undrawn: Dataset | None = None


def train(
    network_config: NetworkConfig,
    config: TrainConfig,
    plan: RunPlan,
    device: torch.device,
    report: Report,
    *,
    process: Process | None = None,
    stop: Callable[[], bool] | None = None,
) -> Path:
    """Train, continuing where the folder's state ends.

    On the CPU a run that was stopped or killed and continued ends with the same bits as an undisturbed one, given the
    same number of threads.

    Args:
        network_config: what to train.
        config: how.
        plan: on what.
        device: where.
        report: called in the first process with plain values: before the first step where a CLIP's own text tower is
            missing ("text_tower"), after every step ("step"), at validations ("validated", and "final" where what is
            kept is measured again), when the score rule is chosen ("calibrated"), with the progress of preparations
            ("doing"), with images that cannot be used ("left_out"), with the map of words ("text_map") and at the end
            ("saved").
        process: this process among several.
        stop: asked after every step whether to save the state and stop there.

    Returns:
        the checkpoint's path.

    Raises:
        StoppedError: `stop` said so.
        DatasetError: images cannot be used and a category has no sketch or no photo left to validate on.
        ConfigurationError: the folder holds a run of another configuration, or the configuration does not suit the
            network.
        CheckpointError: a file that the run starts from is damaged.
        DivergedError: the loss is no number any more.
    """
    process = process or Process()
    tell: Report = report if process.first else _silent
    plan.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    words = Words()
    with process.first_alone():
        if process.first:
            remove_leftovers(plan.folder)
            with torch.random.fork_rng(devices=[]):  # a tower draws numbers before it is filled
                words = find_words(network_config.encoder.backbone, plan.start, plan.initial)
            remember(plan.folder / CONFIG, describe(network_config, config, plan))
            if words.because:
                tell({"text_tower": False, "because": words.because})
        material, semantics = prepare_material(
            network_config,
            config,
            plan.train,
            plan.extra,
            side=plan.side,
            start=plan.start,
            cache=plan.cache,
            device=device,
            report=tell,
            descriptions=plan.descriptions,
            pairs=plan.pairs,
            undrawn=plan.undrawn,
        )
    network = start_network(network_config, config, plan.start, plan.initial, semantics)
    objective = build_objective(network, len(material.categories), config, semantics).to(device)
    if device.type == "cuda":
        objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.pair_budget = 2 * 2**30
    trainer = Trainer(objective, config, process)
    try:
        if (plan.folder / STATE).is_file():
            trainer.resume(plan.folder / STATE)
        batches = make_batches(network, material, network_config, config, tell)  # after resuming: they read the network
        held_out = None
        if plan.validation is not None and process.first:
            held_out = load_validation(plan.validation, network_config.preprocess, plan.cache, device, tell)
        run = _Run(trainer, plan, held_out, words, tell)
        if not trainer.run(batches, run.after_step, stop):
            if process.first:
                trainer.save(plan.folder / STATE)
            raise StoppedError(
                f"stopped after step {trainer.step} of {config.steps}; the same command continues from {plan.folder}"
            )
    finally:
        trainer.release()
    if process.first:
        run.finish(network_config, material)
    return plan.folder / CHECKPOINT


class _Run:
    """What happens around the steps of a run in its first process."""

    def __init__(
        self, trainer: Trainer, plan: RunPlan, held_out: Material | None, words: Words, report: Report
    ) -> None:
        self.trainer = trainer
        self.plan = plan
        self.held_out = held_out
        self.words = words
        self.report = report
        self._validation: tuple[int, Validation] | None = None
        self._started, self._first = time.perf_counter(), trainer.step

    def after_step(self, step: int, losses: dict[str, float]) -> None:
        """Report, validate and save where it is time to."""
        config = self.trainer.config
        seconds = (time.perf_counter() - self._started) / (step - self._first)
        rate = learning_rate(config, step - 1)
        self.report({"step": step, "of": config.steps, "seconds_per_step": seconds, "rate": rate, **losses})
        if not self.trainer.process.first:
            return
        last = step == config.steps
        if last or (config.validate_every and step % config.validate_every == 0):
            self._validate()  # before saving: a run that is killed in between validates again
        if last or (config.save_every and step % config.save_every == 0):
            self.trainer.save(self.plan.folder / STATE)

    def finish(self, network_config: NetworkConfig, material: Material) -> None:
        """Whiten, choose the score rule on validation categories and write the checkpoint, in half precision where it
        fits."""
        trainer, step = self.trainer, self.trainer.step
        changed = False
        if trainer.config.keep == "best" and 0 < trainer.best[1] < step:
            step = trainer.best[1]
            _, tensors = read_checkpoint(self.plan.folder / BEST)  # it stays, so that a finished run can be repeated
            load_tensors(trainer.network, tensors, str(self.plan.folder / BEST))
            changed = True
        if fit_whitening(trainer.network.eval(), material.sketches, material.photos, trainer.config.seed):
            changed = True
        validation = self._measured(step, final=True) if changed else self._validate()
        network = trainer.network.eval()
        network.config = network_config
        if validation is not None:
            chosen = validation.choose_rule()
            network.config = replace(network_config, score=chosen.rule)
            rule = asdict(chosen.rule)
            for part in ("expansion", "standard", "context"):
                rule |= {f"{part}_{name}": value for name, value in rule.pop(part).items()}
            self.report({"calibrated": step, **rule, **reached(chosen)})
        if material.names is not None or self.words.expected:
            self.report(fit_words(network, material, self.words, trainer.config.seed))
        path = self.plan.folder / CHECKPOINT
        story = {"training": json.dumps(self._story(step, validation, material.categories))}
        digest = save_checkpoint(network, path, torch.float16 if fits_half(network) else None, story)
        self.report({"saved": str(path), "sha256": digest})

    def _validate(self) -> Validation | None:
        """The validation of the averaged weights of this step; the best ones are set aside."""
        trainer = self.trainer
        if self._validation is not None and self._validation[0] == trainer.step:
            return self._validation[1]
        validation = self._measured(trainer.step)
        if validation is None:
            return None
        self._validation = (trainer.step, validation)
        if trainer.config.keep == "best" and validation.quality > trainer.best[0]:
            trainer.best = (validation.quality, trainer.step)
            save_checkpoint(trainer.network, self.plan.folder / BEST)
        return validation

    def _measured(self, step: int, *, final: bool = False) -> Validation | None:
        """The validation of the network as it is, reported as that of a step."""
        if self.held_out is None:
            return None
        validation = validate(self.trainer.network.eval(), self.held_out.sketches, self.held_out.photos)
        self.report({"validated": step, **({"final": True} if final else {}), **validation.figures()})
        return validation

    def _story(self, step: int, validation: Validation | None, categories: tuple[str, ...]) -> dict[str, object]:
        """Where the weights come from, for the checkpoint's metadata."""
        config = self.trainer.config
        return {
            "objective": config.objective,
            "seed": config.seed,
            "step": step,
            "steps": config.steps,
            "processes": self.trainer.process.count,
            "data": self.plan.train.name,
            "categories": learnt_from(self.plan.initial, categories),
            "validation": None if validation is None else validation.figures(),
        }


def reached(chosen: ChosenRule) -> dict[str, float]:
    """What a chosen rule reached on the validation categories, and what the choice costs in mAP@all."""
    best = chosen.best
    values = {
        "precision_10_fused": best.precision_10,
        "hit_1_fused": best.hit_1,
        "hit_5_fused": best.hit_5,
        "map_fused": best.map_all,
        "map_against_recall": chosen.expansion_costs,
    }
    return {"recall_share": chosen.share, **{name: round(value, 5) for name, value in values.items()}}


def fits_half(network: nn.Module) -> bool:
    """Whether no value would become infinite in half precision, as a running variance may."""
    values = (value for value in network.state_dict().values() if value.is_floating_point())
    return all(bool(value.half().isfinite().all()) for value in values)


def _silent(values: dict[str, object]) -> None:
    """The report of a process that is not the first."""
    del values
