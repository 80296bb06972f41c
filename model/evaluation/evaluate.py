"""Evaluates a checkpoint: which images, by which protocol, in which arms, as one report of plain values.

The gallery is encoded once, in float32 tokens as the network makes them (a gallery on disk stores them quantised; the
quality that costs is measured by a benchmark of its own).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from model.config import ExpansionRule, ScoreRule
from model.data.filelists import read_file_lists
from model.data.folders import read_categories
from model.data.items import Dataset, Item, category_key
from model.data.pairs import Pairs, pairs_by_name, read_pairs
from model.errors import ConfigurationError
from model.evaluation import protocols
from model.evaluation.arms import (
    Arms,
    checkpoint_fusion,
    expanded_queries,
    relate_all,
    relate_candidates,
    standardised_fusion,
)
from model.evaluation.encode import encode_items, prepare
from model.evaluation.metrics import kept_of_top
from model.evaluation.protocols import CategoryTask, Outcome, Rank
from model.evaluation.report import arm_values, category_values, source_values
from model.evaluation.timing import time_queries
from model.networks.network import Network
from model.types import Encoding

ARMS = ("recall", "relation", "two_stage", "fused")
PROTOCOLS = ("inter-category", "generalised", "cross-dataset", "instance")
Progress: TypeAlias = Callable[[str, int, int], None]
Task: TypeAlias = CategoryTask | Pairs
_TIMED_SKETCHES = 4
_TOP = 10


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured.

    Attributes:
        arms: some of `ARMS`. "fused" fuses over all photos and, where "two_stage" is asked for too, within candidates.
        candidates: depths k of the two-stage arms.
        expansion: expand queries as the checkpoint declares; otherwise search once, with the sketch's descriptor alone.
        max_sketches: measure with a balanced sample of so many sketches; 0 takes all.
        seed: of that sample.
        batch_size: images encoded at once.
    """

    arms: tuple[str, ...] = ARMS
    candidates: tuple[int, ...] = (25, 50, 100, 200)
    expansion: bool = True
    max_sketches: int = 0
    seed: int = 0
    batch_size: int = 64

    def __post_init__(self) -> None:
        unknown = [arm for arm in self.arms if arm not in ARMS]
        if unknown or not self.arms:
            raise ConfigurationError(f"unknown arm {', '.join(unknown) or '(none)'}; choose from {', '.join(ARMS)}")
        if not self.candidates or min(self.candidates) < 1 or len(set(self.candidates)) < len(self.candidates):
            raise ConfigurationError("candidates must be different positive numbers, such as 25,50,100,200")
        if self.max_sketches < 0 or self.batch_size < 1:
            raise ConfigurationError("max-sketches must be 0 or more and batch-size at least 1")
        if not 0 <= self.seed < 2**63:
            raise ConfigurationError("seed must be from 0 to 9223372036854775807 (2 to the power of 63, less 1)")


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        report: plain values for JSON.
        curves: label -> precision at evenly spaced recalls from 0 to 1; empty for instance-level retrieval.
    """

    report: dict[str, Any]
    curves: dict[str, list[float]]


def folder_task(sketches: Path, photos: Path, protocol: str, categories: Sequence[str] = ()) -> Task:
    """The task of two folders that hold CATEGORY/*.

    Args:
        sketches, photos: the folders.
        protocol: one of `PROTOCOLS`. "instance" reads Sketchy's pairs off the file names.
        categories: keep these alone; in the generalised protocol the gallery keeps all. () keeps all.

    Raises:
        DatasetError: a folder or a category is missing, or the protocol does not fit the images.
        ConfigurationError: no protocol has this name.
    """
    queries, gallery = read_categories(sketches, "sketch"), read_categories(photos, "photo")
    if categories:
        queries = queries.only(categories)
        if protocol != "generalised":
            wanted = {category_key(name) for name in categories}
            gallery = gallery.where(lambda item: category_key(item.category) in wanted)
    return _task(queries.items, gallery.items, protocol)


def file_list_task(root: Path, split: str, protocol: str) -> Task:
    """The test images of a published split, in upstream's file lists; for "generalised" the training photos as well.

    Raises:
        DatasetError: a list or an image is missing or damaged.
        ConfigurationError: no protocol has this name.
    """
    test = read_file_lists(root, split, "test", instance_gallery=protocol == "instance")
    photos = test.photos
    if protocol == "generalised":
        photos += read_file_lists(root, split, "train").photos
    return _task(test.sketches, photos, protocol)


def pairs_task(table: Path, categories: Sequence[str] = ()) -> Pairs:
    """Instance-level pairs of a table, or those of some categories.

    Raises:
        DatasetError: the table or an image is missing, or no pair is of these categories.
    """
    pairs = read_pairs(table)
    return pairs.only(categories) if categories else pairs


def _task(sketches: tuple[Item, ...], photos: tuple[Item, ...], protocol: str) -> Task:
    if protocol == "instance":
        return pairs_by_name(Dataset(sketches + photos))
    makers = {
        "inter-category": protocols.inter_category,
        "generalised": protocols.generalised,
        "cross-dataset": protocols.cross_dataset,
    }
    if protocol not in makers:
        raise ConfigurationError(f"no protocol is named {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    return makers[protocol](sketches, photos)


def evaluate(
    network: Network, task: Task, options: EvaluationOptions, progress: Progress = lambda *_: None
) -> Evaluation:
    """Measure the arms of one network on one task.

    Args:
        network: in evaluation mode, on the device to measure on.
        task: sketches and gallery.
        options: what is measured.
        progress: called with (step, done, total).

    Raises:
        DatasetError: an image is missing, damaged or blank; the message names it.
    """
    available = len(task.sketches)
    task = _sampled(task, options)
    size = options.batch_size
    photos = encode_items(network, task.photos, batch_size=size, progress=_step(progress, "photos"))
    sketches = encode_items(network, task.sketches, batch_size=size, progress=_step(progress, "sketches"))
    arms = _scores(network, sketches, photos, protocols.tie_order(task.photos), options, progress=progress)
    shown = torch.stack([prepare(item, network.preprocess) for item in task.sketches[:_TIMED_SKETCHES]])
    expansion = _expansion(network, options)
    depths, exhaustive = _related_depths(options), arms.logits is not None
    times = time_queries(network, shown, photos, depths, expansion=expansion, exhaustive=exhaustive)
    outcomes = _measured(arms, task, options, progress)
    report: dict[str, Any] = {
        "protocol": "instance" if isinstance(task, Pairs) else task.name,
        "checkpoint": {"name": network.identity.name, "sha256": network.identity.sha256},
        "device": str(network.device),
        "dtype": str(network.dtype).removeprefix("torch."),
        "counts": {
            "sketches": len(task.sketches),
            "sketches_available": available,
            "photos": len(task.photos),
            "categories": len({category_key(item.category) for item in task.sketches}),
        },
        "expansion": asdict(expansion),
        "sample": {"seed": options.seed} if len(task.sketches) < available else None,
        "arms": arm_values(outcomes, None, times),
        "sources": source_values(task.sketches, outcomes),
        "categories": category_values(task.sketches, outcomes),
        "timings_ms": times,
    }
    _add_kept(report["arms"], arms, len(task.sketches), options)
    if "fused" in options.arms:
        report["fusion"] = "standardised" if arms.fuse is standardised_fusion else "checkpoint"
    if isinstance(task, CategoryTask) and task.left_out:
        report["left_out_categories"] = list(task.left_out)
    curves = {
        arm if depth is None else f"{arm} @{depth}": outcome.curve.tolist()
        for (arm, depth), outcome in outcomes.items()
        if outcome.curve is not None
    }
    return Evaluation(report, curves)


def _step(progress: Progress, name: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(name, done, total)


def _sampled(task: Task, options: EvaluationOptions) -> Task:
    if not 0 < options.max_sketches < len(task.sketches):
        return task
    rows = protocols.balanced_sample(task.sketches, options.max_sketches, options.seed)
    sketches = tuple(task.sketches[row] for row in rows)
    if isinstance(task, Pairs):
        return replace(task, sketches=sketches, own_photo=tuple(task.own_photo[row] for row in rows))
    return replace(task, sketches=sketches, sketch_labels=task.sketch_labels[list(rows)])


def _related_depths(options: EvaluationOptions) -> tuple[int, ...]:
    return tuple(sorted(options.candidates)) if "two_stage" in options.arms else ()


def _scores(
    network: Network,
    sketches: Encoding,
    photos: Encoding,
    order: Tensor,
    options: EvaluationOptions,
    *,
    progress: Progress,
) -> Arms:
    """Relates what the arms need: all pairs, or recall's candidates alone."""
    rule = _expansion(network, options)
    arms = Arms(
        expanded_queries(sketches.descriptor, photos.descriptor, order, rule),
        photos.descriptor,
        order,
        fuse=checkpoint_fusion(network) or standardised_fusion,
    )
    if "relation" in options.arms or "fused" in options.arms:
        return replace(arms, logits=relate_all(network, sketches, photos, _step(progress, "relation")))
    if "two_stage" in options.arms:
        candidates = _recalled(arms, len(sketches), max(options.candidates))
        logits = relate_candidates(network, sketches, photos, candidates, _step(progress, "candidates"))
        return replace(arms, candidates=candidates, candidate_logits=logits)
    return arms


def _expansion(network: Network, options: EvaluationOptions) -> ExpansionRule:
    """How queries are expanded: as the checkpoint declares, unless the options say otherwise."""
    score: ScoreRule = network.config.score
    return score.expansion if options.expansion else ExpansionRule()


def _recalled(arms: Arms, sketches: int, depth: int) -> Tensor:
    """[S, K] int64: recall's first photos, block by block."""
    return torch.cat([arms.recall(rows)[:, :depth] for rows in protocols.row_blocks(sketches)])


def _measured(
    arms: Arms, task: Task, options: EvaluationOptions, progress: Progress
) -> dict[tuple[str, int | None], Outcome]:
    ranks: dict[tuple[str, int | None], Rank] = {}
    if "recall" in options.arms:
        ranks["recall", None] = arms.recall
    if "relation" in options.arms:
        ranks["relation", None] = arms.relation
    for k in _related_depths(options):
        ranks["two_stage", k] = arms.two_stage(k)
    if "fused" in options.arms:
        ranks["fused", None] = arms.fused
        for k in _related_depths(options):
            ranks["fused_two_stage", k] = arms.two_stage(k, arms.fuse)
    outcomes = {}
    for done, (key, rank) in enumerate(ranks.items(), start=1):
        if isinstance(task, Pairs):
            outcomes[key] = protocols.measure_instances(task, rank)
        else:
            outcomes[key] = protocols.measure_categories(task, rank)
        progress("metrics", done, len(ranks))
    return outcomes


def _add_kept(values: dict[str, Any], arms: Arms, sketches: int, options: EvaluationOptions) -> None:
    """How much of an exhaustive arm its two-stage arm keeps: of its top 10, and of its mAP@200."""
    pairs = (("relation", "two_stage", arms.relation), ("fused", "fused_two_stage", arms.fused))
    for whole, staged, rank in pairs:
        if whole not in values or staged not in values:
            continue
        best = torch.cat([rank(rows)[:, :_TOP] for rows in protocols.row_blocks(sketches)])
        found = _recalled(arms, sketches, max(options.candidates))
        for depth, inner in values[staged].items():
            inner["exhaustive_top_10_kept"] = float(kept_of_top(best, found[:, : int(depth)]).mean())
            for metric in ("map_200_strict", "acc_1"):
                if values[whole].get(metric):
                    inner[f"exhaustive_{metric}_kept"] = inner[metric] / values[whole][metric]
