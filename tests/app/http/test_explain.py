"""POST /explain: what it says, in which form, and what it refuses."""

from __future__ import annotations

import base64
import io
import time
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.main import create_app
from model.explain import NotExplainableError
from tests.app.conftest import open_client, settings_for, sketch

STROKES = [[[20, 235, 235, 20, 20], [60, 60, 200, 200, 60]]]


@pytest.fixture(scope="module")
def found(service: TestClient) -> list[dict[str, Any]]:
    answer = service.post("/search", files={"sketch": sketch()}, data={"top_k": "6"})
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def ask(service: TestClient, **data: Any) -> Any:
    return service.post("/explain", files={"sketch": sketch()}, data=data)


def test_the_document_names_patches_with_their_places(service: TestClient, found: list[dict[str, Any]]) -> None:
    answer = ask(service, photo_id=found[0]["photo_id"])
    assert answer.status_code == 200
    said = answer.json()
    assert said["photo_id"] == found[0]["photo_id"]
    assert said["score"] == pytest.approx(found[0]["score"], abs=1e-4), "the score of the search"
    assert said["relation_score"] == pytest.approx(found[0]["relation_score"], abs=1e-4)
    assert said["recall_score"] == pytest.approx(found[0]["recall_score"], abs=1e-3)
    assert said["grid"] == 4
    prepared = Image.open(io.BytesIO(base64.b64decode(said["sketch_image"].removeprefix("data:image/png;base64,"))))
    assert prepared.size == (64, 64)
    assert said["correspondences"]
    for pair in said["correspondences"]:
        row, column = divmod(pair["sketch_patch"], 4)
        assert pair["sketch_box"] == [column / 4, row / 4, 0.25, 0.25]
        assert all(0 <= share <= 1 for share in pair["photo_box"])
        assert 0 <= pair["weight"] <= 1
    assert any(pair["mutual"] for pair in said["correspondences"])
    assert set(said["timings_ms"]) == {"decode", "encode", "relate", "total"}


def test_strokes_explain_as_well(service: TestClient, found: list[dict[str, Any]]) -> None:
    answer = service.post("/explain", json={"strokes": STROKES, "photo_id": found[1]["photo_id"]})
    assert answer.status_code == 200
    assert answer.json()["correspondences"]


@pytest.mark.parametrize("form", ["overlay", "attention", "synthesis"])
def test_pictures(service: TestClient, found: list[dict[str, Any]], form: str) -> None:
    answer = ask(service, photo_id=found[0]["photo_id"], format=form)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(answer.content))
    picture.load()
    assert min(picture.size) >= 300


def test_a_universal_picture_differs_and_outlives_removed_photos(
    service: TestClient, found: list[dict[str, Any]]
) -> None:
    among = [one["photo_id"] for one in found] + ["gone"]
    own, universal = set(), set()
    for photo_id in among[:-1]:
        own.add(ask(service, photo_id=photo_id, format="synthesis").content)
        answer = ask(service, photo_id=photo_id, format="synthesis", among=among)
        assert answer.status_code == 200
        universal.add(answer.content)
    assert len(own) > len(universal), "a picture from all photos does not depend on which of them was opened"


def test_the_header_accept_chooses_as_well(service: TestClient, found: list[dict[str, Any]]) -> None:
    answer = service.post(
        "/explain",
        files={"sketch": sketch()},
        data={"photo_id": found[0]["photo_id"]},
        headers={"Accept": "image/png"},
    )
    assert answer.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        ({"photo_id": "no-such-photo"}, 404, "unknown_photo"),
        ({}, 422, "invalid_photo_id"),
        ({"photo_id": ""}, 422, "invalid_photo_id"),
        ({"photo_id": "x" * 65}, 422, "invalid_photo_id"),
        ({"photo_id": "x", "format": "svg"}, 422, "invalid_format"),
        ({"photo_id": "x", "among": ["y"] * 25}, 422, "invalid_among"),
        ({"photo_id": "x", "colour": "red"}, 422, "unknown_field"),
    ],
)
def test_what_cannot_be_used_is_refused(service: TestClient, data: dict[str, Any], status: int, code: str) -> None:
    answer = ask(service, **data)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_blank_sketch_and_none_at_all_are_refused(service: TestClient, found: list[dict[str, Any]]) -> None:
    blank = io.BytesIO()
    Image.new("L", (64, 64), 255).save(blank, "PNG")
    photo_id = found[0]["photo_id"]
    answer = service.post("/explain", files={"sketch": blank.getvalue()}, data={"photo_id": photo_id})
    assert (answer.status_code, answer.json()["code"]) == (422, "blank_sketch")
    answer = service.post("/explain", files={"other": b"x"}, data={"photo_id": photo_id})
    assert answer.status_code == 422
    answer = service.post("/explain", json={"photo_id": photo_id})
    assert (answer.status_code, answer.json()["code"]) == (422, "no_sketch")


def test_a_network_that_shows_no_matches_says_so(
    shared_gallery: Any, network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise NotExplainableError("this checkpoint's network compares whole images only")

    monkeypatch.setattr("app.search.explaining.explain_pairs", refuse)
    with open_client(create_app(settings_for(shared_gallery), network)) as client:
        result = client.post("/search", files={"sketch": sketch()}, data={"top_k": "1"}).json()["results"][0]
        answer = ask(client, photo_id=result["photo_id"])
        assert (answer.status_code, answer.json()["code"]) == (422, "not_explainable")


def test_photos_for_a_picture_are_read_only_while_somebody_waits(
    shared_gallery: Any, network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def slow(*_: Any) -> Any:
        read.append(1)
        time.sleep(0.5)
        return Image.new("RGB", (64, 64))

    settings = settings_for(shared_gallery, request_timeout_s=2, decode_threads=1)
    with open_client(create_app(settings, network)) as client:
        ids = [one["photo_id"] for one in client.post("/search", files={"sketch": sketch()}).json()["results"]]
        monkeypatch.setattr("app.http.routes.explain.open_shown", slow)
        answer = client.post(
            "/explain", json={"strokes": STROKES, "photo_id": ids[0], "among": ids[1:], "format": "synthesis"}
        )
        assert (answer.status_code, answer.json()["code"]) == (503, "deadline_exceeded")
        assert client.post("/search", files={"sketch": sketch()}).status_code == 200, "the thread is free again"
    assert len(read) < len(ids)
