"""Every limit is a setting, and what is beyond it is answered with a code of its own, as problem+json."""

from typing import Any

import pytest

from app.main import create_app
from tests.app.conftest import WRITE_KEY, encoded, open_client, picture, settings_for, sketch

LIMITS = {
    "max_body_bytes": 5_000,
    "max_upload_bytes": 30_000,
    "max_upload_files": 2,
    "max_image_bytes": 2_000,
    "max_pixels": 50_000,
    "max_image_memory_bytes": 90_000,
    "max_sketch_pixels": 50_000,
    "max_sketch_memory_bytes": 90_000,
    "max_strokes": 3,
    "max_points": 10,
    "max_top_k": 30,
    "max_candidates": 140,
}
NOISE = picture(1, (100, 100)).effect_spread(30)


@pytest.fixture(scope="module")
def strict(shared_gallery, shared_photos, network):
    settings = settings_for(shared_gallery, photos=shared_photos, write_key=WRITE_KEY, **LIMITS)
    with open_client(create_app(settings, network), headers={"Authorization": f"Bearer {WRITE_KEY}"}) as client:
        yield client


def a_drawing(strokes, points):
    return {"strokes": [[list(range(points)), list(range(points))]] * strokes}


BEYOND: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "max_body_bytes": ("/search", {"files": {"sketch": b"x" * 5_000}}, 413, "body_too_large"),
    "max_upload_bytes": ("/photos", {"files": {"photo": b"x" * 30_000}}, 413, "body_too_large"),
    "max_upload_files": ("/photos", {"files": [("photo", b"x")] * 3}, 422, "too_many_files"),
    "max_image_bytes": ("/photos", {"files": {"photo": encoded(NOISE)[:4_000]}}, 413, "image_file_too_large"),
    "max_pixels": ("/photos", {"files": {"photo": encoded(picture(1, (300, 200)))}}, 413, "image_too_large"),
    "max_image_memory_bytes": ("/photos", {"files": {"photo": encoded(picture(1, (200, 200)))}}, 413, "image_memory"),
    "max_sketch_pixels": ("/search", {"files": {"sketch": encoded(picture(1, (300, 200)))}}, 413, "image_too_large"),
    "max_sketch_memory_bytes": ("/search", {"files": {"sketch": encoded(picture(1, (200, 200)))}}, 413, "image_memory"),
    "max_strokes": ("/search", {"json": a_drawing(4, 2)}, 422, "too_many_strokes"),
    "max_points": ("/search", {"json": a_drawing(3, 4)}, 422, "too_many_points"),
    "max_top_k": ("/search", {"json": {**a_drawing(1, 2), "top_k": 31}}, 422, "invalid_top_k"),
    "max_candidates": ("/search", {"json": {**a_drawing(1, 2), "candidates": 141}}, 422, "invalid_candidates"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_beyond_a_limit_is_a_problem_with_a_code_of_its_own(strict, limit):
    path, body, status, code = BEYOND[limit]
    answer = strict.post(path, **body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_within_every_limit_all_is_well(strict):
    assert strict.post("/search", files={"sketch": sketch()}).status_code == 200
    within = {**a_drawing(3, 3), "top_k": 30, "candidates": 140}
    assert strict.post("/search", json=within).status_code == 200


def test_limits_are_told_to_clients(strict):
    told = strict.get("/gallery").json()["limits"]
    assert {name: told[name] for name in LIMITS if name in told} == {n: v for n, v in LIMITS.items() if n in told}
    assert len(told) >= 8
