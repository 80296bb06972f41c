"""POST /search/batch: each search is answered, or refused, as if it had come alone."""

import asyncio
import base64
from types import SimpleNamespace

import pytest

from app.http.routes.search import OneSearch
from app.main import create_app
from app.service_errors import BusyError
from sketchseek_client import Client
from tests.app.conftest import encoded, open_client, picture, settings_for, sketch
from tests.app.http.fuzz import running
from tests.app.http.test_bad_input import check

STROKES = [[[0, 50, 100], [0, 80, 10]], [[5, 90], [90, 90]]]
URI = "data:image/png;base64,"


def uri(data):
    return URI + base64.b64encode(data).decode()


def batch(service, *queries):
    answer = service.post("/search/batch", json={"queries": queries})
    assert answer.status_code == 200, answer.text
    return answer.json()["answers"]


def found(answer):
    return [(one["photo_id"], one["contributions"].keys()) for one in answer["results"]]


def test_each_is_answered_as_if_it_had_come_alone(service):
    known = service.post("/search", json={"strokes": STROKES}).json()["results"][0]["photo_id"]
    queries = [
        {"strokes": STROKES, "top_k": 3},
        {"image": uri(sketch(2)), "photo": uri(encoded(picture(3))), "like": [known]},
        {"like": [known], "tag": ["things"], "explain": False},
        *({"image": uri(sketch(seed)), "rerank": False} for seed in range(9)),
    ]
    answers = batch(service, *queries)
    assert len(answers) == len(queries)
    for query, item in zip(queries, answers, strict=True):
        alone = service.post("/search", json=query).json()
        assert item["problem"] is None
        assert found(item["answer"]) == found(alone)
        for one, other in zip(item["answer"]["results"], alone["results"], strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-5)
        assert item["answer"].keys() == alone.keys()


def test_what_is_wrong_with_one_is_said_of_that_one(service):
    wrong = [
        ({"strokes": STROKES, "topk": 5}, "unknown_field"),
        ({"strokes": STROKES, "top_k": 0}, "invalid_top_k"),
        ({}, "no_parts"),
        ({"image": uri(b"no picture")}, "unreadable_image"),
        ({"strokes": STROKES, "tag": ["unheard-of"]}, "unknown_tag"),
        ({"like": ["unheard-of"]}, "unknown_photo"),
        ({"strokes": []}, "malformed_strokes"),
    ]
    answers = batch(service, *(query for query, _ in wrong), {"strokes": STROKES})
    assert [item["problem"]["code"] for item in answers[:-1]] == [code for _, code in wrong]
    assert all(item["answer"] is None for item in answers[:-1])
    for (query, _), item in zip(wrong, answers, strict=False):
        alone = service.post("/search", json=query).json()
        assert {**item["problem"], "request_id": ""} == {**alone, "request_id": ""}
    assert len(answers[-1]["answer"]["results"]) == 13


def test_what_is_wrong_with_the_service_fails_one_alone(service, monkeypatch):
    original = OneSearch.answer

    async def answer(self, served):
        if self.options.top_k == 3:
            raise BusyError("queue_full", "full", 1)
        if self.options.top_k == 4:
            raise ZeroDivisionError("secret")
        return await original(self, served)

    monkeypatch.setattr(OneSearch, "answer", answer)
    monkeypatch.setattr("app.http.routes.search_batch._log", SimpleNamespace(error=lambda *_, **__: None))
    items = batch(service, *({"strokes": STROKES, "top_k": top_k} for top_k in (2, 3, 4, 5)))
    assert [item["problem"] and item["problem"]["code"] for item in items] == [
        None,
        "queue_full",
        "internal_error",
        None,
    ]
    assert "secret" not in str(items)


def test_a_batch_ends_in_time_and_keeps_what_was_answered(shared_gallery, network, monkeypatch):
    settings = settings_for(shared_gallery, batch_timeout_s=0.5, batch_limit=1)
    original = OneSearch.answer

    async def slow(self, served):
        found = await original(self, served)
        await asyncio.sleep(0.3)
        return found

    with open_client(create_app(settings, network)) as client:
        monkeypatch.setattr(OneSearch, "answer", slow)
        items = batch(client, *[{"strokes": STROKES}] * 20)
    codes = [item["problem"] and item["problem"]["code"] for item in items]
    assert codes[0] is None
    assert set(codes[2:]) == {"deadline_exceeded"}


def test_results_are_bounded_together(shared_gallery, network):
    with open_client(create_app(settings_for(shared_gallery, max_batch_results=1280), network)) as client:
        many = [{"strokes": STROKES, "top_k": 500}] * 3
        check(client.post("/search/batch", json={"queries": many}), 422, "too_many_results")
        assert len(batch(client, *many[:2])) == 2


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_queries"),
        ({"queries": []}, "invalid_queries"),
        ({"queries": {"strokes": STROKES}}, "invalid_queries"),
        ({"queries": [[]]}, "invalid_queries"),
        ({"queries": [{"strokes": STROKES}] * 65}, "invalid_queries"),
        ({"queries": [{"strokes": STROKES}], "top_k": 5}, "unknown_field"),
    ],
)
def test_what_is_no_batch(service, body, code):
    check(service.post("/search/batch", json=body), 422, code)


def test_a_batch_is_json(service):
    check(service.post("/search/batch", files={"sketch": sketch()}), 415, "unsupported_media_type")
    check(
        service.post("/search/batch", content=b"{", headers={"Content-Type": "application/json"}), 400, "malformed_json"
    )


def test_each_of_a_batch_counts_for_the_rate_limit(shared_gallery, network):
    settings = settings_for(shared_gallery, rate_limit_per_minute=60, rate_limit_burst=200)
    with open_client(create_app(settings, network)) as client:
        for _ in range(3):
            assert client.post("/search/batch", json={"queries": [{}] * 64}).status_code == 200
        assert client.post("/search/batch", json={"queries": [{}] * 64}).status_code == 200
        refused = client.get("/gallery")
        check(refused, 429, "rate_limited")
        assert int(refused.headers["retry-after"]) > 30


def test_the_client_sends_a_batch(shared_gallery, network, tmp_path):
    file = tmp_path / "drawn.png"
    file.write_bytes(sketch(2))
    with running(create_app(settings_for(shared_gallery), network)) as url, Client(url) as client:
        while client.ready().status != "ready":
            pass
        answers = client.search_batch(
            [
                {"sketch": file, "top_k": 2, "tags": ["things"]},
                {"strokes": STROKES, "photo": sketch(5), "photo_weight": 0.5},
                {"photo": sketch(5)},
                {"like": ["unheard-of"]},
            ]
        ).answers
        alone = client.search(file, top_k=2, tags=["things"])
    assert [item.answer is None for item in answers] == [False, False, False, True]
    assert answers[0].answer is not None
    assert [one.photo_id for one in answers[0].answer.results] == [one.photo_id for one in alone.results]
    assert answers[1].answer is not None
    assert answers[1].answer.parts == {"sketch": 1.0, "photo": 0.5}
    assert answers[3].problem is not None
    assert answers[3].problem.code == "unknown_photo"
