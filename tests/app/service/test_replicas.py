"""Two services over one gallery: one writes, the other follows, and a client may ask for the version it has changed."""

from __future__ import annotations

import contextlib
import json

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from index_builder import latest_version
from index_builder.gallery_errors import GalleryAwayError
from tests.app.conftest import WRITE_KEY, encoded, open_client, picture, settings_for, sketch, wait_until


@contextlib.contextmanager
def service(gallery, network, *, ready=True, **changes):
    settings = settings_for(gallery, write_key=WRITE_KEY, **changes)
    with open_client(
        create_app(settings, network), ready=ready, headers={"Authorization": f"Bearer {WRITE_KEY}"}
    ) as client:
        yield client


@pytest.fixture
def pair(gallery, network, photos):
    """A writer, and a reader that looks for new versions only when it must."""
    with (
        service(gallery, network, photos=photos) as writer,
        service(gallery, network, writes="off", follow_interval_s=3600) as reader,
    ):
        yield writer, reader


def found(client: TestClient, **options) -> list[str]:
    answer = client.post("/search", files={"sketch": sketch()}, data={"top_k": 1000, "candidates": 1000, **options})
    assert answer.status_code == 200, answer.text
    return [one["photo_id"] for one in answer.json()["results"]]


def test_what_was_written_to_one_is_read_from_the_other(pair):
    writer, reader = pair
    before = found(reader)
    added = writer.post("/photos", files={"photo": ("new.png", encoded(picture(901)))}).json()
    version, new = added["gallery_version"], added["photos"][0]["photo_id"]
    assert new not in found(reader), "it looked before it was asked to"
    assert sorted(found(reader, min_version=version)) == sorted([*before, new])
    explained = reader.post("/explain", files={"sketch": sketch()}, data={"photo_id": new, "min_version": version})
    assert explained.status_code == 200
    deleted = writer.delete(f"/photos/{new}")
    assert deleted.status_code == 204
    version = deleted.headers["Gallery-Version"]
    assert version == latest_version(writer.app.state.settings.gallery)
    body = {"queries": [{"strokes": [[[0, 1], [0, 1]]], "top_k": 1000, "candidates": 1000, "min_version": version}]}
    (answer,) = reader.post("/search/batch", json=body).json()["answers"]
    assert sorted(one["photo_id"] for one in answer["answer"]["results"]) == sorted(before)


def test_a_version_that_is_not_there_yet(pair):
    _, reader = pair
    generation, commit = map(int, reader.get("/gallery").json()["version"].split("."))
    for later in (f"{generation}.{commit + 1}", f"{generation + 1}.0"):
        answer = reader.post("/search", files={"sketch": sketch()}, data={"min_version": later})
        assert answer.status_code == 409
        assert answer.json()["code"] == "version_not_there_yet"
        assert int(answer.headers["Retry-After"]) > 0
        drawing = {"strokes": [[[0, 1], [0, 1]]]}
        queries = [{**drawing, "min_version": later}, drawing]
        first, second = reader.post("/search/batch", json={"queries": queries}).json()["answers"]
        assert first["problem"]["code"] == "version_not_there_yet"
        assert second["answer"]["results"]
    for earlier in (f"{generation}.{commit}", f"{generation}.0", "0.999999"):
        assert found(reader, min_version=earlier)


def test_a_version_that_is_none(pair):
    _, reader = pair
    for wrong in ("", "1", "1.", "a.b", "1.2.3", "-1.2", "1.9999999999999999999", "\uff11.2"):
        answer = reader.post("/search", files={"sketch": sketch()}, data={"min_version": wrong})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_min_version"), wrong


def test_a_reader_changes_nothing(pair, photos):
    _, reader = pair
    version, files = latest_version(reader.app.state.settings.gallery), sorted(photos.rglob("*"))
    photo = found(reader)[0]
    answers = [
        reader.post("/photos", files={"photo": ("new.png", encoded(picture(902)))}),
        reader.delete(f"/photos/{photo}"),
        reader.post("/gallery/accept-loss"),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (403, "reads_only")
    information = reader.get("/gallery").json()
    assert not information["writable"]
    assert information["following"] is None
    assert reader.post("/gallery/reload").status_code == 200
    assert (latest_version(reader.app.state.settings.gallery), sorted(photos.rglob("*"))) == (version, files)


def test_a_reader_waits_for_a_gallery_that_another_one_builds(tmp_path, photos, network):
    with service(tmp_path / "g", network, ready=False, writes="off", watch=True, photos=photos) as reader:
        answer = reader.get("/readyz")
        assert answer.status_code == 503
        wait_until(lambda: "another process builds it" in reader.get("/readyz").json()["reason"])
        assert not (tmp_path / "g").exists()
        with service(tmp_path / "g", network, photos=photos):
            wait_until(lambda: reader.get("/gallery").json()["photos"] == 13)
        assert reader.get("/readyz").status_code == 200
        assert len(found(reader)) == 13


def test_changes_begin_once_the_storage_answers(tmp_path, photos, network, monkeypatch):
    from app.service import first_changes
    from app.service.changes.gallery_changes import GalleryChanges

    monkeypatch.setattr(first_changes, "_AWAY_S", 0.05)
    real, away = GalleryChanges.exists, [3]

    def exists(self):
        if away[0]:
            away[0] -= 1
            raise GalleryAwayError("the object storage does not answer")
        return real(self)

    monkeypatch.setattr(GalleryChanges, "exists", exists)
    with service(tmp_path / "g", network, photos=photos) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert found(client)
    assert away == [0]


def test_the_client_passes_a_version_on():
    from sketchseek_client import calls

    assert json.loads(json.dumps(calls.search(sketch(), min_version="1.2").parts["data"]))["min_version"] == "1.2"
    assert calls.explain(sketch(), "a", None, "1.2").parts["data"]["min_version"] == "1.2"
    assert "min_version" not in calls.explain(sketch(), "a", None, None).parts["data"]
