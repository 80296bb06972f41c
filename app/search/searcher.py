"""The two-stage searcher: what the command line and the service search with, and what the benchmarks measure.

A search is seven calls: `prepare` a sketch, `encode` it, `ask` for photos with all parts of the query, and `recall`
candidates; then load the candidates' `tokens`, `relate` them to the sketch and put them in `order`. `begin` does the
first for several queries together, `rerank` does the rest for one query, and nothing else strings these calls together.

A searcher belongs to one network and one version of a gallery and never changes, so a request that keeps its searcher
never mixes versions. It knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from app.search.chunks import in_chunks
from app.search.collapsing import collapsed
from app.search.combining import combine, contributions
from app.search.likely_results import count_likely
from app.search.query_and_answer import Answer, Asked, Candidates, Descriptors, Found, Logits, Query, Rows
from app.search.query_parts import PartName, QueryParts, Vector
from app.search.recall_stage import RecallStage
from app.search.stopwatch import Observe, Stopwatch, unobserved
from index_builder import GallerySnapshot, PhotoRecord
from model.config import NetworkConfig
from model.images.little_ink import has_little_ink
from model.images.preprocess import photo_tensor, sketch_tensor
from model.networks.network import Network
from model.ranking.score import score_of
from model.score_rules import ScoreRule
from model.types import Encoding


class TwoStageSearcher:
    """Finds the photos of one gallery version that a sketch shows.

    Args:
        network: encodes sketches and relates them to photos.
        snapshot: one version of a gallery built with that network's checkpoint.
        relation_chunk: candidates related in one step; halved if the device's memory cannot hold them.
    """

    def __init__(self, network: Network, snapshot: GallerySnapshot, relation_chunk: int = 128) -> None:
        self.network = network
        self.snapshot = snapshot
        self._chunk = relation_chunk
        self._recall = RecallStage(snapshot)

    def search(self, image: Image.Image, query: Query | None = None) -> Answer:
        """All stages for one sketch.

        Raises:
            BlankSketchError: nothing is drawn.
        """
        return next(self.search_many([QueryParts(self.prepare(image))], [query or Query()]))

    def search_many(self, parts: Sequence[QueryParts], queries: Sequence[Query]) -> Iterator[Answer]:
        """Answers to several queries, one by one.

        Args:
            parts: of Q queries.
            queries: their options.
        """
        for finish in self.begin(parts, queries):
            yield finish()

    def begin(
        self, parts: Sequence[QueryParts], queries: Sequence[Query], observe: Observe = unobserved
    ) -> list[Callable[[], Answer]]:
        """Encode the pictures of several queries together, recall their candidates together, leave the rest to be
        called for.

        Args:
            parts: of Q queries.
            queries: their options.
            observe: called with the name and the seconds of each stage.

        Returns:
            Q functions, each of which reranks the candidates of one query. A query whose function fails or is never
            called leaves the others untouched.
        """
        clock = Stopwatch(observe)
        sketches = self._encode_some([one.sketch if "sketch" in one.used else None for one in parts], self.encode)
        photos = self._encode_some([one.photo if "photo" in one.used else None for one in parts], self.encode_photos)
        asked = [self.ask(*one) for one in zip(parts, sketches, photos, strict=True)]  # waits for a GPU
        clock.lap("encode")
        found = self.recall(asked, queries)
        clock.lap("recall")

        def finish(number: int) -> Answer:
            own = Stopwatch(observe, clock.laps)
            answer = self.rerank(sketches[number], found[number], queries[number])
            own.lap("rerank")
            drawn = parts[number].sketch if sketches[number] is not None else None
            little = drawn is not None and has_little_ink(drawn, self.network.preprocess)
            return replace(answer, stages=own.laps, parts=parts[number].used, little_ink=little)

        return [partial(finish, number) for number in range(len(queries))]

    def rerank(self, sketch: Encoding | None, candidates: Candidates, query: Query) -> Answer:
        """The candidates in their final order, cut to what `query` asks for.

        Args:
            sketch: an encoding of length 1; without one nothing is related, and the recall scores decide.
            candidates: what the recall stage found.
            query: with `rerank` false the recall scores decide.
        """
        rule = self.network.config.rule_for(candidates.kind)
        if sketch is None or not query.rerank:
            return replace(self.order(candidates, None, query), sketch=sketch)
        if rule is not None and not rule.keeps_recall_order:
            return replace(self.order(candidates, self._logits(sketch, candidates.rows), query), sketch=sketch)
        answer = self.order(candidates, None, query)  # what is not shown need not be related
        shown = np.array([found.row for found in answer.results], dtype=np.int64)
        results = [
            replace(found, relation_score=score)
            for found, score in zip(answer.results, _probabilities(self._logits(sketch, shown)), strict=True)
        ]
        return replace(answer, results=results, reranked=True, sketch=sketch)

    def _logits(self, sketch: Encoding, rows: Rows) -> Logits:
        """Relation logits [C] of one sketch and the photos of `rows`, in chunks that fit the device's memory."""
        parts = in_chunks(lambda part: self.relate(sketch, self.tokens(rows[part])), len(rows), self._chunk)
        return torch.cat(parts).double().cpu().numpy() if parts else np.empty(0)

    def prepare(self, image: Image.Image) -> Tensor:
        """[3, S, S] float32: the sketch as the network takes it.

        Raises:
            BlankSketchError: nothing is drawn.
        """
        return sketch_tensor(image, self.network.preprocess)

    def prepare_photo(self, image: Image.Image) -> Tensor:
        """[3, S, S] float32: a photo that searches, as the network takes it."""
        return photo_tensor(image, self.network.preprocess)

    def encode(self, sketches: Tensor) -> Encoding:
        """Encodings of sketches [Q, 3, S, S]."""
        with torch.inference_mode():
            parts = in_chunks(lambda part: self.network.encode_sketch(sketches[part]), len(sketches), len(sketches))
            return Encoding.concatenate(parts)

    def encode_photos(self, photos: Tensor) -> Encoding:
        """Encodings of photos [Q, 3, S, S]."""
        with torch.inference_mode():
            parts = in_chunks(lambda part: self.network.encode_photo(photos[part]), len(photos), len(photos))
            return Encoding.concatenate(parts)

    def ask(self, parts: QueryParts, sketch: Encoding | None = None, photo: Encoding | None = None) -> Asked:
        """What to look for: the parts of a query as one vector.

        Args:
            parts: of the query.
            sketch, photo: encodings of length 1 of its pictures that count, or None.
        """
        vectors: dict[PartName, Vector] = {}
        if sketch is not None:
            vectors["sketch"] = sketch.descriptor[0].float().cpu().numpy()
        if parts.text is not None:
            vectors["text"] = parts.text
        if photo is not None:
            vectors["photo"] = _unit(photo.descriptor[0].float().cpu().numpy())
        if parts.liked:
            vectors["like"] = _unit(self._recall.photos(np.array(parts.liked), by_direction=True).mean(axis=0))
        if parts.unliked:
            vectors["unlike"] = self._recall.photos(np.array(parts.unliked), by_direction=True).mean(axis=0)
        return Asked(
            combine(vectors, parts.used),
            liked=tuple(parts.liked),
            left_out=tuple(parts.unliked),
            kind=parts.kind,
        )

    def recall(self, asked: Sequence[Asked], queries: Sequence[Query]) -> list[Candidates]:
        """Candidates of each query, which the checkpoint may expand first.

        Args:
            asked: Q of them.
            queries: Q of them.
        """
        config: NetworkConfig = self.network.config
        return self._recall.find(asked, queries, lambda kind: (config.rule_for(kind) or config.score).expansion)

    def descriptors(self, candidates: Candidates) -> Descriptors:
        """[C, E] float32 of one query's candidates, as the recall score takes them."""
        by_direction = candidates.asked is not None and candidates.asked.by_direction
        return self._recall.photos(candidates.rows, by_direction=by_direction)

    def tokens(self, rows: Rows) -> Encoding:
        """Encodings of the photos of `rows` [C], dequantised, on the network's device."""
        return self.snapshot.encodings(rows)

    def relate(self, sketch: Encoding, photos: Encoding) -> Tensor:
        """Relation logits [C] float32 of one sketch (an encoding of length 1) and C photos."""
        with torch.inference_mode():
            return self.network.relate(sketch, photos).logit[0]

    def score(self, candidates: Candidates, logits: Logits | None) -> npt.NDArray[np.float64]:
        """[C] float64, what one query's candidates are ordered by: the checkpoint's rule over all of them at once.

        Args:
            candidates: C of them, all that were related.
            logits: [C] float64, their relation logits. In float32 the sigmoid would tie scores near 1. None if nothing
                was related: then only a rule that reads recall scores alone can be followed.
        """
        rule: ScoreRule | None = self.network.config.rule_for(candidates.kind)
        cosines = candidates.scores.astype(np.float64)
        if rule is None or (logits is None and not rule.keeps_recall_order):
            return cosines
        related = np.zeros_like(cosines) if logits is None else logits
        return score_of(rule, torch.from_numpy(related), torch.from_numpy(cosines)).numpy()

    def order(self, candidates: Candidates, logits: Logits | None, query: Query) -> Answer:
        """Candidates by score, liked ones first, ties the newest first, cut to what `query` asks for.

        Args:
            candidates: C of them.
            logits: [C] float64; None if nothing was related.
            query: how many are wanted, from where on, and with which score.
        """
        rows, cosines = candidates.rows, candidates.scores.astype(np.float64)
        scores = self.score(candidates, logits) if query.rerank else cosines
        relation = None if logits is None else _probabilities(logits)
        others = np.arange(len(rows)) >= candidates.liked
        order = np.lexsort((self.snapshot.newest_first[rows], -scores, others))
        if query.min_score is not None:
            order = order[scores[order] >= query.min_score]
        likely = self._likely(candidates, order)
        groups = collapsed(self.snapshot, rows[order], int((~others[order]).sum())) if query.collapse else None
        stays = np.arange(len(order)) if groups is None else np.array(list(groups), dtype=np.int64)
        stays = stays[query.offset : query.offset + query.top_k]
        shown = order[stays]
        contributed = self._contributions(candidates, shown)
        ranks = np.arange(1, len(rows) + 1) if candidates.recall_ranks is None else candidates.recall_ranks
        results = [
            Found(
                rank=query.offset + number + 1,
                row=int(rows[place]),
                photo=self.snapshot.photo(int(rows[place])),
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

    def similar(self, row: int, top_k: int) -> Answer:
        """Photos like that of `row`, which is left out: a query that likes this photo alone, looked up once."""
        asked = replace(self.ask(QueryParts(like=[row])), liked=(), left_out=(row,))
        query = Query(top_k=top_k, candidates=max(Query.candidates, top_k), expand=False)
        return self.order(self.recall([asked], [query])[0], None, query)

    def _likely(self, candidates: Candidates, order: Rows) -> int | None:
        """How many of the results, places of candidates in `order`, are likely; None without a rule for that."""
        rule, asked = self.network.config.likely.of(candidates.kind), candidates.asked
        if rule is None or asked is None:
            return None
        return count_likely(rule, asked, self.descriptors(candidates), order, candidates.liked)

    def _photos(self, rows: Rows) -> tuple[PhotoRecord, ...]:
        return tuple(self.snapshot.photo(int(row)) for row in rows)

    def _contributions(self, candidates: Candidates, places: Rows) -> list[dict[str, float]]:
        """What each part of the query gave to the recall scores of some of the candidates."""
        asked = candidates.asked
        if asked is None:
            return [{}] * len(places)
        photos = self._recall.photos(candidates.rows[places], by_direction=asked.by_direction)
        return contributions(asked.combined, photos, candidates.scores[places])

    @staticmethod
    def _encode_some(images: Sequence[Tensor | None], encode: Callable[[Tensor], Encoding]) -> list[Encoding | None]:
        """The encodings, each of length 1, of those images [3, S, S] that are there, made together."""
        there = [image for image in images if image is not None]
        if not there:
            return [None] * len(images)
        encoded = encode(torch.stack(there))
        places = iter(range(len(there)))
        return [None if image is None else encoded[(place := next(places)) : place + 1] for image in images]


def _probabilities(logits: Logits) -> list[float]:
    return [float(value) for value in torch.from_numpy(logits).sigmoid()]


def _unit(vector: Vector) -> Vector:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
