"""Chooses a checkpoint's score rule on validation categories: how relation and recall weigh, and what the score
means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import ScoreRule
from model.evaluation.metrics import average_precision, rank_photos

SHARES = tuple(step / 10 for step in range(11))
_ENOUGH = 1e-4  # a fusion must win by this much of mAP over the relation alone


@dataclass(frozen=True)
class ChosenRule:
    """A rule and what it was chosen from.

    Attributes:
        rule: to be stored with the checkpoint.
        share: of the recall score in it, from 0 (relation alone) to 1 (recall alone).
        map_all: mAP@all on the validation sketches for each share that was tried.
    """

    rule: ScoreRule
    share: float
    map_all: dict[float, float]


def choose_score_rule(
    logits: Tensor, cosines: Tensor, relevance: Tensor, tie_order: Tensor, shares: Sequence[float] = SHARES
) -> ChosenRule:
    """The mixture of relation logit and cosine with the best mAP@all, calibrated to be read as a probability.

    Both scores are brought to a standard deviation of 1 over all pairs, apart from a score that is the same for all
    pairs: it ranks nothing and weighs nothing. A share m gives (1 - m) * logit + m * cosine.
    The winner is then calibrated by Platt's method (logistic regression on relevance), with relevant and irrelevant
    pairs weighing the same, so that 0.5 means "as likely as not" whatever the gallery's size.

    Args:
        logits, cosines: [S, P] float32, of validation sketches and photos. Never of test categories.
        relevance: [S, P] bool.
        tie_order: [P] int64, see `metrics.rank_photos`.
        shares: of the cosine that are tried, from 0 to 1.
    """
    scale = _unit_scale(logits), _unit_scale(cosines)
    relevant = relevance.sum(dim=1)
    quality: dict[float, float] = {}
    for share in shares:
        mixture = (1 - share) * scale[0] * logits + share * scale[1] * cosines
        hits = relevance.gather(1, rank_photos(mixture, tie_order))
        quality[share] = float(average_precision(hits, relevant).nanmean())
    best = max(quality, key=lambda share: (quality[share], -share))
    if 0.0 in quality and quality[best] - quality[0.0] < _ENOUGH:
        best = 0.0
    weights = (1 - best) * scale[0], best * scale[1]
    slope, bias = _platt((weights[0] * logits + weights[1] * cosines).flatten(), relevance.flatten())
    return ChosenRule(ScoreRule(slope * weights[0], slope * weights[1], bias), best, quality)


def _unit_scale(scores: Tensor) -> float:
    """What brings scores to a standard deviation of 1; 0 where they differ by no more than rounding."""
    spread = float(scores.double().std())
    return 1 / spread if spread > 1e-6 * max(1e-6, float(scores.abs().max())) else 0.0


def _platt(scores: Tensor, relevance: Tensor) -> tuple[float, float]:
    """Slope (positive) and bias of a logistic regression with balanced classes, by Newton's method."""
    x, y = scores.double(), relevance.double()
    weight = torch.where(relevance, 0.5 / y.sum(), 0.5 / (1 - y).sum())
    design = torch.stack([x, torch.ones_like(x)], dim=1)
    solution = torch.zeros(2, dtype=torch.float64)
    for _ in range(50):
        p = torch.sigmoid(design @ solution)
        gradient = design.T @ (weight * (p - y)) + 1e-6 * solution
        curvature = design.T @ (design * (weight * p * (1 - p))[:, None]) + 1e-6 * torch.eye(2, dtype=torch.float64)
        step = torch.linalg.solve(curvature, gradient)
        size = float(step.norm())
        solution = solution - step * min(1.0, 5.0 / max(size, 1e-12))
        if size < 1e-9:
            break
    # a slope of 0 or less would turn the ranking round
    return max(float(solution[0]), 1e-3), float(solution[1])


def calibration_loss(rule: ScoreRule, logits: Tensor, cosines: Tensor, relevance: Tensor) -> float:
    """Balanced cross-entropy in nats of the rule's score as a probability of relevance; ln 2 is a coin's."""
    values = rule.relation_weight * logits + rule.recall_weight * cosines + rule.bias
    positive = F.softplus(-values[relevance]).mean()
    negative = F.softplus(values[~relevance]).mean()
    return float((positive + negative) / 2)
