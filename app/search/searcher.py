"""The two-stage searcher: what the command line and the service search with, and what the benchmarks measure.

A search is six calls: `prepare` a sketch, `encode` it and `recall` candidates; then load the candidates' `tokens`,
`relate` them to the sketch and put them in `order`. `begin` encodes and recalls for several sketches together, `rerank`
does the rest for one sketch, and nothing else strings these calls together.

A searcher belongs to one network and one version of a gallery and never changes, so a request that keeps its searcher
never mixes versions. It knows nothing of HTTP.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from app.search.chunks import in_chunks
from app.search.query_and_answer import Answer, Candidates, Descriptors, Found, Logits, Query, Rows
from app.search.stopwatch import Observe, Stopwatch, unobserved
from index_builder import GallerySnapshot
from model.config import ExpansionRule
from model.images.preprocess import sketch_tensor
from model.networks.network import Network
from model.ranking.expansion import expand
from model.types import Encoding

_SIMILAR_DEPTH = 4  # times the photos wanted: so many are looked through before lengths are divided out


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

    def search(self, image: Image.Image, query: Query | None = None) -> Answer:
        """All stages for one sketch.

        Raises:
            BlankSketchError: nothing is drawn.
        """
        return next(self.search_many(self.prepare(image).unsqueeze(0), [query or Query()]))

    def search_many(self, sketches: Tensor, queries: Sequence[Query]) -> Iterator[Answer]:
        """Answers to several sketches, one by one.

        Args:
            sketches: [Q, 3, S, S] float32 from `prepare`.
            queries: Q of them.
        """
        for finish in self.begin(sketches, queries):
            yield finish()

    def begin(
        self, sketches: Tensor, queries: Sequence[Query], observe: Observe = unobserved
    ) -> list[Callable[[], Answer]]:
        """Encode several sketches together, recall their candidates together, and leave the rest to be called for.

        Args:
            sketches: [Q, 3, S, S] float32 from `prepare`.
            queries: Q of them.
            observe: called with the name and the seconds of each stage.

        Returns:
            Q functions, each of which reranks the candidates of one sketch. A sketch whose function fails or is never
            called leaves the others untouched.
        """
        clock = Stopwatch(observe)
        encodings = self.encode(sketches)
        descriptors = encodings.descriptor.float().cpu().numpy()  # waits for a GPU
        clock.lap("encode")
        found = self.recall(descriptors, queries)
        clock.lap("recall")

        def finish(number: int) -> Answer:
            own = Stopwatch(observe, clock.laps_ms)
            answer = self.rerank(encodings[number : number + 1], found[number], queries[number])
            own.lap("rerank")
            return replace(answer, stages_ms=own.laps_ms)

        return [partial(finish, number) for number in range(len(queries))]

    def rerank(self, sketch: Encoding, candidates: Candidates, query: Query) -> Answer:
        """The candidates in their final order, cut to what `query` asks for.

        Args:
            sketch: an encoding of length 1.
            candidates: what the recall stage found for it.
            query: with `rerank` false the recall scores decide.
        """
        if self.network.config.score.keeps_recall_order:  # what is not shown need not be related
            shown = slice(query.offset + query.top_k)
            candidates = replace(candidates, rows=candidates.rows[shown], scores=candidates.scores[shown])
        logits = self._logits(sketch, candidates.rows) if query.rerank else None
        return replace(self.order(candidates, logits, query), sketch=sketch)

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

    def encode(self, sketches: Tensor) -> Encoding:
        """Encodings of sketches [Q, 3, S, S]."""
        with torch.inference_mode():
            parts = in_chunks(lambda part: self.network.encode_sketch(sketches[part]), len(sketches), len(sketches))
            return Encoding.concatenate(parts)

    def recall(self, descriptors: Descriptors, queries: Sequence[Query]) -> list[Candidates]:
        """Candidates of each query; queries with the same tags and expansion are looked up together.

        Args:
            descriptors: [Q, E] float32, L2-normalised.
            queries: Q of them.
        """
        groups: dict[tuple[tuple[str, ...], bool], list[int]] = defaultdict(list)
        for number, query in enumerate(queries):
            groups[query.tags, query.expand].append(number)
        found: dict[int, Candidates] = {}
        for (tags, expanded), members in groups.items():
            depths = [queries[number].candidates for number in members]
            found |= zip(members, self._recall(descriptors[members], depths, tags, expanded=expanded), strict=True)
        return [found[number] for number in range(len(queries))]

    def tokens(self, rows: Rows) -> Encoding:
        """Encodings of the photos of `rows` [C], dequantised, on the network's device."""
        return self.snapshot.encodings(rows)

    def relate(self, sketch: Encoding, photos: Encoding) -> Tensor:
        """Relation logits [C] float32 of one sketch (an encoding of length 1) and C photos."""
        with torch.inference_mode():
            return self.network.relate(sketch, photos).logit[0]

    def score(self, candidates: Candidates, logits: Logits) -> npt.NDArray[np.float64]:
        """[C] float64, what one query's candidates are ordered by: the checkpoint's rule over all of them at once.

        Args:
            candidates: C of them, all that were related.
            logits: [C] float64, their relation logits. In float32 the sigmoid would tie scores near 1.
        """
        cosines = torch.from_numpy(candidates.scores.astype(np.float64))
        return self.network.score(torch.from_numpy(logits), cosines).numpy()

    def order(self, candidates: Candidates, logits: Logits | None, query: Query) -> Answer:
        """Candidates by score, ties by photo id, cut to what `query` asks for.

        Args:
            candidates: C of them.
            logits: [C] float64; None orders by recall score.
            query: how many are wanted, from where on, and with which score.
        """
        rows, cosines = candidates.rows, candidates.scores.astype(np.float64)
        scores = cosines if logits is None else self.score(candidates, logits)
        relation = None if logits is None else torch.from_numpy(logits).sigmoid().numpy()
        order = np.lexsort((rows, -scores))  # a snapshot's rows are in the order of photo ids
        if query.min_score is not None:
            order = order[scores[order] >= query.min_score]
        results = [
            Found(
                rank=query.offset + number + 1,
                row=int(rows[place]),
                photo=self.snapshot.photo(int(rows[place])),
                score=float(scores[place]),
                relation_score=None if relation is None else float(relation[place]),
                recall_score=float(cosines[place]),
                recall_rank=int(place) + 1,
            )
            for number, place in enumerate(order[query.offset : query.offset + query.top_k])
        ]
        return Answer(results, candidates.searched)

    def similar(self, row: int, top_k: int) -> Answer:
        """Photos whose descriptors point where that of `row` does, which is left out.

        Familiar photos have shorter descriptors (`model/layers/familiarity.py`), which is meant for sketches. Here
        lengths are divided out, among somewhat more photos than are wanted.
        """
        depth = min(_SIMILAR_DEPTH * (top_k + 1), len(self.snapshot))
        asked = self.snapshot.descriptors([row])
        (found,) = self.recall(asked / np.linalg.norm(asked), [Query(candidates=depth, expand=False)])
        rows = found.rows[found.rows != row]
        photos = self.snapshot.searched_descriptors(rows)
        scores = photos @ asked[0] / np.maximum(np.linalg.norm(photos, axis=1) * np.linalg.norm(asked), 1e-12)
        best = np.lexsort((rows, -scores))[:top_k]
        rest = Candidates(rows[best], np.minimum(scores[best], 1.0), found.searched - 1)
        return self.order(rest, None, Query(top_k=top_k))

    def _recall(
        self, descriptors: Descriptors, depths: Sequence[int], tags: tuple[str, ...], *, expanded: bool
    ) -> Iterator[Candidates]:
        """Candidates of queries [Q, E] that share tags and expansion, each cut to its own depth."""
        allowed = self.snapshot.allowed(tags=tags) if tags else None
        searched = len(self.snapshot) if allowed is None else int(np.count_nonzero(allowed))
        deepest = min(max(depths), searched)
        if deepest == 0:
            yield from [Candidates(np.empty(0, np.int64), np.empty(0, np.float32), searched)] * len(depths)
            return
        if expanded:
            descriptors = self._expanded(descriptors, allowed)
        for rows, scores, depth in zip(*self.snapshot.recall(descriptors, deepest, allowed), depths, strict=True):
            keep = rows >= 0
            keep[depth:] = False
            yield Candidates(rows[keep], scores[keep], searched)

    def _expanded(self, descriptors: Descriptors, allowed: npt.NDArray[np.bool_] | None) -> Descriptors:
        """Descriptors [Q, E] moved towards their first hits among the `allowed` photos, by the checkpoint's rule."""
        rule: ExpansionRule = self.network.config.score.expansion
        if not rule.neighbours:
            return descriptors
        first, _ = self.snapshot.recall(descriptors, rule.neighbours, allowed)
        moved = []
        for descriptor, rows in zip(torch.from_numpy(descriptors), first, strict=True):
            hits = torch.from_numpy(self.snapshot.searched_descriptors(rows[rows >= 0]))
            moved.append(expand(descriptor[None], hits[None], rule.weight))
        return torch.cat(moved).numpy()
