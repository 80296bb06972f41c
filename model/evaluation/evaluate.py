"""Evaluates a checkpoint by one protocol, in several arms, as one report of plain values.

The gallery is encoded once, in float32 tokens as the network makes them. A gallery on disk stores them quantised; a
benchmark of its own measures the quality that costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from model.data.items import Item, category_key
from model.data.pairs import Pairs
from model.evaluation import protocols
from model.evaluation.arms import standardised_fusion
from model.evaluation.encode import Encoded, encode_usable, prepare
from model.evaluation.measuring import (
    Progress,
    add_kept,
    expansion_rule,
    measure_arms,
    related_depths,
    score_arms,
    step,
)
from model.evaluation.options import EvaluationOptions
from model.evaluation.protocols import CategoryTask
from model.evaluation.report import arm_values, category_values, source_values
from model.evaluation.tasks import Task, sampled, without_photos, without_sketches
from model.evaluation.text_queries import map_of, only_recalled, text_encoding, with_names
from model.evaluation.timing import time_queries
from model.networks.network import Network
from model.score_rules import QueryKind
from model.types import Encoding

_TIMED_SKETCHES = 4
_NAMED_AT_MOST = 100  # images in the report
_KINDS: dict[str, QueryKind] = {"sketch": "sketch", "text": "text", "sketch and text": "sketch_and_more"}


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        report: plain values for JSON.
        skipped: one sentence on each image that cannot be used and was left out.
        curves: label -> precision at evenly spaced recalls from 0 to 1; empty for instance-level retrieval.
    """

    report: dict[str, Any]
    skipped: tuple[str, ...]
    curves: dict[str, list[float]]


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
        DatasetError: a category loses all its sketches or photos because they are missing, damaged or blank; with
            `options.strict`, any image is. The message names the first ones.
    """
    available = len(task.sketches)
    asked = sampled(task, options.max_sketches, options.seed)
    photos = _encoded(network, asked.photos, options, step(progress, "photos"))
    paired = without_photos(asked, photos.unusable)
    queries = _queries(network, paired.sketches, options, step(progress, "sketches"))
    task = without_sketches(paired, queries.unusable)
    skipped = (*queries.unusable.values(), *photos.unusable.values())
    kind = _KINDS[query_of(task.sketches, options)]
    arms = score_arms(
        network,
        queries.encoding,
        photos.encoding,
        protocols.tie_order(task.photos),
        options,
        kind=kind,
        progress=progress,
    )
    expansion = expansion_rule(network, options, kind)
    depths, exhaustive = related_depths(options), arms.logits is not None
    encoding = _encodes(network, task.sketches[:_TIMED_SKETCHES], options)
    times = time_queries(network, encoding, photos.encoding, depths, expansion=expansion, exhaustive=exhaustive)
    outcomes = measure_arms(arms, task, options, progress)
    report: dict[str, Any] = {
        "protocol": "instance" if isinstance(task, Pairs) else task.name,
        "checkpoint": {"name": network.identity.name, "sha256": network.identity.sha256},
        "query": query_of(task.sketches, options),
        "device": str(network.device),
        "dtype": str(network.dtype).removeprefix("torch."),
        "counts": {
            "sketches": len(task.sketches),
            "sketches_available": available,
            "photos": len(task.photos),
            "categories": len({category_key(item.category) for item in task.sketches}),
        },
        "skipped": {
            "sketches": len(queries.unusable),
            "photos": len(photos.unusable),
            "sketches_without_photo": len(asked.sketches) - len(paired.sketches),
            "images": list(skipped[:_NAMED_AT_MOST]),
        },
        "expansion": asdict(expansion),
        "context": arms.drawn is not None and asdict((network.config.rule_for(kind) or network.config.score).context),
        "sample": {"seed": options.seed} if len(asked.sketches) < available else None,
        "arms": arm_values(outcomes, None, times),
        "sources": source_values(task.sketches, outcomes),
        "categories": category_values(task.sketches, outcomes),
        "timings_ms": times,
    }
    add_kept(report["arms"], arms, len(task.sketches), options)
    if any(arm in report["arms"] for arm in ("fused", "fused_two_stage")):
        report["fusion"] = "standardised" if arms.fuse is standardised_fusion else "checkpoint"
    if isinstance(task, CategoryTask) and task.left_out:
        report["left_out_categories"] = list(task.left_out)
    curves = {
        arm if depth is None else f"{arm} @{depth}": outcome.curve.tolist()
        for (arm, depth), outcome in outcomes.items()
        if outcome.curve is not None
    }
    return Evaluation(report, skipped, curves)


def query_of(items: Sequence[Item], options: EvaluationOptions) -> str:
    """What asks: "sketch", "text", or "sketch and text"."""
    if items[0].text:
        return "text"
    return "sketch and text" if options.with_text else "sketch"


def _queries(
    network: Network, items: Sequence[Item], options: EvaluationOptions, progress: Callable[[int, int], None]
) -> Encoded:
    """What asks, encoded: sketches, texts, or sketches and the names of their categories."""
    if items[0].text:
        only_recalled(options)
        return Encoded(text_encoding(network, items), {})
    if options.with_text:
        map_of(network)  # fails before sketches are encoded
    encoded = _encoded(network, items, options, progress)
    if options.with_text:
        usable = [item for row, item in enumerate(items) if row not in encoded.unusable]
        encoded = replace(encoded, encoding=with_names(network, encoded.encoding, usable, options.text_weight))
    return encoded


def _encodes(network: Network, items: Sequence[Item], options: EvaluationOptions) -> Callable[[int], Encoding]:
    """What encodes one of some queries, their images read before."""
    if items[0].text:
        return lambda row: text_encoding(network, [items[row % len(items)]])
    images = torch.stack([prepare(item, network.preprocess) for item in items])

    def encode(row: int) -> Encoding:
        row %= len(items)
        sketch = network.encode_sketch(images[row : row + 1])
        return with_names(network, sketch, items[row : row + 1], options.text_weight) if options.with_text else sketch

    return encode


def _encoded(
    network: Network, items: Sequence[Item], options: EvaluationOptions, progress: Callable[[int, int], None]
) -> Encoded:
    return encode_usable(network, items, batch_size=options.batch_size, strict=options.strict, progress=progress)
