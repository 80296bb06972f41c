"""The two-stage searcher: what the service serves, the evaluation evaluates and the benchmarks measure.

It knows nothing of HTTP. One searcher belongs to one network and one version of a gallery and never changes, so a
request that keeps its searcher never mixes versions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from index_builder import GallerySnapshot, PhotoRecord
from model.config import ExpansionRule
from model.errors import DeviceError
from model.images.preprocess import sketch_tensor
from model.networks.network import Network
from model.ranking.expansion import expand
from model.types import Encoding

T = TypeVar("T")
_SIMILAR_DEPTH = 4  # times the photos wanted: so many are looked through before lengths are divided out
Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Query:
    """What is asked of one sketch.

    Attributes:
        top_k: results wanted.
        candidates: depth of the recall stage.
        rerank: compare the candidates' tokens; otherwise the recall score alone decides.
        offset: results to skip.
        min_score: leave out results with a lower score; None keeps all.
        tags: only photos with any of these; () searches all.
        expand: widen the query by its first hits where the checkpoint declares so; otherwise the sketch searches alone.
    """

    top_k: int = 20
    candidates: int = 100
    rerank: bool = True
    offset: int = 0
    min_score: float | None = None
    tags: tuple[str, ...] = ()
    expand: bool = True


@dataclass(frozen=True)
class Candidates:
    """What the recall stage found for one sketch, best first.

    Attributes:
        rows: [C] int64, rows of the snapshot.
        scores: [C] float32 in [-1, 1], inner products with the descriptor that searched last.
        searched: photos looked at: the gallery's, or those with the tags.
    """

    rows: Rows
    scores: Scores
    searched: int


@dataclass(frozen=True)
class Found:
    """One photo found.

    Attributes:
        rank: from 1, in the whole order.
        row: of the snapshot.
        photo: what the gallery knows of it.
        score: what the results are ordered by.
        relation_score: the relation network's probability, or None without rerank.
        recall_score: inner product of the photo's descriptor and the one that searched, the sketch's or its expansion.
        recall_rank: from 1, in the recall stage.
    """

    rank: int
    row: int
    photo: PhotoRecord
    score: float
    relation_score: float | None
    recall_score: float
    recall_rank: int


@dataclass(frozen=True)
class Answer:
    """What one search found.

    Attributes:
        results: in order.
        searched: photos the recall stage looked at.
        stages_ms: milliseconds of `encode`, `recall` and `rerank`; the first two of the whole batch it ran in.
    """

    results: list[Found]
    searched: int
    stages_ms: dict[str, float] = field(default_factory=dict)


class TwoStageSearcher:
    """Finds the photos of one gallery version that a sketch shows.

    Args:
        network: encodes sketches and relates them to photos.
        snapshot: one version of a gallery built with that network's checkpoint.
        relation_chunk: candidates related in one step; halved by itself where the device's memory does not hold them.
    """

    def __init__(self, network: Network, snapshot: GallerySnapshot, relation_chunk: int = 128) -> None:
        self.network = network
        self.snapshot = snapshot
        self._chunk = relation_chunk

    def prepare(self, image: Image.Image) -> Tensor:
        """[3, S, S] float32: the sketch as the network takes it.

        Raises:
            BlankSketchError: nothing is drawn.
        """
        return sketch_tensor(image, self.network.preprocess)

    def search(self, image: Image.Image, query: Query | None = None) -> Answer:
        """All stages for one sketch."""
        return next(self.search_many(self.prepare(image).unsqueeze(0), [query or Query()]))

    def search_many(self, sketches: Tensor, queries: Sequence[Query]) -> Iterator[Answer]:
        """Answers to several sketches, one by one: encoded and recalled together, reranked each on its own.

        Args:
            sketches: [Q, 3, S, S] float32 from `prepare`.
            queries: Q of them.
        """
        clock = Stopwatch()
        encodings = self.encode(sketches)
        descriptors = encodings.descriptor.float().cpu().numpy()  # waits for a GPU
        clock.lap("encode")
        candidates = self.recall(descriptors, queries)
        clock.lap("recall")
        for number, (found, query) in enumerate(zip(candidates, queries, strict=True)):
            clock.restart()
            answer = self.rerank(encodings[number : number + 1], found, query)
            clock.lap("rerank")
            yield replace(answer, stages_ms=dict(clock.laps_ms))

    def encode(self, sketches: Tensor) -> Encoding:
        """Encodings of sketches [Q, 3, S, S]."""
        with torch.inference_mode():
            parts = in_chunks(lambda s: self.network.encode_sketch(sketches[s]), len(sketches), len(sketches))
            return Encoding.concatenate(parts)

    def recall(self, descriptors: npt.NDArray[np.float32], queries: Sequence[Query]) -> list[Candidates]:
        """Candidates of each query; queries without tags are looked up together.

        Args:
            descriptors: [Q, E] float32, L2-normalised.
            queries: Q of them.
        """
        found: dict[int, Candidates] = {}
        groups: dict[tuple[tuple[str, ...], bool], list[int]] = {}
        for number, query in enumerate(queries):
            groups.setdefault((query.tags, query.expand), []).append(number)
        for (tags, expanded), members in groups.items():
            allowed = self.snapshot.allowed(tags=tags) if tags else None
            searched = len(self.snapshot) if allowed is None else int(np.count_nonzero(allowed))
            depth = min(max(queries[number].candidates for number in members), searched)
            if depth == 0:
                empty = Candidates(np.empty(0, np.int64), np.empty(0, np.float32), searched)
                found |= dict.fromkeys(members, empty)
                continue
            asked = descriptors[members]
            if expanded:
                asked = self._expanded(asked, allowed)
            rows, scores = self.snapshot.recall(asked, depth, allowed)
            for place, number in enumerate(members):
                keep = rows[place] >= 0
                keep[queries[number].candidates :] = False
                found[number] = Candidates(rows[place][keep], scores[place][keep], searched)
        return [found[number] for number in range(len(queries))]

    def _expanded(
        self, descriptors: npt.NDArray[np.float32], allowed: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.float32]:
        """Descriptors [Q, E] moved towards their first hits among the photos that may be found, by the checkpoint's
        rule."""
        rule: ExpansionRule = self.network.config.score.expansion
        if not rule.neighbours:
            return descriptors
        first, _ = self.snapshot.recall(descriptors, rule.neighbours, allowed)
        moved = []
        for descriptor, rows in zip(torch.from_numpy(descriptors), first, strict=True):
            hits = torch.from_numpy(self.snapshot.searched_descriptors(rows[rows >= 0]))
            moved.append(expand(descriptor[None], hits[None], rule.weight))
        return torch.cat(moved).numpy()

    def relate(self, sketch: Encoding, rows: Rows) -> npt.NDArray[np.float64]:
        """Relation logits [C] of one sketch (an encoding of length 1) and the photos of `rows`."""
        if not len(rows):
            return np.empty(0)

        def logits(part: slice) -> Tensor:
            return self.network.relate(sketch, self.snapshot.encodings(rows[part])).logit[0]

        with torch.inference_mode():
            return torch.cat(in_chunks(logits, len(rows), self._chunk)).double().cpu().numpy()

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
        return self.order(candidates, self.relate(sketch, candidates.rows) if query.rerank else None, query)

    def order(self, candidates: Candidates, logits: npt.NDArray[np.float64] | None, query: Query) -> Answer:
        """Candidates by score, ties by photo id, cut to what `query` asks for.

        Scores are computed in float64: in float32 the sigmoid ties near 1.
        """
        rows, cosines = candidates.rows, candidates.scores.astype(np.float64)
        scores, relation = cosines, None
        if logits is not None:
            relation = torch.from_numpy(logits).sigmoid().numpy()
            scores = self.network.score(torch.from_numpy(logits), torch.from_numpy(cosines)).numpy()
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

        Familiar photos' descriptors are shorter (`model/layers/familiarity.py`). That is for sketches: here lengths are
        divided out, among some more photos than are wanted.
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


class Stopwatch:
    """Milliseconds between laps."""

    def __init__(self) -> None:
        self.laps_ms: dict[str, float] = {}
        self.restart()

    def restart(self) -> None:
        """Begin a lap now."""
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a lap and begin the next."""
        now = time.perf_counter()
        self.laps_ms[name] = (now - self._since) * 1000
        self._since = now


def in_chunks(compute: Callable[[slice], T], count: int, chunk: int) -> list[T]:
    """`compute` over 0..count in slices of `chunk`, which halves each time the GPU's memory does not hold one.

    Raises:
        DeviceError: not even one at a time fits.
    """
    parts: list[T] = []
    start = 0
    while start < count:
        try:
            parts.append(compute(slice(start, start + chunk)))
        except torch.OutOfMemoryError as error:
            if chunk <= 1:
                raise DeviceError("The GPU's memory does not hold one image; free some, or use device=cpu.") from error
            chunk = (chunk + 1) // 2
            torch.cuda.empty_cache()
        else:
            start += chunk
    return parts
