"""The end of a search: scores, order, and what is told of each photo that is shown. No network runs here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from app.search.collapsing import collapsed
from app.search.combining import contributions
from app.search.likely_results import count_likely
from app.search.query_and_answer import Answer, Candidates, Found, Logits, Query, Rows
from app.search.recall_stage import RecallStage
from app.search.scoring import Scored, Scoring
from index_builder import GallerySnapshot, PhotoRecord
from model.networks.network import Network


class Ordering:
    """Puts the candidates of queries in order by the checkpoint's rules.

    Args:
        network: whose rules they are.
        snapshot: one version of a gallery.
        recall: found the candidates.
    """

    def __init__(self, network: Network, snapshot: GallerySnapshot, recall: RecallStage) -> None:
        self._snapshot = snapshot
        self._scoring = Scoring(network, recall)

    def order(
        self, candidates: Sequence[Candidates], logits: Sequence[Logits | None], queries: Sequence[Query]
    ) -> list[Answer]:
        """Candidates by score, liked ones first, ties the newest first, cut to what each of Q queries asks for.

        Args:
            candidates: Q times C of them; C may differ.
            logits: Q times [C] float64; None if nothing was related.
            queries: how many are wanted, from where on, and with which score.
        """
        return [self._answer(one) for one in self._scoring.each(candidates, logits, queries)]

    def _answer(self, scored: Scored) -> Answer:
        candidates, query, scores = scored.candidates, scored.query, scored.scores
        rows = candidates.rows
        others = np.arange(len(rows)) >= candidates.liked
        order = np.lexsort((self._snapshot.newest_first[rows], -scores, others))
        if query.min_score is not None:
            order = order[scores[order] >= query.min_score]
        likely = None
        if scored.likelihoods is not None:
            likely = count_likely(scored.likelihoods, order, candidates.liked)
        groups = collapsed(self._snapshot, rows[order], int((~others[order]).sum())) if query.collapse else None
        stays = np.arange(len(order)) if groups is None else np.array(list(groups), dtype=np.int64)
        stays = stays[query.offset : query.offset + query.top_k]
        shown, places = order[stays], stays.tolist()
        ranks = np.arange(1, len(rows) + 1) if candidates.recall_ranks is None else candidates.recall_ranks
        relation = None if scored.logits is None else probabilities(scored.logits)
        facts = zip(
            shown.tolist(),
            rows[shown].tolist(),
            self._snapshot.photos(rows[shown].tolist()),
            scores[shown].tolist(),
            candidates.scores[shown].tolist(),
            ranks[shown].tolist(),
            _contributions(scored, shown),
            places,
            strict=True,
        )
        results = [
            Found(
                rank=rank,
                row=row,
                photo=photo,
                score=score,
                relation_score=None if relation is None else relation[place],
                recall_score=recall_score,
                recall_rank=recall_rank,
                contributions=contributed,
                duplicates=None if groups is None else self._photos(rows[order[groups[stay]]]),
                likely=None if likely is None else stay < likely,
            )
            for rank, (place, row, photo, score, recall_score, recall_rank, contributed, stay) in enumerate(
                facts, start=query.offset + 1
            )
        ]
        return Answer(results, candidates.searched, reranked=scored.logits is not None)

    def _photos(self, rows: Rows) -> tuple[PhotoRecord, ...]:
        return tuple(self._snapshot.photos(rows.tolist()))


def _contributions(scored: Scored, places: Rows) -> list[dict[str, float]]:
    """What each part of the query gave to the recall scores of some of the candidates."""
    asked = scored.candidates.asked
    if asked is None:
        return [{}] * len(places)
    return contributions(
        asked.combined, None if scored.photos is None else scored.photos[places], scored.candidates.scores[places]
    )


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
    values: list[float] = torch.from_numpy(logits).sigmoid().tolist()
    return values
