"""Chooses a checkpoint's score rule on validation categories: what searches, how relation and recall weigh, and what
the score means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from model.evaluation.metrics import average_precision, hit_at, precision_at, rank_photos
from model.ranking.context import CandidatePhotos, in_context
from model.ranking.score import level_of, mixture
from model.score_rules import ContextRule, ExpansionRule, ScoreRule, Standard

SHARES = tuple(step / 10 for step in range(11))
CANDIDATES = 100
"""Depth at which rules are compared: the recall stage's default."""
CONTEXT = ContextRule(neighbours=3, place=5)
"""What is weighed against candidates that are scored each on its own."""
_ENOUGH = 1e-4  # a rule must win by this much over one that is tried before it


@dataclass(frozen=True)
class Tried:
    """What one rule reached on the validation sketches.

    Attributes:
        expansion: of queries in the recall stage.
        share: of the recall score, from 0 (relation alone) to 1 (recall alone).
        seen: the mean of P@10, hit@1 and hit@5, by which rules are chosen: what a person sees first.
        map_all: mAP@all, the candidates reordered and the other photos behind them.
        precision_10, hit_1, hit_5: the parts of `seen`.
        context: how the candidates heeded each other.
    """

    expansion: ExpansionRule
    share: float
    seen: float
    map_all: float
    precision_10: float
    hit_1: float
    hit_5: float
    context: ContextRule = field(default_factory=ContextRule)


@dataclass(frozen=True)
class ChosenRule:
    """A rule and what it was chosen from.

    Attributes:
        rule: to be stored with the checkpoint.
        best: what it reached.
        tried: every rule that was tried.
    """

    rule: ScoreRule
    best: Tried
    tried: tuple[Tried, ...]

    @property
    def share(self) -> float:
        """Of the recall score in the rule, from 0 (relation alone) to 1 (recall alone)."""
        return self.best.share

    @property
    def expansion_costs(self) -> float:
        """mAP@all of the rule less that of recall alone with the expansion that is best for it: what a choice by
        what a person sees first costs further down."""
        return self.best.map_all - max(each.map_all for each in self.tried if each.share == 1.0)


def choose_score_rule(
    logits: Tensor,
    cosines: Mapping[ExpansionRule, Tensor],
    relevance: Tensor,
    tie_order: Tensor,
    *,
    photos: Tensor | None = None,
    shares: Sequence[float] = SHARES,
    depth: int = CANDIDATES,
) -> ChosenRule:
    """The expansion and the mixture of relation logit and cosine that show a person most, calibrated.

    For each expansion the recall stage finds `depth` candidates; logits and cosines are standardised among them
    (`model/ranking/score.py`), and a share m orders them by (1 - m) * logit + m * cosine. The winner by the mean of
    P@10, hit@1 and hit@5 is then calibrated by Platt's method (logistic regression on relevance) over the candidates,
    with relevant and irrelevant ones weighing the same, so that 0.5 means "as likely as not" whatever the gallery's
    size; how near a query's candidates are on the whole is a second input. At last it is tried whether the candidates
    should heed each other, which the winner's mixture decides alone: more choices would fit the validation categories.

    Args:
        logits: [S, P] float32 relation logits of validation sketches and photos. Never of test categories.
        cosines: expansion -> [S, P] float32 recall scores of queries expanded that way.
        relevance: [S, P] bool.
        tie_order: [P] int64, see `metrics.rank_photos`.
        photos: [P, E] float32, their descriptors; without them candidates are scored each on its own.
        shares: of the cosine that are tried, from 0 to 1.
        depth: candidates.
    """
    tried: list[tuple[Tried, ScoreRule, Tensor]] = []
    for expansion, recall in cosines.items():
        order = rank_photos(recall, tie_order)
        found = order[:, :depth]
        own = logits.gather(1, found), recall.gather(1, found)
        standard = standard_of(*own)
        for share in shares:
            rule = ScoreRule(1 - share, share, expansion=expansion, standard=standard)
            if not standard.used:  # one of the scores is the same for all: it ranks nothing
                rule = replace(rule, relation_weight=float(share < 1), recall_weight=float(share == 1))
            if share == 1:  # nothing need be related then, so scores must not depend on how many candidates there are
                rule = ScoreRule(0.0, 1.0, expansion=expansion)
            places = _ordered(mixture(rule, *own), found, tie_order)
            ranking = torch.cat([found.gather(1, places), order[:, depth:]], dim=1)
            tried.append((_reached(expansion, share, relevance.gather(1, ranking)), rule, found))
    best, rule, found = tried[0]
    for each in tried[1:]:
        if each[0].seen > best.seen + _ENOUGH:
            best, rule, found = each
    related, near = logits.gather(1, found), cosines[best.expansion].gather(1, found)
    rule = _calibrated(rule, related, near, relevance.gather(1, found))
    every = [each for each, _, _ in tried]
    if photos is not None and not rule.keeps_recall_order:
        direct = cosines[ExpansionRule()].gather(1, found) if best.expansion.neighbours else None
        scores = in_context(CONTEXT, mixture(rule, related, near), related, CandidatePhotos(photos[found], direct))
        places = _ordered(scores, found, tie_order)
        rest = rank_photos(cosines[best.expansion], tie_order)[:, depth:]
        hits = relevance.gather(1, torch.cat([found.gather(1, places), rest], dim=1))
        every.append(replace(_reached(best.expansion, best.share, hits), context=CONTEXT))
        if every[-1].seen > best.seen + _ENOUGH:
            best, rule = every[-1], replace(rule, context=CONTEXT)
    return ChosenRule(rule, best, tuple(every))


def standard_of(logits: Tensor, cosines: Tensor) -> Standard:
    """What is usual among the candidates [S, C] of many queries; not to be used where a score is always the same."""
    values = [float(statistic) for scores in (logits, cosines) for statistic in _usual(scores)]
    if min(values[1], values[3]) <= 1e-6 * max(1e-6, abs(values[0]), abs(values[2])):
        return Standard()
    return Standard(*values)


def _usual(scores: Tensor) -> tuple[Tensor, Tensor]:
    scores = scores.double()
    return scores.mean(), scores.var(dim=1, correction=0).mean().sqrt()


def _ordered(scores: Tensor, photos: Tensor, tie_order: Tensor) -> Tensor:
    """[S, C] places of candidates from best to worst, equal ones by the tie order."""
    by_identity = tie_order[photos].argsort(dim=1)
    best = scores.gather(1, by_identity).sort(dim=1, descending=True, stable=True).indices
    return by_identity.gather(1, best)


def _reached(expansion: ExpansionRule, share: float, hits: Tensor) -> Tried:
    count = hits.sum(dim=1)
    precision, first, five = (
        float(value.nanmean())
        for value in (precision_at(hits, count, 10), hit_at(hits, count, 1), hit_at(hits, count, 5))
    )
    quality = float(average_precision(hits, count).nanmean())
    return Tried(expansion, share, (precision + first + five) / 3, quality, precision, first, five)


def _calibrated(rule: ScoreRule, logits: Tensor, cosines: Tensor, relevance: Tensor) -> ScoreRule:
    """The same order, as a probability. Candidates' scores and relevance [S, C]."""
    mixed = mixture(rule, logits, cosines)
    level = level_of(replace(rule, level=1.0), cosines)
    inputs = [mixed.flatten()]
    if isinstance(level, Tensor):
        inputs.append(level.expand_as(mixed).flatten())
    slope, *rest = _platt(torch.stack(inputs, dim=1), relevance.flatten())
    return replace(
        rule,
        relation_weight=slope * rule.relation_weight,
        recall_weight=slope * rule.recall_weight,
        level=rest[0] if len(rest) > 1 else 0.0,
        bias=rest[-1],
    )


def _platt(inputs: Tensor, relevance: Tensor) -> list[float]:
    """Weights of F inputs [N, F] and a bias, of a logistic regression with balanced classes.

    The first weight is positive, since one of 0 or less would turn the ranking round.
    """
    y = relevance.double()
    if not bool(relevance.any()) or bool(relevance.all()):
        return [1.0, *[0.0] * inputs.shape[1]]
    solution = logistic_regression(inputs, relevance, torch.where(relevance, 0.5 / y.sum(), 0.5 / (1 - y).sum()))
    return [max(solution[0], 1e-3), *solution[1:]]


def logistic_regression(inputs: Tensor, relevance: Tensor, weight: Tensor) -> list[float]:
    """Weights of F inputs and a bias, by Newton's method.

    Args:
        inputs: [N, F].
        relevance: [N] bool, with both values.
        weight: [N] float64, how much each counts; they sum to 1.
    """
    y = relevance.double()
    design = torch.cat([inputs.double(), torch.ones(len(inputs), 1, dtype=torch.float64)], dim=1)
    size = design.shape[1]
    solution = torch.zeros(size, dtype=torch.float64)
    for _ in range(50):
        p = torch.sigmoid(design @ solution)
        gradient = design.T @ (weight * (p - y)) + 1e-6 * solution
        curvature = design.T @ (design * (weight * p * (1 - p))[:, None]) + 1e-6 * torch.eye(size, dtype=torch.float64)
        step = torch.linalg.solve(curvature, gradient)
        length = float(step.norm())
        solution = solution - step * min(1.0, 5.0 / max(length, 1e-12))
        if length < 1e-9:
            break
    values: list[float] = solution.tolist()
    return values


def calibration_loss(rule: ScoreRule, logits: Tensor, cosines: Tensor, relevance: Tensor) -> float:
    """Balanced cross-entropy in nats of the rule's score of candidates [S, C] as a probability of relevance; ln 2 is a
    coin's."""
    values = mixture(rule, logits, cosines) + level_of(rule, cosines) + rule.bias
    positive = F.softplus(-values[relevance]).mean()
    negative = F.softplus(values[~relevance]).mean()
    return float((positive + negative) / 2)
