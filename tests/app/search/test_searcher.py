"""The two-stage searcher against slow and simple ways to compute the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from app.search.query_and_answer import Asked, Candidates, Query
from app.search.query_parts import QueryParts
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot
from index_builder.photo_filter import PhotoFilter
from model.evaluation.arms import Arms, checkpoint_fusion, expanded_queries
from model.images.opening import open_image
from model.score_rules import ContextRule, ExpansionRule, ScoreRule
from tests.app.conftest import sketch


@pytest.fixture(scope="module")
def snapshot(shared_gallery, network):
    return GallerySnapshot.load(shared_gallery, network.identity)


@pytest.fixture(scope="module")
def searcher(snapshot, network):
    return TwoStageSearcher(network, snapshot)


def image(seed=0):
    return open_image(sketch(seed))


def naive(network, snapshot, picture, candidates):
    """Every photo by its cosine, then the best of them one pair at a time."""
    encoding = network.encode_sketch(TwoStageSearcher(network, snapshot).prepare(picture)[None])
    rows = range(len(snapshot))
    cosines = {r: float(snapshot.descriptors([r])[0] @ encoding.descriptor[0].detach().numpy()) for r in rows}
    best = sorted(rows, key=lambda r: (-cosines[r], r))[:candidates]
    with torch.inference_mode():
        logits = {r: network.relate(encoding, snapshot.encodings([r])).logit[0, 0].double() for r in best}
    scores = {r: float(network.score(logits[r], torch.tensor(cosines[r], dtype=torch.float64))) for r in best}
    return [(r, scores[r]) for r in sorted(best, key=lambda r: (-scores[r], r))]


@pytest.mark.parametrize("candidates", [1, 4, 13, 100])
def test_two_stages_find_what_a_naive_loop_finds(searcher, snapshot, network, candidates):
    for seed in range(4):
        expected = naive(network, snapshot, image(seed), candidates)
        found = searcher.search(image(seed), Query(top_k=100, candidates=candidates)).results
        assert [one.score for one in found] == pytest.approx([score for _, score in expected], abs=1e-5)
        assert {one.row for one in found} == {row for row, _ in expected}


@pytest.mark.parametrize("tags", [(), ("things",)])
def test_expanded_queries_find_what_the_evaluation_finds(network, snapshot, monkeypatch, tags):
    """Two searches through FAISS against whole rankings; with tags, the first hits have the tags too."""
    rule = ExpansionRule(neighbours=3, weight=2.0)
    monkeypatch.setattr(network, "config", replace(network.config, score=ScoreRule(expansion=rule)))
    searcher = TwoStageSearcher(network, snapshot)
    only = PhotoFilter(tags=tags)
    chosen = snapshot.select(only)
    rows = np.arange(len(snapshot)) if chosen is None else np.flatnonzero(chosen.mask)
    photos = torch.tensor(snapshot.descriptors(rows))
    for seed in range(4):
        encoding = searcher.encode(searcher.prepare(image(seed))[None])
        asked = expanded_queries(encoding.descriptor.detach(), photos, torch.arange(len(rows)), rule)
        cosines = (asked @ photos.T)[0]
        best = cosines.argsort(descending=True)
        found = searcher.search(image(seed), Query(rerank=False, only=only)).results
        assert [one.recall_score for one in found] == pytest.approx(cosines[best[: len(found)]].tolist(), abs=2e-3)
        assert {one.row for one in found} <= set(rows.tolist())
    mixed = [Query(only=only, expand=False), Query(only=only), Query(only=only, expand=False)]
    together = searcher.recall([Asked.of_sketch(encoding)] * 3, mixed)
    assert together[0].scores[0] != pytest.approx(together[1].scores[0], abs=1e-4)
    assert (together[0].scores == together[2].scores).all()
    plain = searcher.recall([Asked.of_sketch(encoding)], [Query(only=only, expand=False)])
    assert plain[0].scores[0] == pytest.approx(float((photos @ encoding.descriptor[0].detach()).max()), abs=2e-3)


@pytest.mark.parametrize("collapse", [False, True])
def test_only_what_is_shown_is_related_where_the_rule_gives_the_relation_no_weight(
    network, snapshot, monkeypatch, collapse
):
    rule = ScoreRule(relation_weight=0.0, recall_weight=5.0, bias=-1.0)
    monkeypatch.setattr(network, "config", replace(network.config, score=rule))
    searcher = TwoStageSearcher(network, snapshot)
    related = []

    def relate(_, photos, __):
        related.append(len(photos))
        return torch.zeros(len(photos))

    monkeypatch.setattr(searcher.reranking, "relate", relate)
    query = Query(top_k=4, offset=0 if collapse else 2, candidates=13, collapse=collapse)
    answer = searcher.search(image(1), query)
    assert answer.reranked
    assert 0 < len(answer.results) <= 4
    assert related == [len(answer.results)]
    plain = searcher.search(image(1), replace(query, rerank=False)).results
    assert [one.photo for one in answer.results] == [one.photo for one in plain]
    assert all(one.relation_score == 0.5 for one in answer.results)


def test_all_are_related_where_the_rule_turns_the_order_round(network, snapshot, monkeypatch):
    monkeypatch.setattr(network, "config", replace(network.config, score=ScoreRule(0.0, recall_weight=-5.0)))
    searcher = TwoStageSearcher(network, snapshot)
    found = searcher.search(image(1), Query(top_k=4, candidates=13, expand=False)).results
    assert [one.recall_rank for one in found] == [13, 12, 11, 10]


def test_batched_equals_single(searcher):
    filtered = Query(only=PhotoFilter(tags=("things",)))
    queries = [Query(top_k=13), Query(top_k=3, candidates=5), Query(rerank=False), filtered, Query()]
    tensors = [searcher.prepare(image(seed)) for seed in range(len(queries))]
    together = list(searcher.search_many([QueryParts(one) for one in tensors], queries))
    for tensor, query, batched in zip(tensors, queries, together, strict=True):
        (single,) = searcher.search_many([QueryParts(tensor)], [query])
        assert [one.photo for one in batched.results] == [one.photo for one in single.results]
        assert [one.score for one in batched.results] == pytest.approx([one.score for one in single.results], abs=1e-5)
        assert batched.searched == single.searched


def test_chunked_equals_whole(network, snapshot, searcher):
    whole = searcher.search(image(2), Query(top_k=13)).results
    for chunk in (1, 2, 5):
        chunked = TwoStageSearcher(network, snapshot, relation_chunk=chunk).search(image(2), Query(top_k=13)).results
        assert [one.photo for one in chunked] == [one.photo for one in whole]
        assert [one.score for one in chunked] == pytest.approx([one.score for one in whole], abs=1e-5)


def test_exact_ties_come_newest_first_and_then_by_photo_id(searcher):
    rows = np.array([5, 2, 9, 0])
    candidates = Candidates(rows, np.ones(4, np.float32), 13)
    found = searcher.reranking.order([candidates], [np.full(4, 0.5)], [Query()])[0].results
    taken = [(-one.photo.taken.timestamp(), one.photo.photo_id) for one in found]
    assert taken == sorted(taken)
    assert {one.row for one in found} == set(rows.tolist())


def test_scores_near_one_are_told_apart(searcher):
    """In float32 the sigmoid of 18 and of 20 is 1.0 alike, which would leave the order to chance."""
    rows = np.array([1, 2, 3])
    candidates = Candidates(rows, np.zeros(3, np.float32), 13)
    found = searcher.reranking.order([candidates], [np.array([18.0, 20.0, 19.0])], [Query()])[0].results
    assert [one.row for one in found] == [2, 3, 1]
    assert len({one.score for one in found}) == 3


def test_similar_photos_are_those_of_a_naive_loop(searcher, snapshot):
    descriptors = snapshot.descriptors(range(13))
    cosines = descriptors @ descriptors[4]
    expected = sorted((row for row in range(13) if row != 4), key=lambda row: (-cosines[row], row))[:5]
    found = searcher.similar(4, 5).results
    assert [one.row for one in found] == expected
    assert [one.rank for one in found] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("expand", [True, False])
def test_candidates_heed_each_other_as_in_the_evaluation(network, snapshot, monkeypatch, expand):
    expansion = ExpansionRule(neighbours=3, weight=2.0)
    rule = ScoreRule(1.0, 2.0, expansion=expansion, context=ContextRule(neighbours=3, place=5))
    monkeypatch.setattr(network, "config", replace(network.config, score=rule))
    searcher = TwoStageSearcher(network, snapshot)
    every = torch.arange(len(snapshot))
    photos = torch.from_numpy(snapshot.searched_descriptors(every.numpy()))
    changed = 0
    for seed in range(6):
        sketches = searcher.encode(searcher.prepare(image(seed))[None])
        asked = expanded_queries(sketches.descriptor, photos, every, expansion) if expand else sketches.descriptor
        with torch.inference_mode():
            logits = network.relate(sketches, snapshot.encodings(every.numpy())).logit
        arms = Arms(asked, photos, every, logits=logits, drawn=sketches.descriptor if expand else None)
        expected = arms.two_stage(8, checkpoint_fusion(network))(torch.tensor([0]))[0, :8].tolist()
        found = searcher.search(image(seed), Query(top_k=8, candidates=8, expand=expand)).results
        assert [one.row for one in found] == expected
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        alone = searcher.search(image(seed), Query(top_k=8, candidates=8, expand=expand, context=False)).results
        changed += [one.row for one in alone] != expected
    assert bool(changed) == expand  # the rule was chosen for expanded queries
