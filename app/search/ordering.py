"""The end of a search: scores, order, and what is told of each photo that is shown. No network runs here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from app.search.collapsing import collapsed
from app.search.combining import contributions
from app.search.likely_results import count_likely
from app.search.query_and_answer import Answer, Candidates, Descriptors, Found, Logits, Query, Rows
from app.search.recall_stage import RecallStage
from index_builder import GallerySnapshot, PhotoRecord
from model.networks.network import Network
from model.ranking.context import CandidatePhotos
from model.ranking.score import score_of
from model.score_rules import ScoreRule


class Ordering:
    """Puts the candidates of queries in order by the checkpoint's rules.

    Args:
        network: whose rules they are.
        snapshot: one version of a gallery.
        recall: found the candidates.
    """

    def __init__(self, network: Network, snapshot: GallerySnapshot, recall: RecallStage) -> None:
        self._network, self._snapshot, self._recall = network, snapshot, recall

    def descriptors(self, candidates: Candidates) -> Descriptors:
        """[C, E] float32 of one query's candidates, as the recall score takes them."""
        by_direction = candidates.asked is not None and candidates.asked.by_direction
        return self._recall.photos(candidates.rows, by_direction=by_direction)

    def score(self, candidates: Candidates, logits: Logits | None, *, context: bool = True) -> npt.NDArray[np.float64]:
        """[C] float64, what one query's candidates are ordered by: the checkpoint's rule over all of them at once.

        Args:
            candidates: C of them, all that were related.
            logits: [C] float64, their relation logits. In float32 the sigmoid would tie scores near 1. None if nothing
                was related: then only a rule that reads recall scores alone can be followed.
            context: whether the candidates' scores heed each other, where the rule says so.
        """
        rule: ScoreRule | None = self._network.config.rule_for(candidates.kind)
        cosines = candidates.scores.astype(np.float64)
        if rule is None or (logits is None and not rule.keeps_recall_order):
            return cosines
        related = np.zeros_like(cosines) if logits is None else logits
        around = self._context(candidates, rule) if context else None
        return score_of(rule, torch.from_numpy(related), torch.from_numpy(cosines), around).numpy()

    def order(self, candidates: Candidates, logits: Logits | None, query: Query) -> Answer:
        """Candidates by score, liked ones first, ties the newest first, cut to what `query` asks for.

        Args:
            candidates: C of them.
            logits: [C] float64; None if nothing was related.
            query: how many are wanted, from where on, and with which score.
        """
        rows, cosines = candidates.rows, candidates.scores.astype(np.float64)
        scores = self.score(candidates, logits, context=query.context) if query.rerank else cosines
        relation = None if logits is None else probabilities(logits)
        others = np.arange(len(rows)) >= candidates.liked
        order = np.lexsort((self._snapshot.newest_first[rows], -scores, others))
        if query.min_score is not None:
            order = order[scores[order] >= query.min_score]
        likely = self._likely(candidates, order)
        groups = collapsed(self._snapshot, rows[order], int((~others[order]).sum())) if query.collapse else None
        stays = np.arange(len(order)) if groups is None else np.array(list(groups), dtype=np.int64)
        stays = stays[query.offset : query.offset + query.top_k]
        shown = order[stays]
        contributed = self._contributions(candidates, shown)
        ranks = np.arange(1, len(rows) + 1) if candidates.recall_ranks is None else candidates.recall_ranks
        results = [
            Found(
                rank=query.offset + number + 1,
                row=int(rows[place]),
                photo=self._snapshot.photo(int(rows[place])),
                score=float(scores[place]),
                relation_score=None if relation is None else relation[place],
                recall_score=float(cosines[place]),
                recall_rank=int(ranks[place]),
                contributions=contributed[number],
                duplicates=None if groups is None else self._photos(rows[order[groups[int(stays[number])]]]),
                likely=None if likely is None else bool(stays[number] < likely),
            )
            for number, place in enumerate(shown)
        ]
        return Answer(results, candidates.searched, reranked=logits is not None)

    def _context(self, candidates: Candidates, rule: ScoreRule) -> CandidatePhotos | None:
        """What the candidates' scores heed in each other; None for a query that is not expanded although the rule,
        which was chosen for such, expands queries."""
        expanded = candidates.asked is not None and candidates.asked.combined.is_expanded
        if not rule.context.used or (rule.expansion.neighbours and not expanded):
            return None
        photos = torch.from_numpy(self.descriptors(candidates))
        if candidates.asked is None or not expanded:
            return CandidatePhotos(photos)
        return CandidatePhotos(photos, photos @ torch.from_numpy(candidates.asked.combined.unexpanded))

    def _likely(self, candidates: Candidates, order: Rows) -> int | None:
        """How many of the results, places of candidates in `order`, are likely; None without a rule for that."""
        rule, asked = self._network.config.likely.of(candidates.kind), candidates.asked
        if rule is None or asked is None:
            return None
        return count_likely(rule, asked, self.descriptors(candidates), order, candidates.liked)

    def _photos(self, rows: Rows) -> tuple[PhotoRecord, ...]:
        return tuple(self._snapshot.photo(int(row)) for row in rows)

    def _contributions(self, candidates: Candidates, places: Rows) -> list[dict[str, float]]:
        """What each part of the query gave to the recall scores of some of the candidates."""
        asked = candidates.asked
        if asked is None:
            return [{}] * len(places)
        photos = self._recall.photos(candidates.rows[places], by_direction=asked.by_direction)
        return contributions(asked.combined, photos, candidates.scores[places])


def with_relation(answer: Answer, logits: Logits) -> Answer:
    """An answer in the order of recall, with the relation scores of what it shows.

    Args:
        answer: R results.
        logits: [R] float64.
    """
    scores = probabilities(logits)
    results = [replace(found, relation_score=score) for found, score in zip(answer.results, scores, strict=True)]
    return replace(answer, results=results, reranked=True)


def probabilities(logits: Logits) -> list[float]:
    """Relation scores of logits [C] float64."""
    return [float(value) for value in torch.from_numpy(logits).sigmoid()]
