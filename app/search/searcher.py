"""The two-stage searcher: what the command line and the service search with, and what the benchmarks measure.

A search is five calls: `prepare` a sketch, `encode` it, `ask` for photos with all parts of the query, `recall`
candidates and `rerank` them. The last one loads tokens, relates and orders, as far as the query needs it. Only `begin`,
`finish` and `similar` string these calls together, the first two for several queries at once.

A searcher belongs to one network and one version of a gallery and never changes, so a request that keeps its searcher
never mixes versions. It knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from app.search.chunks import Chunks
from app.search.combining import combine
from app.search.query_and_answer import Answer, Asked, Begun, Candidates, Descriptors, Query
from app.search.query_parts import PartName, Picture, QueryParts, Vector
from app.search.recall_stage import RecallStage
from app.search.remembered_encodings import RememberedEncodings
from app.search.rerank_stage import RerankStage
from app.search.stopwatch import Observe, Stopwatch, unobserved
from index_builder import GallerySnapshot
from model.config import NetworkConfig
from model.images.little_ink import has_little_ink
from model.images.preprocess import photo_tensor, sketch_image, sketch_tensor, to_tensor
from model.networks.network import Network
from model.types import Encoding


class TwoStageSearcher:
    """Finds the photos of one gallery version that a sketch shows.

    Args:
        network: encodes sketches and relates them to photos.
        snapshot: one version of a gallery built with that network's checkpoint.
        relation_chunk: pairs related in one step; halved if the device's memory cannot hold them.
        remembered: that network's encodings of named pictures, which versions may share; None remembers none.

    Attributes:
        reranking: the second stage.
        explained: how many pairs are explained in one step.
    """

    def __init__(
        self,
        network: Network,
        snapshot: GallerySnapshot,
        relation_chunk: int = 128,
        remembered: RememberedEncodings | None = None,
    ) -> None:
        self.network = network
        self.snapshot = snapshot
        self._recall = RecallStage(snapshot)
        self.reranking = RerankStage(network, snapshot, self._recall, relation_chunk)
        self._encoded, self.explained = Chunks(), Chunks()
        self._remembered = remembered or RememberedEncodings()

    def search(self, image: Image.Image, query: Query | None = None) -> Answer:
        """All stages for one sketch.

        Raises:
            BlankSketchError: nothing is drawn.
        """
        config = self.network.preprocess
        drawn = sketch_image(image, config)
        parts = QueryParts(to_tensor(drawn, config), little_ink=has_little_ink(drawn))
        return next(self.search_many([parts], [query or Query()]))

    def search_many(self, parts: Sequence[QueryParts], queries: Sequence[Query]) -> Iterator[Answer]:
        """Answers to several queries, one by one.

        Args:
            parts: of Q queries.
            queries: their options.
        """
        begun = self.begin(parts, queries)
        for step in self.steps(begun):
            yield from self.finish(begun[step])

    def begin(
        self, parts: Sequence[QueryParts], queries: Sequence[Query], observe: Observe = unobserved
    ) -> list[Begun]:
        """Encode the pictures of several queries together, and recall their candidates together.

        Args:
            parts: of Q queries.
            queries: their options.
            observe: called with the name and the seconds of each stage.

        Returns:
            Q queries, to be finished in any number and order, or not at all.
        """
        clock = Stopwatch(observe)
        sketches = self.remembered_sketches([one.sketch_picture for one in parts])
        photos = self._remembered.each([one.photo_picture for one in parts], self.encode_photos)
        asked = [self.ask(*one) for one in zip(parts, sketches, photos, strict=True)]  # waits for a GPU
        clock.lap("encode")
        found = self.recall(asked, queries)
        clock.lap("recall")
        return [Begun(*one, clock.laps) for one in zip(parts, queries, sketches, found, strict=True)]

    def steps(self, begun: Sequence[Begun]) -> Iterator[slice]:
        """Which of the queries to finish together: see `RerankStage.steps`."""
        return self.reranking.steps(begun)

    def finish(self, begun: Sequence[Begun], observe: Observe = unobserved) -> list[Answer]:
        """Rerank the candidates of several queries together.

        Args:
            begun: some of what `begin` gave.
            observe: as of `begin`.
        """
        clock = Stopwatch(observe)
        answers = self.rerank(
            [one.sketch for one in begun], [one.candidates for one in begun], [one.query for one in begun]
        )
        clock.lap("rerank")
        return [
            replace(
                answer,
                stages={**one.laps, **clock.laps},
                parts=one.parts.used,
                little_ink=one.parts.little_ink,
            )
            for one, answer in zip(begun, answers, strict=True)
        ]

    def rerank(
        self, sketches: Sequence[Encoding | None], candidates: Sequence[Candidates], queries: Sequence[Query]
    ) -> list[Answer]:
        """The candidates of Q queries in their final order: see `RerankStage.rerank`."""
        return self.reranking.rerank(sketches, candidates, queries)

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
            parts = self._encoded.each(lambda part: self.network.encode_sketch(sketches[part]), len(sketches))
            return Encoding.concatenate(parts)

    def remembered_sketches(self, sketches: Sequence[Picture | None]) -> list[Encoding | None]:
        """Encodings of length 1 of the sketches that are there; those that are not remembered are encoded together."""
        return self._remembered.each(sketches, self.encode)

    def encode_photos(self, photos: Tensor) -> Encoding:
        """Encodings of photos [Q, 3, S, S]."""
        with torch.inference_mode():
            parts = self._encoded.each(lambda part: self.network.encode_photo(photos[part]), len(photos))
            return Encoding.concatenate(parts)

    def ask(self, parts: QueryParts, sketch: Encoding | None = None, photo: Encoding | None = None) -> Asked:
        """What to look for: the parts of a query as one vector.

        Args:
            parts: of the query.
            sketch, photo: encodings of length 1 of its pictures that count, or None.
        """
        vectors: dict[PartName, Vector] = {}
        if sketch is not None:
            vectors["sketch"] = sketch.descriptor[0].float().cpu().numpy().copy()  # not what is remembered
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

    def similar(self, row: int, top_k: int) -> Answer:
        """Photos like that of `row`, which is left out: a query that likes this photo alone, looked up once."""
        asked = replace(self.ask(QueryParts(like=[row])), liked=(), left_out=(row,))
        query = Query(top_k=top_k, candidates=max(Query.candidates, top_k), expand=False)
        return self.reranking.order(self.recall([asked], [query]), [None], [query])[0]


def _unit(vector: Vector) -> Vector:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
