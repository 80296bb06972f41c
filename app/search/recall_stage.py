"""The recall stage: which photos come near a query in descriptor space."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from app.search.combining import expand_each
from app.search.query_and_answer import Asked, Candidates, Descriptors, Query, Rows, Scores
from index_builder import GallerySnapshot
from index_builder.index.candidate_index import Selection
from model.score_rules import ExpansionRule, QueryKind

_DEEPER = 4  # times the candidates: so many are looked through before lengths are divided out
_NO_ROWS: Rows = np.empty(0, np.int64)
_NO_SCORES: Scores = np.empty(0, np.float32)


class RecallStage:
    """Finds candidates by descriptor, among the photos that a query lets through.

    Args:
        snapshot: one version of a gallery.
    """

    def __init__(self, snapshot: GallerySnapshot) -> None:
        self._snapshot = snapshot

    def find(
        self, asked: Sequence[Asked], queries: Sequence[Query], expansion_of: Callable[[QueryKind], ExpansionRule]
    ) -> list[Candidates]:
        """Candidates of each query; those that search the same photos in the same way are looked up together.

        Args:
            asked: Q of them.
            queries: Q of them.
            expansion_of: the checkpoint's, for each kind of query, which queries may decline.
        """
        groups: dict[tuple[Hashable, ...], list[int]] = defaultdict(list)
        for number, (one, query) in enumerate(zip(asked, queries, strict=True)):
            groups[query.only, one.left_out, one.kind, query.expand].append(number)
        found: dict[int, Candidates] = {}
        for members in groups.values():
            together, query = [asked[number] for number in members], queries[members[0]]
            chosen = self._snapshot.select(query.only, left_out=together[0].left_out)
            expansion = expansion_of(together[0].kind)
            if query.expand and expansion.neighbours:
                together = self._expanded(together, chosen, expansion)
            depths = [queries[number].candidates for number in members]
            found |= zip(members, self._look_up(together, depths, chosen), strict=True)
        return [found[number] for number in range(len(queries))]

    def photos(self, rows: Rows, *, by_direction: bool) -> Descriptors:
        """Descriptors [C, E] float32 as the recall score takes them."""
        photos = self._snapshot.searched_descriptors(rows)
        return photos / np.maximum(np.linalg.norm(photos, axis=1, keepdims=True), 1e-12) if by_direction else photos

    def _look_up(self, asked: Sequence[Asked], depths: Sequence[int], chosen: Selection | None) -> Iterator[Candidates]:
        """Candidates of queries that share everything but their vectors and depths, each cut to its own depth."""
        searched = len(self._snapshot) if chosen is None else chosen.count
        by_direction = asked[0].by_direction
        deepest = min(max(depths) * (_DEEPER if by_direction else 1), searched)
        if not deepest:
            yield from [Candidates(_NO_ROWS, _NO_SCORES, searched, asked=one) for one in asked]
            return
        found = self._snapshot.recall(np.stack([one.combined.descriptor for one in asked]), deepest, chosen)
        for one, places, near, depth in zip(asked, *found, depths, strict=True):
            there = places >= 0
            rows, scores = places[there], near[there]
            if by_direction:  # among as many as if it had come alone
                rows, scores = self._by_direction(one, rows[: depth * _DEEPER])
            liked = [row for row in one.liked if chosen is None or chosen.mask[row]]
            yield self._liked_first(one, rows[:depth], scores[:depth], liked, searched)

    def _by_direction(self, asked: Asked, rows: Rows) -> tuple[Rows, Scores]:
        """The same photos by the cosine alone, best first."""
        scores = np.minimum(self.photos(rows, by_direction=True) @ asked.combined.descriptor, 1.0)
        best = np.lexsort((self._snapshot.newest_first[rows], -scores))
        return rows[best], scores[best]

    def _liked_first(self, asked: Asked, rows: Rows, scores: Scores, liked: list[int], searched: int) -> Candidates:
        """Candidates with the liked photos in front. Those that recall did not find count as the ranks after it."""
        if not liked:
            return Candidates(rows, scores, searched, asked=asked)
        missed = np.setdiff1d(liked, rows)
        near = self.photos(missed, by_direction=asked.by_direction) @ asked.combined.descriptor
        best = np.lexsort((self._snapshot.newest_first[missed], -near))
        rows, scores = np.concatenate([rows, missed[best]]), np.concatenate([scores, near[best]])
        places = np.argsort(~np.isin(rows, liked), kind="stable")
        return Candidates(rows[places], scores[places], searched, places + 1, len(liked), asked)

    def _expanded(self, asked: list[Asked], chosen: Selection | None, rule: ExpansionRule) -> list[Asked]:
        """Queries moved towards their first hits among the chosen photos, by the checkpoint's rule."""
        first, _ = self._snapshot.recall(np.stack([one.combined.descriptor for one in asked]), rule.neighbours, chosen)
        there = first >= 0
        hits = np.split(self._snapshot.searched_descriptors(first[there]), np.cumsum(there.sum(axis=1))[:-1])
        moved = expand_each([one.combined for one in asked], hits, rule.weight)
        return [replace(one, combined=combined) for one, combined in zip(asked, moved, strict=True)]
