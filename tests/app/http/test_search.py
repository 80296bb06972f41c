"""POST /search: three ways to send a sketch, and every option."""

import base64
import threading
from dataclasses import replace
from datetime import datetime

import pytest

from app.search import explaining
from app.search.query_and_answer import Query
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot
from model.images.opening import open_image
from model.images.sent_picture import SentPicture
from model.score_rules import ContextRule, ExpansionRule
from tests.app.conftest import service_in, sketch, wait_until

STROKES = [[[0, 50, 100], [0, 80, 10]], [[5, 90], [90, 90]]]


def search(service, data=None, **fields):
    answer = service.post("/search", files={"sketch": ("a.png", data or sketch())}, data=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_form_finds_photos_with_everything_the_interface_promises(service):
    answer = search(service, top_k="5")
    assert answer.keys() == {
        "results", "timings_ms", "gallery_version", "checkpoint", "reranked", "parts", "little_ink",
        "total_photos", "as_of",
    }  # fmt: skip
    assert not answer["little_ink"]
    assert answer["timings_ms"].keys() == {"decode", "queue", "encode", "recall", "rerank", "total"}
    assert answer["timings_ms"]["total"] >= answer["timings_ms"]["encode"] > 0
    assert (answer["checkpoint"], answer["reranked"], answer["total_photos"]) == ("zse-tiny", True, 13)
    assert [result["rank"] for result in answer["results"]] == [1, 2, 3, 4, 5]
    first = answer["results"][0]
    assert first["url"] == f"/photos/{first['photo_id']}"
    assert first["thumbnail_url"] == first["url"] + "/thumbnail"
    assert (first["width"], first["height"]) == (96, 64)
    assert first["tags"][0] in ("animals", "things")
    assert 0 <= first["relation_score"] <= 1
    assert -1 <= first["recall_score"] <= 1
    assert first["likely"] is None, "this checkpoint was not calibrated"


def test_the_order_is_that_of_the_scores_with_ties_newest_first(service):
    results = search(service)["results"]
    assert len(results) == 13
    taken = [datetime.fromisoformat(result["taken"]).timestamp() for result in results]
    places = [(-result["score"], -when) for result, when in zip(results, taken, strict=True)]
    assert places == sorted(places)


def test_the_service_finds_what_the_searcher_finds(service, shared_gallery, network):
    snapshot = GallerySnapshot.load(shared_gallery, network.identity)
    expected = TwoStageSearcher(network, snapshot).search(open_image(sketch(3)), Query(top_k=13)).results
    found = search(service, sketch(3), top_k="13")["results"]
    assert [one["photo_id"] for one in found] == [one.photo.photo_id for one in expected]
    assert [one["score"] for one in found] == pytest.approx([one.score for one in expected], abs=1e-6)


def test_without_rerank_the_recall_score_decides(service):
    results = search(service, rerank="false")["results"]
    assert [result["recall_rank"] for result in results] == list(range(1, 14))
    assert all(result["relation_score"] is None and result["score"] == result["recall_score"] for result in results)


def test_a_query_is_expanded_where_the_checkpoint_says_so_and_the_client_does_not_forbid_it(
    service, network, monkeypatch
):
    fields = {"rerank": "false", "top_k": "13"}
    alone = search(service, sketch(3), **fields)["results"]
    rule = ExpansionRule(neighbours=4, weight=2.0)
    monkeypatch.setattr(network, "config", replace(network.config, score=replace(network.config.score, expansion=rule)))
    expanded = search(service, sketch(3), **fields)["results"]
    assert expanded[0]["recall_score"] > alone[0]["recall_score"] + 1e-3
    assert search(service, sketch(3), expand="false", **fields)["results"] == alone


def test_candidates_heed_each_other_where_the_checkpoint_says_so_and_the_client_does_not_forbid_it(
    service, network, monkeypatch
):
    alone = search(service, sketch(3), top_k="13")["results"]
    rule = replace(network.config.score, context=ContextRule(neighbours=3, own=0.0))
    monkeypatch.setattr(network, "config", replace(network.config, score=rule))
    heeded = search(service, sketch(3), top_k="13")["results"]
    assert [one["score"] for one in heeded] != pytest.approx([one["score"] for one in alone], abs=1e-6)
    assert search(service, sketch(3), top_k="13", context="false")["results"] == alone


def test_pages_are_slices_of_the_whole_list(service):
    whole = search(service, top_k="13")["results"]
    page = search(service, top_k="4", offset="3", candidates="50")["results"]
    assert [(one["rank"], one["photo_id"]) for one in page] == [(one["rank"], one["photo_id"]) for one in whole[3:7]]
    assert search(service, offset="60")["results"] == []


def test_min_score_leaves_out_the_rest(service):
    whole = search(service, rerank="false")["results"]
    limit = whole[4]["score"]
    assert len(search(service, rerank="false", min_score=str(limit - 1e-7))["results"]) == 5


def test_candidates_bound_what_is_compared(service):
    results = search(service, candidates="3", top_k="3")["results"]
    assert sorted(result["recall_rank"] for result in results) == [1, 2, 3]


def test_tags_filter_and_several_add_up(service):
    small = search(service, tag="small")
    assert [result["path"] for result in small["results"]] == ["things/small/tiny.png"]
    assert small["total_photos"] == 1
    assert search(service, tag=["small", "animals"])["total_photos"] == 7


def test_strokes_and_their_drawing_as_a_data_uri_are_json(service):
    answer = service.post("/search", json={"strokes": STROKES, "top_k": 3, "tag": ["things"], "candidates": None})
    assert answer.status_code == 200, answer.text
    assert [result["tags"][0] for result in answer.json()["results"]] == ["things"] * 3
    image = "data:image/png;base64," + base64.b64encode(sketch(3)).decode()
    through_uri = service.post("/search", json={"image": image}).json()["results"]
    through_form = search(service, sketch(3))["results"]
    assert [one["photo_id"] for one in through_uri] == [one["photo_id"] for one in through_form]


def test_an_answer_is_not_to_be_kept_and_is_small(service):
    answer = service.post("/search", files={"sketch": sketch()}, data={"top_k": "10"})
    assert answer.headers["cache-control"] == "no-store"
    assert len(answer.content) < 10 * 500


def test_a_request_id_is_taken_over_where_it_is_harmless(service):
    assert service.get("/gallery", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert service.get("/gallery", headers={"X-Request-ID": "a b\x7f"}).headers["x-request-id"] != "a b\x7f"


def test_explained_results_say_which_patches_matched(service):
    answer = search(service, top_k="3", explain="true")
    assert answer["timings_ms"]["explain"] > 0
    for result in answer["results"]:
        for match in result["correspondences"]:
            assert len(match["sketch_box"]) == len(match["photo_box"]) == 4
            assert 0 <= match["weight"] <= 1
    plain = search(service, top_k="3")
    assert "explain" not in plain["timings_ms"]
    assert "correspondences" not in plain["results"][0]


def test_explained_results_say_what_explaining_each_of_them_says(service):
    for result in search(service, sketch(2), top_k="13", explain="true")["results"]:
        answer = service.post("/explain", files={"sketch": sketch(2)}, data={"photo_id": result["photo_id"]})
        alone = answer.json()["correspondences"]
        assert [one["sketch_patch"] for one in result["correspondences"]] == [one["sketch_patch"] for one in alone]
        for one, other in zip(result["correspondences"], alone, strict=True):
            assert one == {**other, "weight": pytest.approx(other["weight"], abs=1e-5), "contribution": pytest.approx(
                other["contribution"], abs=1e-5)}  # fmt: skip


def test_explained_results_cost_one_decoding_one_encoding_and_no_picture(service, network, monkeypatch):
    done = []

    def counted(place, name):
        real = getattr(place, name)

        def call(*given):
            done.append(name)
            return real(*given)

        monkeypatch.setattr(place, name, call)

    counted(type(network), "encode_sketch")
    counted(SentPicture, "pixels")
    counted(explaining, "as_png")
    answer = search(service, top_k="13", explain="true")
    assert all(result["correspondences"] for result in answer["results"])
    assert sorted(done) == ["encode_sketch", "pixels"]


def test_other_searches_get_their_turn_while_results_are_explained(service, monkeypatch):
    worker, encode = service_in(service).worker, TwoStageSearcher.encode
    order: list[str] = []
    others: list[threading.Thread] = []

    def explain(searcher, prepared, found, part):
        if not order:
            others.append(threading.Thread(target=search, args=(service,)))
            others[0].start()
            wait_until(lambda: bool(worker._tickets))
        order.append("explain")
        return explaining.explain_found(searcher, prepared, found, part)

    def counted(searcher, sketches):
        if others:
            order.append("search")
        return encode(searcher, sketches)

    monkeypatch.setattr("app.http.routes.search.explain_found", explain)
    monkeypatch.setattr(TwoStageSearcher, "encode", counted)
    search(service, top_k="13", explain="true")
    others[0].join()
    assert order == ["explain", "search", "explain", "explain"]
