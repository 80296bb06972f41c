"""`sketchseek train`: train a network on your own sketches and photos, or on a published split."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.shared_options import DEFAULT_SPLIT, FileListsOption, SplitOption, in_data
from app.cli.training_progress import reports
from model.errors import ConfigurationError

if TYPE_CHECKING:
    from model.config import NetworkConfig
    from model.training.config import TrainConfig
    from model.training.material.sources import Sources


def command(
    *,
    data: Annotated[
        Path | None, in_data("Folder of sketch/CATEGORY/* and photo/CATEGORY/*, or of train/ with these two.")
    ] = None,
    file_lists: FileListsOption = None,
    split: SplitOption = DEFAULT_SPLIT,
    extra: Annotated[Path | None, in_data("Folder of CATEGORY/* with more sketches.")] = None,
    strokes: Annotated[
        Path | None, in_data("Quick, Draw! drawings as more sketches: a file .ndjson(.gz), or a folder of them.")
    ] = None,
    pairs: Annotated[
        Path | None,
        in_data("Drawings with the photo that each was made from: a folder of Sketchy's names, or a CSV table."),
    ] = None,
    without: Annotated[list[Path] | None, in_data("File of categories to leave out, one per line.")] = None,
    without_reserved: Annotated[
        bool,
        typer.Option("--without-reserved", help="Leave out what published benchmarks test on.", rich_help_panel="Data"),
    ] = False,
    validation: Annotated[
        str,
        typer.Option(
            help="Categories to hold out for validation: how many, drawn by the seed, or a file of names; 0 for none.",
            rich_help_panel="Data",
        ),
    ] = "10",
    preset: Annotated[
        str, typer.Option(help="Network: zse-lite, zse-vit-b16, crossatnet, text-aligned or text-aligned-vit-b16.")
    ] = "zse-lite",
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Another vision transformer of timm's, such as vit_base_patch16_clip_224.openai.", show_default=False
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="contrastive, upstream, crossatnet or text-aligned. Default: the network's own.", show_default=False
        ),
    ] = None,
    descriptions: Annotated[
        Path | None,
        typer.Option(help="File of sentences that describe categories, besides the bundled ones.", show_default=False),
    ] = None,
    start: Annotated[
        str,
        typer.Option(
            help="Weights of the backbone: package, hub, a file or none. auto takes a package if there is one."
        ),
    ] = "auto",
    initial: Annotated[
        str | None,
        typer.Option(help="Checkpoint to start from instead: a bundled name or a file.", show_default=False),
    ] = None,
    score_from: Annotated[
        str | None,
        typer.Option(
            help="For a run without validation: checkpoint whose score rule to take, a bundled name or a file.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps. Default: the recipe's.", min=1)] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the recipe: learning_rate=3e-4, weights.text=0.", show_default=False),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run. Default: runs/PRESET.", show_default=False)
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of decoded images. Default: cache beside the run.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print every report as a line of JSON.")] = False,
) -> None:
    """Train a network. The same command continues a run that was stopped or killed."""
    from model.checkpoints.files import resolve_device
    from model.data.splits import read_category_list
    from model.training.material.sources import decoding_side, gather, seen_images, starting_weights
    from model.training.run.processes import joined
    from model.training.run.run import CONFIG, RunPlan, train
    from model.training.run.run_configuration import check, describe

    logging.getLogger("model.data.arrays").setLevel(logging.ERROR)  # images that are left out are reported together
    network, config = _configuration(preset, backbone, recipe, steps, settings or [])
    network, weights = starting_weights(network, config, start)
    if score_from is not None:
        network = _with_score_of(network, score_from, validation)
    beginning = None if initial is None else _readable(initial)
    names = [name for file in without or [] for name in read_category_list(file)]
    sources = gather(
        seen_images(data, file_lists, split),
        extra=extra,
        strokes=strokes,
        without=names,
        without_reserved=without_reserved,
        validation=validation,
        seed=config.seed,
        pairs=pairs,
    )
    if pairs is not None and not config.pairs:
        raise ConfigurationError("this recipe learns from no pairs: take --recipe contours, or --set pairs=48")
    config = _with_extra_sketches(config, sources, settings or [])
    folder = run or Path("runs") / preset
    plan = RunPlan(
        folder=folder,
        train=sources.train,
        validation=sources.validation,
        extra=sources.extra if config.extra_sketches else None,
        start=weights,
        cache=cache or folder.parent / "cache",
        side=decoding_side(network, config),
        initial=beginning,
        descriptions=descriptions,
        pairs=sources.pairs if config.pairs else None,
    )
    check(folder / CONFIG, describe(network, config, plan))  # before anything is added to another run's log
    unused = _unused(replace(sources, extra=plan.extra))
    with joined(resolve_device(device)) as (process, place), reports(folder, process.first, as_json) as report:
        held_out = list(sources.held_out)
        known = {} if sources.pairs is None else {"pairs": len(sources.pairs.sketches)}
        report({"held_out": held_out, "train": len(sources.train), **known, "processes": process.count, **unused})
        with _asked_to_stop() as stop:
            train(network, config, plan, place, report, process=process, stop=stop)


def _configuration(
    preset_name: str, backbone: str | None, recipe: str | None, steps: int | None, settings: list[str]
) -> tuple[NetworkConfig, TrainConfig]:
    from model.networks.registry import preset, with_backbone
    from model.training.config import RECIPES, recipe_for, with_setting

    network: NetworkConfig = preset(preset_name)
    if backbone is not None:
        network = with_backbone(network, backbone)
    recipe = recipe or recipe_for(network)
    if recipe not in RECIPES:
        raise ConfigurationError(f"no recipe is named {recipe!r}; choose one of {', '.join(RECIPES)}")
    config = RECIPES[recipe]
    for setting in settings:
        config = with_setting(config, setting)
    return network, replace(config, steps=steps or config.steps)


def _with_extra_sketches(config: TrainConfig, sources: Sources, settings: list[str]) -> TrainConfig:
    """Let as many extra sketches as paired ones take part in a step, unless a setting says how many."""
    chosen = any(setting.partition("=")[0].strip() == "extra_sketches" for setting in settings)
    if sources.extra is None or chosen:
        return config
    if config.objective == "upstream":
        raise ConfigurationError("upstream's recipe takes no sketches without photos: leave out --extra and --strokes")
    return replace(config, extra_sketches=min(config.categories * config.per_category, 64))


def _unused(sources: Sources) -> dict[str, list[str]]:
    """For the first report: data that nothing is learnt from, and names to leave out that are not there."""
    found = {
        "unmatched": sources.unmatched,
        "without_photos": sources.without_photos,
        "without_sketches": sources.without_sketches,
    }
    return {name: list(names) for name, names in found.items() if names}


def _readable(checkpoint: str) -> Path:
    """The file of a checkpoint. It is read once, so that a wrong one is reported before images are decoded."""
    from model.checkpoints.files import find_checkpoint, read_checkpoint

    path = find_checkpoint(checkpoint)
    read_checkpoint(path)
    return path


def _with_score_of(network: NetworkConfig, checkpoint: str, validation: str) -> NetworkConfig:
    from model.checkpoints.files import find_checkpoint, read_checkpoint
    from model.networks.stored_config import score_rule_from_json

    if validation != "0":
        raise ConfigurationError(
            "--score-from is for --validation 0; with validation categories a rule is chosen on them"
        )
    metadata, _ = read_checkpoint(find_checkpoint(checkpoint))
    return replace(network, score=score_rule_from_json(json.loads(metadata["config"])))


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM arrived; a second one stops at once."""
    arrived: list[int] = []

    def note(number: int, frame: object) -> None:
        del frame
        arrived.append(number)
        if len(arrived) > 1:
            raise KeyboardInterrupt
        typer.echo("stopping after this step; press Ctrl-C again to stop at once", err=True)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(arrived)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
