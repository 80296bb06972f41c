"""Results explained together and from the search's own encoding, against each photo explained by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.search.explaining import correspondence_documents, explain_found, explain_rows, prepare_sketch
from app.search.query_and_answer import Query
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot
from model.explain import PairExplanation
from model.images.opening import open_image
from model.networks.network import Network
from tests.app.conftest import sketch


@pytest.fixture(scope="module")
def searcher(shared_gallery: Path, network: Network) -> TwoStageSearcher:
    return TwoStageSearcher(network, GallerySnapshot.load(shared_gallery, network.identity))


def same(one: PairExplanation, other: PairExplanation) -> None:
    assert one.logit == pytest.approx(other.logit, abs=1e-5)
    pairs = [
        {(match.sketch_patch, match.photo_patch): match for match in side.correspondences} for side in (one, other)
    ]
    assert pairs[0].keys() == pairs[1].keys()
    for place, match in pairs[0].items():
        assert match.mutual == pairs[1][place].mutual
        assert match.weight == pytest.approx(pairs[1][place].weight, abs=1e-5)
        assert match.contribution == pytest.approx(pairs[1][place].contribution, abs=1e-5)


@pytest.mark.parametrize("together", [1, 4, 13])
def test_results_are_explained_as_each_photo_alone(searcher: TwoStageSearcher, together: int) -> None:
    for seed in range(3):
        image = open_image(sketch(seed))
        prepared = searcher.prepare(image)
        answer = searcher.search(image, Query(top_k=13))
        assert len(answer.results) == 13
        pairs: list[PairExplanation] = []
        for start in range(0, 13, together):
            pairs += explain_found(searcher, prepared, answer, slice(start, start + together))
        for found, pair in zip(answer.results, pairs, strict=True):
            alone = explain_rows(searcher, prepare_sketch(searcher, image), [found.row])
            same(pair, alone.pairs[0])
            assert pair.correspondences


def test_several_rows_are_explained_as_each_alone(searcher: TwoStageSearcher) -> None:
    prepared = prepare_sketch(searcher, open_image(sketch(4)))
    together = explain_rows(searcher, prepared, [3, 0, 7])
    for row, pair, cosine in zip([3, 0, 7], together.pairs, together.recall_scores, strict=True):
        alone = explain_rows(searcher, prepared, [row])
        same(pair, alone.pairs[0])
        assert cosine == pytest.approx(alone.recall_scores[0], abs=1e-6)


def test_similar_photos_have_no_sketch_to_explain(searcher: TwoStageSearcher) -> None:
    image = open_image(sketch())
    with pytest.raises(ValueError, match="only results of a sketch"):
        explain_found(searcher, searcher.prepare(image), searcher.similar(0, 3), slice(3))


def test_boxes_lie_in_the_photo(searcher: TwoStageSearcher) -> None:
    pair = explain_rows(searcher, prepare_sketch(searcher, open_image(sketch())), [0]).pairs[0]
    documents = correspondence_documents(searcher, pair, 96, 64)
    assert [one["sketch_patch"] for one in documents] == [match.sketch_patch for match in pair.correspondences]
    for one in documents:
        x, y, width, height = one["photo_box"]
        assert 0 <= x <= x + width <= 1.0001
        assert 0 <= y <= y + height <= 1.0001
