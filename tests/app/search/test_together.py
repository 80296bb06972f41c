"""Queries that are searched for together against each of them alone, and what happens where the memory is short."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.search.chunks import Chunks
from app.search.explaining import explain_found, explain_rows, prepare_sketch
from app.search.query_and_answer import Query
from app.search.query_parts import QueryParts
from app.search.relating import relate_in_chunks
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot
from index_builder.photo_filter import PhotoFilter
from model.errors import DeviceMemoryError
from model.explain import explain_pairs
from model.images.opening import open_image
from model.score_rules import ContextRule, LikelyRule, LikelyRules, ScoreRule
from model.types import Encoding
from tests.app.conftest import picture, sketch

RULES = {
    "of the checkpoint": None,
    "by recall": ScoreRule(relation_weight=0.0, recall_weight=5.0),
    "by relation": ScoreRule(relation_weight=1.0, recall_weight=0.5),
}
SHORT = torch.OutOfMemoryError("CUDA out of memory")


@pytest.fixture(scope="module")
def snapshot(shared_gallery, network):
    return GallerySnapshot.load(shared_gallery, network.identity)


@pytest.fixture(scope="module")
def pictures(network, snapshot):
    """Four sketches and a photo, prepared."""
    searcher = TwoStageSearcher(network, snapshot)
    return [searcher.prepare(open_image(sketch(seed))) for seed in range(4)], searcher.prepare_photo(picture(5))


@pytest.fixture(scope="module")
def made(network, snapshot, pictures):
    return network, snapshot, pictures


@st.composite
def queries(draw):
    parts = draw(st.sampled_from(["sketch", "sketch and like", "like", "photo"]))
    query = Query(
        top_k=draw(st.integers(1, 13)),
        candidates=draw(st.integers(1, 14)),
        rerank=draw(st.booleans()),
        offset=draw(st.integers(0, 3)),
        collapse=draw(st.booleans()),
        only=PhotoFilter(tags=draw(st.sampled_from([(), ("things",)]))),
    )
    return draw(st.integers(0, 3)), parts, query


def parts_of(pictures, seed, named):
    sketches, photo = pictures
    like = (seed,) if "like" in named else ()
    return QueryParts(sketches[seed] if "sketch" in named else None, None, photo if named == "photo" else None, like)


@pytest.mark.parametrize("rule", RULES)
@given(asked=st.lists(queries(), min_size=2, max_size=6), chunk=st.sampled_from([1, 3, 16, 128]))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_each_is_answered_as_if_alone(made, rule, asked, chunk):
    network, snapshot, pictures = made
    before = network.config
    network.config = before if RULES[rule] is None else replace(before, score=RULES[rule])
    try:
        searcher = TwoStageSearcher(network, snapshot, chunk)
        parts = [parts_of(pictures, seed, named) for seed, named, _ in asked]
        answers = list(searcher.search_many(parts, [query for *_, query in asked]))
        assert len(answers) == len(asked)
        for one, (*_, query), together in zip(parts, asked, answers, strict=True):
            alone = next(TwoStageSearcher(network, snapshot).search_many([one], [query]))
            assert [found.photo for found in together.results] == [found.photo for found in alone.results]
            for found, other in zip(together.results, alone.results, strict=True):  # relations differ, if anything
                assert found.score == pytest.approx(other.score, abs=1e-5)
                assert found.relation_score == (other.relation_score and pytest.approx(other.relation_score, abs=1e-5))
                assert (found.likely, found.recall_rank) == (other.likely, other.recall_rank)
            assert (together.reranked, together.parts, together.little_ink, together.searched) == (
                *(alone.reranked, alone.parts, alone.little_ink, alone.searched),
            )
    finally:
        network.config = before


def test_the_same_relations_give_the_same_answers_to_the_last_bit(network, snapshot, pictures, monkeypatch):
    """Whoever else is put in order at the same time: an order must not depend on how a batch is rounded."""
    rule = ScoreRule(
        relation_weight=1.0, recall_weight=0.5, context=ContextRule(neighbours=3, carried=0.9, own=0.5, place=5)
    )
    likely = LikelyRules(sketch=LikelyRule(weight=3.0, bias=-1.0))
    monkeypatch.setattr(network, "config", replace(network.config, score=rule, likely=likely))
    searcher = TwoStageSearcher(network, snapshot)
    kinds = ["sketch", "sketch and like", "like", "photo", "sketch", "sketch"]
    parts = [parts_of(pictures, number % 4, kind) for number, kind in enumerate(kinds)]
    queries = [Query(candidates=count, context=count != 9) for count in (13, 13, 13, 9, 9, 13)]
    candidates = [one.candidates for one in searcher.begin(parts, queries)]
    draws = np.random.default_rng(4)
    logits = [
        draws.normal(size=len(one.rows)) if "sketch" in kind else None
        for one, kind in zip(candidates, kinds, strict=True)
    ]
    order = searcher.reranking.order
    together = order(candidates, logits, queries)
    assert together == [
        order([one], [own], [query])[0] for one, own, query in zip(candidates, logits, queries, strict=True)
    ]
    assert together[0].results[0].likely is not None


def test_sketches_share_one_reading_and_one_relation(network, snapshot, pictures, monkeypatch):
    searcher = TwoStageSearcher(network, snapshot)
    read, related = [], []
    real = network.relate_each

    def tokens(rows):
        read.append(len(rows))
        return snapshot.encodings(rows)

    def relate(sketches, photos, counts):
        related.append(counts)
        return real(sketches, photos, counts)

    monkeypatch.setattr(searcher.reranking, "tokens", tokens)
    monkeypatch.setattr(network, "relate_each", relate)
    depths = [Query(top_k=5, candidates=5), Query(top_k=13), Query(rerank=False), Query(top_k=2, candidates=2)]
    parts = [parts_of(pictures, seed, "sketch") for seed in range(4)]
    assert len(list(searcher.search_many(parts, depths))) == 4
    assert read == [20]
    assert related == [[5, 13, 2]]


def test_steps_hold_as_many_queries_as_are_related_at_once(network, snapshot, pictures):
    parts = [parts_of(pictures, seed, "sketch") for seed in (0, 1, 2, 3, 0)]
    depths = [Query(top_k=13, candidates=count) for count in (4, 4, 13, 4, 4)]
    for chunk, expected in ((8, [2, 1, 2]), (100, [5]), (1, [1] * 5)):
        searcher = TwoStageSearcher(network, snapshot, chunk)
        assert [len(parts[step]) for step in searcher.steps(searcher.begin(parts, depths))] == expected


def numbers(values):
    column = torch.tensor(values, dtype=torch.float32)[:, None]
    return Encoding(column, column[:, None], torch.zeros(len(values), 0, dtype=torch.int64))


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 100])
def test_every_pair_is_related_once_wherever_a_chunk_ends(chunk):
    rows = [np.array(one, dtype=np.int64) for one in ([3, 1], [], [2], [], [5, 4, 9, 8], [])]

    def relate(sketches, photos, counts):
        assert len(sketches) == len(counts)
        assert sum(counts) == len(photos) <= chunk
        own = sketches.descriptor[:, 0].repeat_interleave(torch.tensor(counts))
        return 100 * own + photos.descriptor[:, 0]

    logits = relate_in_chunks(
        [numbers([number]) for number in range(6)],
        rows,
        tokens=lambda of: numbers(of.tolist()),
        relate=relate,
        chunks=Chunks(chunk),
    )
    assert [own.tolist() for own in logits] == [[3, 1], [], [202], [], [405, 404, 409, 408], []]
    assert relate_in_chunks([], [], tokens=numbers, relate=relate, chunks=Chunks()) == []


@pytest.mark.parametrize("fits", [1, 2, 3, 7])
@pytest.mark.parametrize("error", [SHORT, torch.AcceleratorError("CUDA error: out of memory", 2), MemoryError()])
def test_a_device_without_memory_gets_smaller_chunks_and_is_asked_for_no_more_later(fits, error):
    asked = []

    def compute(part):
        rows = list(range(20))[part]
        asked.append(len(rows))
        if len(rows) > fits:
            raise error
        return rows

    chunks = Chunks(16)
    for _ in range(2):
        assert [row for part in chunks.each(compute, 20) for row in part] == list(range(20))
        assert asked[0] == 16
        assert sum(count > fits for count in asked) <= 4
    assert chunks.size == max(size for size in (1, 2, 4, 8) if size <= fits)


def test_a_device_that_gives_no_memory_back_gets_smaller_chunks_all_the_same(monkeypatch):
    def fail():
        raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")  # PyTorch 2.11 after a failed recording

    def compute(part):
        if len(range(20)[part]) > 3:
            raise SHORT
        return part

    monkeypatch.setattr(torch.cuda, "empty_cache", fail)
    assert len(Chunks(16).each(compute, 20)) == 10


def test_a_device_that_holds_not_even_one_says_so_and_other_errors_pass():
    def compute(_part, error=SHORT):
        raise error

    with pytest.raises(DeviceMemoryError, match="memory"):
        Chunks(8).each(compute, 3)
    with pytest.raises(RuntimeError, match="shapes"):
        Chunks(8).each(lambda part: compute(part, RuntimeError("shapes differ")), 3)


def test_explanations_go_on_with_less_memory(network, snapshot, pictures, monkeypatch):
    searcher = TwoStageSearcher(network, snapshot)
    picture = open_image(sketch(0))
    answer = searcher.search(picture, Query(top_k=5))
    whole = explain_found(searcher, pictures[0][0], answer, slice(5))
    rows = explain_rows(searcher, prepare_sketch(searcher, picture), [3, 0, 7])

    def explain(network, image, sketch, photos):
        if len(photos) > 2:
            raise SHORT
        return explain_pairs(network, image, sketch, photos)

    monkeypatch.setattr("app.search.explaining.explain_pairs", explain)
    assert [one.logit for one in explain_found(searcher, pictures[0][0], answer, slice(5))] == pytest.approx(
        [one.logit for one in whole], abs=1e-5
    )
    again = explain_rows(searcher, prepare_sketch(searcher, picture), [3, 0, 7])
    assert again.recall_scores == pytest.approx(rows.recall_scores, abs=1e-6)
    assert searcher.explained.size == 2
