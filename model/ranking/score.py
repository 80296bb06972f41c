"""What results are ordered by: a rule over relation logits and recall scores, standardised within a query's candidates.

How far apart the logits of one query's candidates lie depends on the drawing, and so does how far apart their cosines
lie. A mixture of both with fixed weights therefore follows now one, now the other. Standardised within the query's
candidates they weigh the same for every drawing (score normalisation before fusion: Montague and Aslam, CIKM 2001,
"Relevance score normalization for metasearch", section 3). It happens once, over all candidates, so that the result
does not depend on the chunks in which they were related.
"""

from __future__ import annotations

from torch import Tensor

from model.ranking.context import CandidatePhotos, in_context
from model.ranking.rows import mean_and_variance, sigmoid
from model.score_rules import ScoreRule, Standard


def score_of(rule: ScoreRule, logit: Tensor, cosine: Tensor, candidates: CandidatePhotos | None = None) -> Tensor:
    """The scores of one query's candidates, or of several queries'.

    Args:
        rule: of the checkpoint.
        logit, cosine: [..., C] relation logits and recall scores of all C candidates of each query.
        candidates: what else is known of them; None scores each on its own.

    Returns:
        [..., C] in [0, 1].
    """
    return sigmoid(mixture(rule, logit, cosine, candidates) + level_of(rule, cosine) + rule.bias)


def mixture(rule: ScoreRule, logit: Tensor, cosine: Tensor, candidates: CandidatePhotos | None = None) -> Tensor:
    """[..., C]: what the sigmoid is taken of, but for what all candidates of a query share. It has the same order, and
    does not tie near 1. Arguments as of `score_of`."""
    own_logit = logit
    if rule.standard.used:
        standard = rule.standard
        logit = standardised(logit, standard.logit_mean, standard.logit_deviation, standard)
        cosine = standardised(cosine, standard.recall_mean, standard.recall_deviation, standard)
    mixed = rule.relation_weight * logit + rule.recall_weight * cosine
    if candidates is None or rule.keeps_recall_order or not rule.context.used:
        return mixed
    return in_context(rule.context, mixed, own_logit, candidates)


def level_of(rule: ScoreRule, cosine: Tensor) -> Tensor | float:
    """[..., 1]: how near a query's candidates are on the whole, as the rule weighs it: 0 where it does not."""
    if not rule.standard.used or not rule.level or not cosine.shape[-1]:
        return 0.0
    mean, _ = _moments(cosine, rule.standard.recall_mean, rule.standard.recall_deviation, rule.standard)
    return rule.level * (mean - rule.standard.recall_mean) / rule.standard.recall_deviation


def standardised(scores: Tensor, mean: float, deviation: float, standard: Standard) -> Tensor:
    """Scores [..., C] with a mean of 0 and a standard deviation of 1 over C, as if `standard.count` more candidates
    with the given mean and deviation were there: few candidates say little of what is usual."""
    if not scores.shape[-1]:
        return scores
    own_mean, own_deviation = _moments(scores, mean, deviation, standard)
    return (scores - own_mean) / own_deviation


def _moments(scores: Tensor, mean: float, deviation: float, standard: Standard) -> tuple[Tensor, Tensor]:
    count = scores.shape[-1]
    share = count / (count + standard.count)
    own, variance = mean_and_variance(scores)
    centre = share * own + (1 - share) * mean
    spread = share * variance
    spread = spread + (1 - share) * deviation**2 + share * (1 - share) * (own - mean) ** 2
    return centre, spread.sqrt()
