"""The rerank stage: relates a sketch to the tokens of its candidates, and puts them in their final order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from app.search.chunks import Chunks
from app.search.ordering import Ordering, with_relation
from app.search.query_and_answer import Answer, Begun, Candidates, Logits, Query, Rows
from app.search.recall_stage import RecallStage
from app.search.relating import relate_in_chunks
from index_builder import GallerySnapshot
from model.networks.network import Network
from model.types import Encoding


class RerankStage:
    """Loads candidates' tokens, relates them to the sketch and orders them.

    Args:
        network: relates sketches to photos, and has the rules of the order.
        snapshot: one version of a gallery.
        recall: found the candidates.
        relation_chunk: pairs related in one step; halved if the device's memory cannot hold them.
    """

    def __init__(self, network: Network, snapshot: GallerySnapshot, recall: RecallStage, relation_chunk: int) -> None:
        self._network, self._snapshot = network, snapshot
        self._ordering = Ordering(network, snapshot, recall)
        self._related = Chunks(relation_chunk)

    def steps(self, begun: Sequence[Begun]) -> Iterator[slice]:
        """Which of the queries to finish together: as many as the device relates in one step, at least one."""
        start = pairs = 0
        for number, one in enumerate(begun):
            own = self._pairs(one)
            if number > start and pairs + own > self._related.size:
                yield slice(start, number)
                start, pairs = number, 0
            pairs += own
        if begun:
            yield slice(start, len(begun))

    def _pairs(self, one: Begun) -> int:
        """How many photos are related to a query's sketch."""
        if one.sketch is None or not one.query.rerank:
            return 0
        every = len(one.candidates.rows)
        by_relation = self._is_ordered_by_relation(one.sketch, one.candidates, one.query)
        return every if by_relation else min(every, one.query.top_k)

    def rerank(
        self, sketches: Sequence[Encoding | None], candidates: Sequence[Candidates], queries: Sequence[Query]
    ) -> list[Answer]:
        """The candidates of Q queries in their final order, cut to what each query asks for.

        Args:
            sketches: Q encodings of length 1; without one nothing is related, and the recall scores decide.
            candidates: Q times what the recall stage found.
            queries: with `rerank` false the recall scores decide.
        """
        every = list(zip(sketches, candidates, queries, strict=True))
        late = [number for number, one in enumerate(every) if self._is_ordered_by_relation(*one)]
        early = sorted(set(range(len(every))) - set(late))
        answers = self._order_some(early, candidates, {}, queries)
        related: dict[int, tuple[Encoding, Rows]] = {}
        for number, (sketch, found, query) in enumerate(every):
            if sketch is not None and query.rerank:  # what is not shown need not be related where recall decides
                answer = answers.get(number)
                shown = found.rows if answer is None else [one.row for one in answer.results]
                related[number] = sketch, np.asarray(shown, dtype=np.int64)
        logits = relate_in_chunks(
            [sketch for sketch, _ in related.values()],
            [rows for _, rows in related.values()],
            tokens=self.tokens,
            relate=self.relate,
            chunks=self._related,
        )
        own = dict(zip(related, logits, strict=True))
        answers |= {number: with_relation(answers[number], own[number]) for number in early if number in own}
        answers |= self._order_some(late, candidates, own, queries)
        return [replace(answers[number], sketch=sketch) for number, sketch in enumerate(sketches)]

    def _order_some(
        self,
        numbers: Sequence[int],
        candidates: Sequence[Candidates],
        logits: Mapping[int, Logits],
        queries: Sequence[Query],
    ) -> dict[int, Answer]:
        """The answers to the queries of these numbers."""
        answers = self._ordering.order(
            [candidates[number] for number in numbers],
            [logits.get(number) for number in numbers],
            [queries[number] for number in numbers],
        )
        return dict(zip(numbers, answers, strict=True))

    def _is_ordered_by_relation(self, sketch: Encoding | None, found: Candidates, query: Query) -> bool:
        """Whether all candidates have to be related before anything is in order."""
        rule = self._network.config.rule_for(found.kind)
        return sketch is not None and query.rerank and rule is not None and not rule.keeps_recall_order

    def tokens(self, rows: Rows) -> Encoding:
        """Encodings of the photos of `rows` [C], dequantised, on the network's device."""
        return self._snapshot.encodings(rows)

    def relate(self, sketches: Encoding, photos: Encoding, counts: Sequence[int]) -> Tensor:
        """Relation logits [P] float32 of sketches and photos, of which each sketch has its own run.

        Args:
            sketches: Q of them.
            photos: P of them, those of the first sketch first.
            counts: Q numbers of photos, which sum to P.
        """
        with torch.inference_mode():
            return self._network.relate_each(sketches, photos, counts)

    def order(
        self, candidates: Sequence[Candidates], logits: Sequence[Logits | None], queries: Sequence[Query]
    ) -> list[Answer]:
        """Candidates of Q queries by score, cut to what each asks for: see `Ordering.order`."""
        return self._ordering.order(candidates, logits, queries)
