"""What a search is asked, and what each of its stages answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from app.search.combining import Combined
from app.search.query_parts import PartName, QueryParts
from app.search.stopwatch import Lap
from index_builder import PhotoRecord
from index_builder.photo_filter import ALL_PHOTOS, PhotoFilter
from model.score_rules import QueryKind
from model.types import Encoding

Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]
Descriptors = npt.NDArray[np.float32]
Logits = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Query:
    """The options of one search.

    Attributes:
        top_k: results wanted.
        candidates: depth of the recall stage.
        rerank: order by the checkpoint's rule, for which the candidates' tokens are compared if there is a sketch;
            otherwise the recall score alone decides.
        offset: results to skip.
        min_score: leave out results with a lower score; None keeps all.
        only: which photos are searched.
        expand: widen the query by its first hits, if the checkpoint declares an expansion rule.
        context: let the candidates' scores heed each other, if the checkpoint's rule says so.
        collapse: of near-identical results, only the best one stays.
    """

    top_k: int = 20
    candidates: int = 100
    rerank: bool = True
    offset: int = 0
    min_score: float | None = None
    only: PhotoFilter = ALL_PHOTOS
    expand: bool = True
    context: bool = True
    collapse: bool = False


@dataclass(frozen=True, eq=False)
class Asked:
    """What the recall stage looks for.

    Attributes:
        combined: the vector that is searched with.
        liked: rows that come first wherever the query lets them through.
        left_out: rows that are not found at all.
        kind: which of the checkpoint's rules is meant for it.
    """

    combined: Combined
    liked: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()
    kind: QueryKind = "sketch"

    @property
    def by_direction(self) -> bool:
        """Whether the directions of descriptors alone are compared. Familiar photos have shorter ones
        (`model/layers/familiarity.py`), which is meant for sketches and words, not for photos among photos."""
        return self.kind == "photo"

    @staticmethod
    def of_sketch(sketch: Encoding) -> Asked:
        """A sketch alone, by its encoding of length 1."""
        return Asked(Combined.of_one(sketch.descriptor[0].float().cpu().numpy()))


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the recall stage found for one query: the liked photos, then the others, each best first.

    Attributes:
        rows: [C] int64, rows of the snapshot.
        scores: [C] float32 in [-1, 1], inner products with the descriptor that searched last.
        searched: photos looked at: the gallery's, or those that the query lets through.
        recall_ranks: [C] int64 from 1, places by score; None where that is the order of `rows`.
        liked: how many come first whatever their score is.
        asked: the query as it searched last; None for a sketch alone of which nobody asks for contributions.
    """

    rows: Rows
    scores: Scores
    searched: int
    recall_ranks: Rows | None = None
    liked: int = 0
    asked: Asked | None = None

    @property
    def kind(self) -> QueryKind:
        """Of the query."""
        return "sketch" if self.asked is None else self.asked.kind


@dataclass(frozen=True, eq=False)
class Begun:
    """A query whose candidates are found, but not reranked yet.

    Attributes:
        parts: what it is made of.
        query: its options.
        sketch: the sketch's encoding, length 1; None without a sketch.
        candidates: what the recall stage found.
        laps: when the stages so far began and ended.
    """

    parts: QueryParts
    query: Query
    sketch: Encoding | None
    candidates: Candidates
    laps: Mapping[str, Lap]


@dataclass(frozen=True)
class Found:
    """One photo found.

    Attributes:
        rank: from 1, counted over all results, skipped ones included.
        row: of the snapshot.
        photo: what the gallery knows of it.
        score: what the results are ordered by, but for liked photos, which come first.
        relation_score: the relation network's probability, or None without rerank.
        recall_score: inner product of the photo's descriptor and the one that searched, the query's or its expansion.
        recall_rank: from 1, in the recall stage.
        contributions: part of the query, or "expansion" -> its share of the recall score.
        duplicates: near-identical candidates that it stands for, best first; None if nobody asked to collapse.
        likely: whether it stands before the line behind which results are less likely; None where the checkpoint has
            no rule for that.
    """

    rank: int
    row: int
    photo: PhotoRecord
    score: float
    relation_score: float | None
    recall_score: float
    recall_rank: int
    contributions: dict[str, float] = field(default_factory=dict)
    duplicates: tuple[PhotoRecord, ...] | None = None
    likely: bool | None = None


@dataclass(frozen=True)
class Answer:
    """What one search found.

    Attributes:
        results: in order.
        searched: photos the recall stage looked at.
        stages: when `encode`, `recall` and `rerank` began and ended; the first two are of the whole batch it ran in.
        sketch: the sketch's encoding, length 1, from which its results can be explained; None without a sketch.
        parts: the parts of the query that counted -> their weights.
        reranked: whether candidates were compared in detail.
        little_ink: whether the sketch is a dot or a straight line, which tells hardly anything.
    """

    results: list[Found]
    searched: int
    stages: dict[str, Lap] = field(default_factory=dict)
    sketch: Encoding | None = None
    parts: dict[PartName, float] = field(default_factory=dict)
    reranked: bool = False
    little_ink: bool = False

    @property
    def stages_ms(self) -> dict[str, float]:
        """Milliseconds of each stage."""
        return {name: lap.milliseconds for name, lap in self.stages.items()}
