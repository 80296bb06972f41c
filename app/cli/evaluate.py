"""`sketchseek evaluate`: how well a checkpoint retrieves, in four arms side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.progress_bars import step_bars
from app.cli.shared_options import DEFAULT_CHECKPOINT, DEFAULT_SPLIT, FileListsOption, JsonOption, SplitOption, in_data
from model.errors import ConfigurationError

if TYPE_CHECKING:
    from model.evaluation.evaluate import Evaluation
    from model.evaluation.tasks import Task


def command(
    *,
    sketches: Annotated[Path | None, in_data("Folder of sketches, CATEGORY/*.")] = None,
    photos: Annotated[Path | None, in_data("Folder of photos, CATEGORY/*.")] = None,
    file_lists: FileListsOption = None,
    split: SplitOption = DEFAULT_SPLIT,
    pairs: Annotated[
        Path | None, in_data("Instead: table of instance-level pairs (category, sketch, photo), or its folder.")
    ] = None,
    categories: Annotated[Path | None, in_data("Text file of category names, one per line: keep to these.")] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="inter-category, generalised, cross-dataset, or instance (Sketchy's file names). Default: "
            "inter-category, and instance with --pairs.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="Name of a bundled checkpoint, or a file.")] = DEFAULT_CHECKPOINT,
    text: Annotated[
        str | None,
        typer.Option(
            help="Ask by words instead of sketches: `names` of the categories, or a CSV file (category, kind, text).",
            show_default=False,
        ),
    ] = None,
    with_text: Annotated[
        bool, typer.Option("--with-text", help="Ask by each sketch and the name of its category together.")
    ] = False,
    text_weight: Annotated[float, typer.Option(help="Of the name beside the sketch.", min=0, max=10)] = 1.0,
    candidates: Annotated[str, typer.Option(help="Depths of the two-stage arms.")] = "25,50,100,200",
    arms: Annotated[
        str | None,
        typer.Option(help="Arms to measure. Default: recall,relation,two_stage,fused, and recall with --text."),
    ] = None,
    expansion: Annotated[
        bool,
        typer.Option(
            "--expansion/--no-expansion",
            help="Expand queries by their first hits as the checkpoint declares, or search with the sketch alone.",
        ),
    ] = True,
    context: Annotated[
        bool,
        typer.Option(
            "--context/--no-context",
            help="Let the candidates' scores heed each other as the checkpoint declares, or score each on its own.",
        ),
    ] = True,
    max_sketches: Annotated[
        int, typer.Option(help="Measure with a balanced sample of this many sketches; 0 takes all.", min=0)
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of that sample.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Images encoded at once.", min=1)] = 64,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at images that are missing, damaged or blank; else leave them out.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    plots: Annotated[
        Path | None, typer.Option(help="Also draw plots as PNG into this folder.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a checkpoint: recall alone, relation of all pairs, recall then relation, and a fusion of both."""
    from model.checkpoints.files import find_checkpoint, load_checkpoint
    from model.data.unusable import first_named
    from model.evaluation.evaluate import evaluate as measure
    from model.evaluation.options import EvaluationOptions
    from model.evaluation.plots import prepare_plots
    from model.evaluation.report import tables
    from model.evaluation.seen import seen_before, trained_categories

    options = EvaluationOptions(
        arms=_arms(arms, text),
        candidates=_numbers(candidates),
        expansion=expansion,
        context=context,
        max_sketches=max_sketches,
        seed=seed,
        batch_size=batch_size,
        with_text=with_text,
        text_weight=text_weight,
        strict=strict,
    )
    task = _task(
        sketches=sketches,
        photos=photos,
        file_lists=file_lists,
        split=split,
        pairs=pairs,
        categories=categories,
        protocol=protocol,
        text=text,
    )
    if plots is not None:
        prepare_plots(plots)  # fails before hours of measuring if nothing can be drawn
    network = load_checkpoint(checkpoint, device=device, dtype=dtype)
    trained = trained_categories(find_checkpoint(checkpoint))
    with step_bars() as bars:
        evaluation = measure(network, task, options, bars.advance)
    if evaluation.skipped:
        typer.echo(f"left out {first_named(evaluation.skipped)}", err=True)
    evaluation.report["trained_on"] = None if trained is None else seen_before(task.sketches, trained)
    print(json.dumps(evaluation.report, indent=2) if as_json else tables(evaluation.report), flush=True)
    if plots is not None:
        _draw(evaluation, plots)


def _arms(arms: str | None, text: str | None) -> tuple[str, ...]:
    from model.evaluation.options import ARMS

    if arms is None:
        return ("recall",) if text is not None else ARMS
    return tuple(name.strip() for name in arms.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigurationError(f"--candidates must be numbers such as 25,50,100, not {text!r}") from error


def _task(
    *,
    sketches: Path | None,
    photos: Path | None,
    file_lists: Path | None,
    split: str,
    pairs: Path | None,
    categories: Path | None,
    protocol: str | None,
    text: str | None,
) -> Task:
    from model.data.splits import read_category_list
    from model.evaluation.tasks import file_list_task, folder_task, pairs_task
    from model.evaluation.text_queries import text_task

    names = read_category_list(categories) if categories is not None else ()
    if text is not None:
        if photos is None or sketches is not None or file_lists is not None or pairs is not None:
            raise ConfigurationError("--text goes with --photos alone: words ask in place of sketches")
        return text_task(photos, text, protocol or "inter-category", names)
    folders = sketches is not None or photos is not None
    if sum((folders, file_lists is not None, pairs is not None)) != 1:
        raise ConfigurationError("give one of: --sketches with --photos, --file-lists, or --pairs")
    if pairs is not None:
        if protocol not in (None, "instance"):
            raise ConfigurationError(f"--pairs is measured by the protocol instance, not by {protocol!r}")
        return pairs_task(pairs, names)
    protocol = protocol or "inter-category"
    if file_lists is not None:
        if names:
            raise ConfigurationError("--categories does not go with --file-lists: the split names its own")
        return file_list_task(file_lists, split, protocol)
    if sketches is None or photos is None:
        raise ConfigurationError("--sketches and --photos go together: give both folders")
    return folder_task(sketches, photos, protocol, names)


def _draw(evaluation: Evaluation, folder: Path) -> None:
    from model.evaluation.plots import draw_plots

    report = evaluation.report
    title = f"{report['checkpoint']['name']}, {report['protocol']}"
    try:
        written = draw_plots(report["arms"], evaluation.curves, folder, title=title)
    except OSError as error:
        raise ConfigurationError(f"the plots could not be written to {folder}: {error.strerror or error}") from error
    for path in written:
        typer.echo(f"wrote {path}", err=True)
