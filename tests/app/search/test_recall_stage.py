"""The recall stage over more photos than a query looks through: every query finds what it finds alone."""

from collections.abc import Sequence

import numpy as np
import pytest

from app.search.combining import Combined
from app.search.query_and_answer import Asked, Query
from app.search.recall_stage import RecallStage
from model.score_rules import ExpansionRule

PHOTOS, WIDTH = 3000, 8


class Shortened:
    """A gallery of photos of which some have shorter descriptors, searched exactly."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        units = rng.normal(size=(PHOTOS, WIDTH))
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        self.descriptors = (units * rng.uniform(0.3, 1, (PHOTOS, 1))).astype(np.float32)
        self.newest_first = np.arange(PHOTOS)

    def __len__(self) -> int:
        return PHOTOS

    def select(self, only: object, left_out: object) -> None:
        del only, left_out

    def searched_descriptors(self, rows: Sequence[int]) -> np.ndarray:
        return self.descriptors[rows]

    def recall(self, queries: np.ndarray, k: int, selection: None) -> tuple[np.ndarray, np.ndarray]:
        del selection
        scores = queries @ self.descriptors.T
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return rows, np.take_along_axis(scores, rows, axis=1)


@pytest.fixture
def stage():
    return RecallStage(Shortened())  # type: ignore[arg-type]


def asked(seed, kind):
    vector = np.random.default_rng(seed).normal(size=WIDTH)
    return Asked(Combined.of_one((vector / np.linalg.norm(vector)).astype(np.float32)), kind=kind)


@pytest.mark.parametrize("kind", ["sketch", "photo"])
def test_what_others_ask_beside_it_changes_no_query(stage, kind):
    many, depths = [asked(seed, kind) for seed in range(4)], [5, 1000, 40, 300]
    queries = [Query(candidates=depth, expand=False) for depth in depths]
    together = stage.find(many, queries, lambda _: ExpansionRule())
    for one, query, found in zip(many, queries, together, strict=True):
        (alone,) = stage.find([one], [query], lambda _: ExpansionRule())
        assert found.rows.tolist() == alone.rows.tolist()
        assert len(found.rows) == query.candidates
        np.testing.assert_allclose(found.scores, alone.scores, rtol=1e-6)
