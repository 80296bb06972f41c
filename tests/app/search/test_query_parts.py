"""Queries of several parts against slow and simple ways to compute the same, and what a person may rely on."""

import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.search.preparing import prepare_parts
from app.search.query_and_answer import Query
from app.search.query_parts import PartWeights, QueryParts
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot
from index_builder.gallery_errors import UnknownPhotoError
from index_builder.photo_filter import PhotoFilter
from model.images.limits import ImageLimits
from model.images.opening import open_image
from model.images.preprocess import photo_tensor
from model.images.sent_picture import SentPicture
from model.score_rules import ExpansionRule, KindRules, ScoreRule
from tests.app.conftest import encoded, picture, sketch

ALL = Query(top_k=13)
RECALL = Query(top_k=13, rerank=False)


@pytest.fixture(scope="module")
def searcher(shared_gallery, network):
    return TwoStageSearcher(network, GallerySnapshot.load(shared_gallery, network.identity))


@pytest.fixture(scope="module")
def drawn(searcher):
    return searcher.prepare(open_image(sketch(3)))


@pytest.fixture(scope="module")
def shown(searcher):
    return searcher.prepare_photo(picture(5))


def found(searcher, parts, query=ALL):
    return next(searcher.search_many([parts], [query]))


def rows(answer):
    return [one.row for one in answer.results]


def test_a_sketch_alone_is_bit_for_bit_what_it_was(searcher, drawn):
    encoding = searcher.encode(drawn[None])
    own = encoding.descriptor[0].float().numpy()
    (scores,) = searcher.snapshot.recall(own[None], 13)[1]
    for weight in (1.0, 7.5):
        answer = found(searcher, QueryParts(drawn, weights=PartWeights(sketch=weight)), RECALL)
        assert [one.recall_score for one in answer.results] == scores.tolist()
        assert answer.parts == {"sketch": weight}
        assert [one.contributions for one in answer.results] == [{"sketch": one.recall_score} for one in answer.results]


def test_parts_meet_in_descriptor_space(searcher, drawn, shown, network):
    """Everything at once, number by number."""
    words = np.zeros(network.descriptor_size, np.float32)
    words[2] = 1
    weights = PartWeights(sketch=2, text=0.5, photo=1.5, like=3, unlike=0.5)
    answer = found(searcher, QueryParts(drawn, words, shown, [1, 4], [6], weights), RECALL)
    photos = searcher.snapshot.searched_descriptors(range(13))
    photos /= np.linalg.norm(photos, axis=1, keepdims=True)
    with torch.inference_mode():
        own = network.encode_sketch(drawn[None]).descriptor[0].numpy()
        other = network.encode_photo(shown[None]).descriptor[0].numpy()
    liked = photos[[1, 4]].mean(axis=0)
    wanted = 2 * own + 0.5 * words + 1.5 * other / np.linalg.norm(other) + 3 * liked / np.linalg.norm(liked)
    asked = wanted - 0.15 * np.linalg.norm(wanted) * photos[6]
    scores = photos @ (asked / np.linalg.norm(asked))
    others = sorted({*range(13)} - {1, 4, 6}, key=lambda row: -scores[row])
    assert rows(answer) == [*sorted([1, 4], key=lambda row: -scores[row]), *others]
    assert answer.searched == 12
    for one in answer.results:
        assert one.recall_score == pytest.approx(scores[one.row], abs=2e-3)
        assert sum(one.contributions.values()) == pytest.approx(one.recall_score, abs=1e-4)
        assert one.contributions.keys() == {"sketch", "text", "photo", "like", "unlike"}


def test_a_photo_finds_itself(searcher):
    for row in (0, 7, 12):
        data = searcher.snapshot.file_of(row).read_bytes()
        sent = SentPicture("photo", data)
        parts = prepare_parts(searcher, photo=partial(sent.pixels, searcher.network.preprocess, ImageLimits()))
        answer = found(searcher, parts)
        assert rows(answer)[0] == row
        assert answer.results[0].score == pytest.approx(1, abs=2e-3)
        assert (answer.reranked, answer.sketch) == (False, None)


def test_only_a_sketch_is_related(searcher, drawn, shown):
    assert found(searcher, QueryParts(drawn, photo=shown)).reranked
    for parts in (QueryParts(photo=shown), QueryParts(like=[3]), QueryParts(drawn, like=[3], weights=PartWeights(0))):
        answer = found(searcher, parts)
        assert not answer.reranked
        assert all(one.relation_score is None and one.score == one.recall_score for one in answer.results)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    like=st.sets(st.integers(0, 12), max_size=4),
    unlike=st.sets(st.integers(0, 12), max_size=4),
    rerank=st.booleans(),
    candidates=st.integers(1, 13),
    weight=st.floats(0.1, 10),
)
def test_no_liked_photo_is_lost_and_no_unliked_one_stays(*, searcher, drawn, like, unlike, rerank, candidates, weight):
    unlike -= like
    parts = QueryParts(drawn, like=list(like), unlike=list(unlike), weights=PartWeights(like=weight, unlike=weight))
    answer = found(searcher, parts, Query(top_k=13, candidates=candidates, rerank=rerank, expand=False))
    assert set(rows(answer)[: len(like)]) == like
    assert not set(rows(answer)) & unlike
    assert len({*rows(answer)}) == len(answer.results) >= min(candidates, 13 - len(unlike))
    ranks = [one.recall_rank for one in answer.results]
    assert sorted(ranks) == list(range(1, len(ranks) + 1))
    by_recall = sorted(answer.results, key=lambda one: one.recall_rank)
    assert all(a.recall_score >= b.recall_score - 1e-6 for a, b in itertools.pairwise(by_recall))


@pytest.mark.parametrize("rerank", [True, False])
def test_liking_the_first_result_never_lowers_it(searcher, rerank):
    query = Query(top_k=13, rerank=rerank, expand=False)
    for seed in range(4):
        drawn = searcher.prepare(open_image(sketch(seed)))
        before = found(searcher, QueryParts(drawn), query)
        first = before.results[0]
        for weight in (0.2, 1.0, 10.0):
            parts = QueryParts(drawn, like=[first.row], weights=PartWeights(like=weight))
            after = found(searcher, parts, query).results[0]
            assert after.row == first.row
            assert after.recall_score >= first.recall_score - 1e-3


def test_an_unliked_photo_sinks_with_those_like_it(searcher, drawn):
    before = found(searcher, QueryParts(drawn), RECALL)
    worst = before.results[2].row
    near = searcher.similar(worst, 1).results[0].row
    score = {one.row: one.recall_score for one in before.results}
    after = {one.row: one.recall_score for one in found(searcher, QueryParts(drawn, unlike=[worst]), RECALL).results}
    assert worst not in after
    assert after[near] < score[near]


def test_the_filter_decides_about_liked_photos_too(searcher, drawn):
    things = {row for row in range(13) if "things" in searcher.snapshot.photo(row).tags}
    other = min({*range(13)} - things)
    answer = found(searcher, QueryParts(drawn, like=[other, min(things)]), Query(only=PhotoFilter(tags=("things",))))
    assert set(rows(answer)) == things
    assert rows(answer)[0] == min(things)


def test_a_liked_photo_comes_first_on_the_first_page_alone(searcher, drawn):
    last = found(searcher, QueryParts(drawn), ALL).results[-1].row
    parts = QueryParts(drawn, like=[last], weights=PartWeights(like=0.01))
    whole = found(searcher, parts, ALL)
    pages = [found(searcher, parts, Query(top_k=4, offset=offset, candidates=13)) for offset in (0, 4, 8, 12)]
    assert rows(whole)[0] == last
    assert [row for page in pages for row in rows(page)] == rows(whole)


@pytest.mark.parametrize("candidates", [2, 13])
def test_batched_equals_single(searcher, drawn, shown, candidates):
    many = [
        QueryParts(drawn),
        QueryParts(photo=shown),
        QueryParts(drawn, photo=shown, like=[3]),
        QueryParts(like=[1, 2], unlike=[5]),
        QueryParts(searcher.prepare(open_image(sketch(8))), unlike=[5]),
    ]
    query = Query(top_k=13, candidates=candidates)
    for parts, batched in zip(many, searcher.search_many(many, [query] * len(many)), strict=True):
        single = found(searcher, parts, query)
        assert rows(batched) == rows(single)
        assert [one.score for one in batched.results] == pytest.approx([one.score for one in single.results], abs=1e-5)
        assert batched.parts == single.parts


def test_what_is_not_in_the_gallery_cannot_be_liked(searcher):
    with pytest.raises(UnknownPhotoError, match="`unlike`"):
        prepare_parts(searcher, photo=partial(picture, 1), unlike=["nothing-like-it"])


def test_a_photo_is_prepared_as_the_gallery_prepares_photos(searcher):
    opened = open_image(encoded(picture(1)))
    assert (searcher.prepare_photo(opened) == photo_tensor(opened, searcher.network.preprocess)).all()


PHOTO_RULE = ScoreRule(0.0, 5.0, -2.0)
MIXED_RULE = ScoreRule(0.0, 3.0, 0.5, expansion=ExpansionRule(neighbours=3, weight=2.0))


@pytest.fixture
def ruled(searcher, network, monkeypatch):
    """The same searcher, of a checkpoint with rules for queries that are more than a sketch."""
    kinds = KindRules(sketch_and_more=MIXED_RULE, text=replace(PHOTO_RULE, bias=1.0), photo=PHOTO_RULE)
    monkeypatch.setattr(network, "config", replace(network.config, kinds=kinds))
    return searcher


def test_each_kind_of_query_has_its_own_rule(ruled, drawn, shown, network):
    words = np.eye(1, network.descriptor_size, dtype=np.float32)[0]
    cases = (
        (QueryParts(photo=shown), -2.0, 5.0),
        (QueryParts(like=[2]), -2.0, 5.0),
        (QueryParts(text=words, photo=shown), 1.0, 5.0),
        (QueryParts(drawn, text=words), 0.5, 3.0),
        (QueryParts(drawn, like=[2]), 0.5, 3.0),
    )
    for parts, bias, slope in cases:
        answer = found(ruled, parts)
        assert answer.reranked == (parts.sketch is not None)
        for one in answer.results:
            assert one.score == pytest.approx(1 / (1 + np.exp(-(slope * one.recall_score + bias))), abs=1e-6)
        plain = found(ruled, parts, RECALL)
        assert all(one.score == one.recall_score for one in plain.results)
    alone = found(ruled, QueryParts(drawn, unlike=[2]))
    assert [one.score for one in alone.results] == pytest.approx([one.relation_score for one in alone.results])


def test_each_kind_of_query_has_its_own_expansion(ruled, drawn, shown):
    both = QueryParts(drawn, photo=shown)
    assert "expansion" in found(ruled, both).results[0].contributions
    for parts, query in ((both, replace(ALL, expand=False)), (QueryParts(drawn), ALL), (QueryParts(photo=shown), ALL)):
        assert "expansion" not in found(ruled, parts, query).results[0].contributions
