"""What a search is asked, and what each of its stages answers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from index_builder import PhotoRecord
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
        rerank: compare the candidates' tokens; otherwise the recall score alone decides.
        offset: results to skip.
        min_score: leave out results with a lower score; None keeps all.
        tags: only photos with any of these; () searches all.
        expand: widen the query by its first hits, if the checkpoint declares an expansion rule.
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
        rank: from 1, counted over all results, skipped ones included.
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
        sketch: the sketch's encoding, length 1, from which its results can be explained; None if a photo searched.
    """

    results: list[Found]
    searched: int
    stages_ms: dict[str, float] = field(default_factory=dict)
    sketch: Encoding | None = None
