"""What candidates are ordered by, for several queries together: scores by the checkpoint's rules, and likelihoods.

Python passes its lock on at each operation on tensors, so a step over many queries costs a busy service far less than
many steps over one. Each query gets the same bits as alone (`model/ranking/rows.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.search.query_and_answer import Candidates, Descriptors, Logits, Query
from app.search.recall_stage import RecallStage
from model.networks.network import Network
from model.ranking.context import CandidatePhotos
from model.ranking.likely import FIRST, likelihood, shared
from model.ranking.rows import inner_products
from model.ranking.score import score_of
from model.score_rules import ScoreRule


@dataclass(frozen=True, eq=False)
class Scored:
    """A query whose C candidates have scores.

    Attributes:
        candidates: what the recall stage found.
        logits: [C] float64, relation logits; None if nothing was related.
        query: its options.
        photos: [C, E] float32, the candidates' descriptors as the recall score takes them; None where nobody asks.
        scores: [C] float64, what the candidates are ordered by.
        likelihoods: [C] float32 in [0, 1]; None where the checkpoint has no rule for that.
    """

    candidates: Candidates
    logits: Logits | None
    query: Query
    photos: Descriptors | None
    scores: npt.NDArray[np.float64]
    likelihoods: npt.NDArray[np.float32] | None


class Scoring:
    """Scores the candidates of queries by the checkpoint's rules, those that have as many candidates together.

    Args:
        network: whose rules they are.
        recall: found the candidates.
    """

    def __init__(self, network: Network, recall: RecallStage) -> None:
        self._network, self._recall = network, recall

    def each(
        self, candidates: Sequence[Candidates], logits: Sequence[Logits | None], queries: Sequence[Query]
    ) -> list[Scored]:
        """Scores of all candidates of Q queries.

        Args:
            candidates: Q of them, all that were related.
            logits: Q times relation logits [C] float64. In float32 the sigmoid would tie scores near 1. None where
                nothing was related: then only a rule that reads recall scores alone is followed.
            queries: Q of them, which may decline the rule, or that candidates heed each other.
        """
        photos = self._photos(candidates, queries)
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for number, (found, related, query) in enumerate(zip(candidates, logits, queries, strict=True)):
            groups[self._alike(found, related, query)].append(number)
        scored: dict[int, Scored] = {}
        for members in groups.values():
            own = [candidates[number] for number in members]
            some, query = [photos[number] for number in members], queries[members[0]]
            together = None if some[0] is None else torch.from_numpy(np.stack([one for one in some if one is not None]))
            scores = self._scores(own, [logits[number] for number in members], query, together)
            likelihoods = self._likelihoods(own, together)
            for place, number in enumerate(members):
                scored[number] = Scored(
                    candidates[number],
                    logits[number],
                    queries[number],
                    photos[number],
                    scores[place],
                    None if likelihoods is None else likelihoods[place],
                )
        return [scored[number] for number in range(len(candidates))]

    @staticmethod
    def _alike(found: Candidates, logits: Logits | None, query: Query) -> Hashable:
        """What queries have in common that are scored together."""
        asked = found.asked
        shares = None if asked is None else (asked.combined.is_expanded, len(asked.combined.shares) > 1)
        return len(found.rows), found.kind, shares, logits is None, query.rerank, query.context

    def _photos(self, candidates: Sequence[Candidates], queries: Sequence[Query]) -> list[Descriptors | None]:
        """Descriptors of the candidates that something asks for, each read once."""
        found: list[Descriptors | None] = [None] * len(candidates)
        for by_direction in (False, True):
            wanted = [
                number
                for number, (one, query) in enumerate(zip(candidates, queries, strict=True))
                if _by_direction(one) == by_direction and self._looks_at_photos(one, query)
            ]
            if wanted:
                rows = [candidates[number].rows for number in wanted]
                every = self._recall.photos(np.concatenate(rows), by_direction=by_direction)
                for number, own in zip(wanted, np.split(every, np.cumsum([*map(len, rows)])[:-1]), strict=True):
                    found[number] = own
        return found

    def _looks_at_photos(self, found: Candidates, query: Query) -> bool:
        rule = self._network.config.rule_for(found.kind)
        in_context = rule is not None and rule.context.used and query.rerank and query.context
        if found.asked is None:
            return in_context
        return (
            in_context or len(found.asked.combined.shares) > 1 or self._network.config.likely.of(found.kind) is not None
        )

    def _scores(
        self, candidates: Sequence[Candidates], logits: Sequence[Logits | None], query: Query, photos: Tensor | None
    ) -> npt.NDArray[np.float64]:
        """[Q, C]: by the checkpoint's rule over all candidates of a query at once."""
        rule: ScoreRule | None = self._network.config.rule_for(candidates[0].kind)
        cosines = np.stack([one.scores.astype(np.float64) for one in candidates])
        there = [one for one in logits if one is not None]
        if not query.rerank or rule is None or (not there and not rule.keeps_recall_order):
            return cosines
        related = np.stack(there) if there else np.zeros_like(cosines)
        around = _context(candidates, rule, photos) if query.context and photos is not None else None
        return score_of(rule, torch.from_numpy(related), torch.from_numpy(cosines), around).numpy()

    def _likelihoods(self, candidates: Sequence[Candidates], photos: Tensor | None) -> npt.NDArray[np.float32] | None:
        """[Q, C]: how likely each candidate shows what is asked for."""
        rule = self._network.config.likely.of(candidates[0].kind)
        asked = [one.asked.combined.unexpanded for one in candidates if one.asked is not None]
        if rule is None or photos is None or not asked:
            return None
        return likelihood(rule, shared(torch.from_numpy(np.stack(asked)), photos, photos[:, :FIRST])).numpy()


def _by_direction(found: Candidates) -> bool:
    return found.asked is not None and found.asked.by_direction


def _context(candidates: Sequence[Candidates], rule: ScoreRule, photos: Tensor) -> CandidatePhotos | None:
    """What the candidates' scores heed in each other; None for queries that are not expanded although the rule, which
    was chosen for such, expands queries."""
    expanded = [one.asked.combined for one in candidates if one.asked is not None and one.asked.combined.is_expanded]
    if not rule.context.used or (rule.expansion.neighbours and not expanded):
        return None
    if not expanded:
        return CandidatePhotos(photos)
    return CandidatePhotos(
        photos, inner_products(photos, torch.from_numpy(np.stack([one.unexpanded for one in expanded])))
    )
