"""Where the likely results of a search end: a line that paging, filters and liked photos leave in its place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from app.cli.search_folder import as_text
from app.search.answer_documents import search_answer
from app.search.likely_results import count_likely
from app.search.query_and_answer import Query
from app.search.query_parts import QueryParts
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot
from model.images.opening import open_image
from model.score_rules import LikelyRule, LikelyRules, ScoreRule
from tests.app.conftest import sketch


@pytest.fixture(scope="module")
def snapshot(shared_gallery, network):
    return GallerySnapshot.load(shared_gallery, network.identity)


def searching(monkeypatch, network, snapshot, rule):
    """Ordered by recall alone, so that only what is shown is related."""
    rules = LikelyRules(sketch=rule, sketch_and_more=rule, photo=rule)
    monkeypatch.setattr(
        network, "config", replace(network.config, likely=rules, score=ScoreRule(0.0, recall_weight=5.0))
    )
    return TwoStageSearcher(network, snapshot)


def parts_of(searcher, seed=1, **more):
    return QueryParts(searcher.prepare(open_image(sketch(seed))), **more)


def likely(searcher, parts, query):
    (answer,) = searcher.search_many([parts], [query])
    return [one.likely for one in answer.results]


def amounts_of(searcher, parts):
    """What the query and each result share with the first candidates, in the order of the results; by a plain loop."""
    sketches = searcher.encode(parts.sketch[None])
    query = sketches.descriptor[0].float().numpy()
    (found,) = searcher.recall([searcher.ask(parts, sketches)], [Query(expand=False)])
    photos = {row: searcher.snapshot.searched_descriptors([row])[0] for row in found.rows.tolist()}
    direction = np.mean([photos[row] for row in found.rows[:5].tolist()], axis=0)
    direction /= np.linalg.norm(direction)
    (answer,) = searcher.search_many([parts], [Query(top_k=100, expand=False)])
    return [float(query @ direction) * float(photos[one.row] @ direction) for one in answer.results]


def middle_rule(network, snapshot, monkeypatch):
    """A rule that finds half of the results of a sketch likely, a searcher that follows it, and where its line lies."""
    searcher = searching(monkeypatch, network, snapshot, None)
    amounts = amounts_of(searcher, parts_of(searcher))
    weight = 5 / float(np.std(amounts))
    rule = LikelyRule(weight, -weight * float(np.median(amounts)))
    best, total, line = 0.0, 0.0, 0
    for place, amount in enumerate(amounts, start=1):
        total += 1 / (1 + np.exp(-(rule.weight * amount + rule.bias))) - 0.5
        if total > best:
            best, line = total, place
    assert 0 < line < len(amounts), "the line should lie among the results"
    return searching(monkeypatch, network, snapshot, rule), line


def test_the_line_is_where_a_plain_loop_draws_it_whatever_part_is_shown(network, snapshot, monkeypatch):
    searcher, line = middle_rule(network, snapshot, monkeypatch)
    whole = likely(searcher, parts_of(searcher), Query(top_k=100, expand=False))
    assert whole == [place < line for place in range(len(whole))]
    for offset, top_k in ((0, 2), (0, line + 1), (3, 4), (line, 5)):
        page = likely(searcher, parts_of(searcher), Query(top_k=top_k, offset=offset, expand=False))
        assert page == whole[offset : offset + top_k]


def test_a_deeper_search_leaves_the_line_where_it_is(network, snapshot, monkeypatch):
    monkeypatch.setattr("app.search.likely_results.DEPTH", 8)
    searcher = searching(monkeypatch, network, snapshot, LikelyRule(weight=1e-6, bias=5.0))
    for candidates in (8, 10, 12):
        query = Query(top_k=candidates, candidates=candidates, expand=False)
        assert likely(searcher, parts_of(searcher), query) == [True] * 8 + [False] * (candidates - 8)


def test_deeper_candidates_before_the_line_are_likely_and_do_not_draw_it(monkeypatch):
    monkeypatch.setattr("app.search.likely_results.DEPTH", 4)
    likelihoods = np.array([0.9, 0.9, 0.1, 0.1, 0.9, 0.9], np.float32)
    assert count_likely(likelihoods, np.array([0, 4, 1, 5, 2, 3]), liked=0) == 3
    assert count_likely(likelihoods, np.array([4, 5, 2, 3]), liked=0) == 0
    assert count_likely(likelihoods, np.array([0, 2, 4, 3]), liked=1) == 1


def test_liked_results_are_likely_and_others_need_not_be(network, snapshot, monkeypatch):
    searcher = searching(monkeypatch, network, snapshot, LikelyRule(weight=1e-6, bias=-5.0))
    assert likely(searcher, parts_of(searcher), Query(top_k=4)) == [False] * 4
    assert likely(searcher, parts_of(searcher, like=[3, 5]), Query(top_k=4)) == [True, True, False, False]
    assert [one.likely for one in searcher.similar(3, 4).results] == [False] * 4


def test_without_a_rule_nobody_says_and_with_one_the_documents_do(network, snapshot, monkeypatch):
    plain = TwoStageSearcher(network, snapshot)
    assert likely(plain, parts_of(plain), Query(top_k=3)) == [None] * 3
    searcher, line = middle_rule(network, snapshot, monkeypatch)
    (found,) = searcher.search_many([parts_of(searcher)], [Query(top_k=12, expand=False)])
    timings = dict.fromkeys(("decode", "queue", *found.stages_ms, "total"), 0.0)
    answer = search_answer(found, snapshot, timings_ms=timings, root_path=None)
    assert [one.likely for one in answer.results] == [place < line for place in range(12)]
    assert as_text(answer).splitlines()[line].strip() == "less likely from here:"


def test_a_sketch_of_little_ink_is_said_to_be_one_and_searches_all_the_same(network, snapshot):
    searcher = TwoStageSearcher(network, snapshot)
    line = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(line).line((20, 40, 150, 60), fill="black", width=4)
    answer = searcher.search(line, Query(top_k=3))
    assert answer.little_ink
    assert len(answer.results) == 3
    assert not searcher.search(open_image(sketch(1)), Query(top_k=3)).little_ink
    (refined,) = searcher.search_many([QueryParts(like=[1])], [Query(top_k=3)])
    assert not refined.little_ink
