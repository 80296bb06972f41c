"""From encodings to outcomes: which pairs are related, how each arm ranks, and what it reaches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from model.data.pairs import Pairs
from model.evaluation import protocols
from model.evaluation.arms import (
    Arms,
    checkpoint_fusion,
    expanded_queries,
    relate_all,
    relate_candidates,
    standardised_fusion,
)
from model.evaluation.metrics import kept_of_top
from model.evaluation.options import EvaluationOptions
from model.evaluation.protocols import Outcome, Rank
from model.evaluation.tasks import Task
from model.networks.network import Network
from model.score_rules import ExpansionRule, QueryKind, ScoreRule
from model.types import Encoding

Progress: TypeAlias = Callable[[str, int, int], None]
_TOP = 10


def step(progress: Progress, name: str) -> Callable[[int, int], None]:
    """Progress of one named step."""
    return lambda done, total: progress(name, done, total)


def related_depths(options: EvaluationOptions) -> tuple[int, ...]:
    """The depths at which two stages are measured, smallest first; none where they are not."""
    return tuple(sorted(options.candidates)) if "two_stage" in options.arms else ()


def score_arms(
    network: Network,
    sketches: Encoding,
    photos: Encoding,
    order: Tensor,
    options: EvaluationOptions,
    *,
    kind: QueryKind = "sketch",
    progress: Progress,
) -> Arms:
    """Relates what the arms need: all pairs, or recall's candidates alone.

    Args:
        network: relates on its own device.
        sketches, photos: S and P encodings, on the CPU.
        order: [P] int64, see `metrics.rank_photos`.
        options: which arms.
        kind: of the queries.
        progress: called with (step, done, total).
    """
    rule = expansion_rule(network, options, kind)
    chosen = (network.config.rule_for(kind) or network.config.score).expansion
    arms = Arms(
        expanded_queries(sketches.descriptor, photos.descriptor, order, rule),
        photos.descriptor,
        order,
        fuse=checkpoint_fusion(network, kind) or standardised_fusion,
        drawn=sketches.descriptor if options.context and rule == chosen else None,  # as in a search
    )
    if "relation" in options.arms or "fused" in options.arms:
        return replace(arms, logits=relate_all(network, sketches, photos, step(progress, "relation")))
    if "two_stage" in options.arms:
        candidates = _recalled(arms, len(sketches), max(options.candidates))
        logits = relate_candidates(network, sketches, photos, candidates, step(progress, "candidates"))
        return replace(arms, candidates=candidates, candidate_logits=logits)
    return arms


def expansion_rule(network: Network, options: EvaluationOptions, kind: QueryKind) -> ExpansionRule:
    """How queries of a kind are expanded: as in a search, unless the options say otherwise."""
    rule: ScoreRule = network.config.rule_for(kind) or network.config.score
    return rule.expansion if options.expansion else ExpansionRule()


def _recalled(arms: Arms, sketches: int, depth: int) -> Tensor:
    """[S, K] int64: recall's first photos, block by block."""
    return torch.cat([arms.recall(rows)[:, :depth] for rows in protocols.row_blocks(sketches)])


def measure_arms(
    arms: Arms, task: Task, options: EvaluationOptions, progress: Progress
) -> dict[tuple[str, int | None], Outcome]:
    """(arm, depth or None) -> what it reaches on the task."""
    ranks: dict[tuple[str, int | None], Rank] = {}
    if "recall" in options.arms:
        ranks["recall", None] = arms.recall
    if "relation" in options.arms:
        ranks["relation", None] = arms.relation
    for k in related_depths(options):
        ranks["two_stage", k] = arms.two_stage(k)
    if "fused" in options.arms:
        ranks["fused", None] = arms.fused
    if "fused" in options.arms or arms.fuse is not standardised_fusion:  # what a search does, where the rule says so
        for k in related_depths(options):
            ranks["fused_two_stage", k] = arms.two_stage(k, arms.fuse)
    outcomes = {}
    for done, (key, rank) in enumerate(ranks.items(), start=1):
        if isinstance(task, Pairs):
            outcomes[key] = protocols.measure_instances(task, rank)
        else:
            outcomes[key] = protocols.measure_categories(task, rank)
        progress("metrics", done, len(ranks))
    return outcomes


def add_kept(values: dict[str, Any], arms: Arms, sketches: int, options: EvaluationOptions) -> None:
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
