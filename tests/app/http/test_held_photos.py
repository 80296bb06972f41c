"""A share that vanishes while it is served: its photos are held, everybody is told, and somebody may confirm."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from app.main import create_app
from tests.app.conftest import WRITE_KEY, encoded, open_client, picture, settings_for, sketch, wait_until


@pytest.fixture
def logs():
    with capture_logs() as logs:
        yield logs


@pytest.fixture
def watching(gallery, photos, network, logs):
    settings = settings_for(
        gallery, photos=str(photos), watch=True, most_lost=40, write_key=WRITE_KEY, upload_wait_s=60
    )
    headers = {"Authorization": f"Bearer {WRITE_KEY}"}
    with open_client(create_app(settings, network), headers=headers) as client:
        wait_until(lambda: said(logs, "the gallery is up to date"))
        yield client


def said(logs, event):
    return [line for line in logs if line["event"] == event]


def held(client):
    return client.get("/gallery").json()["held"]


def search(client):
    answer = client.post("/search", files={"sketch": sketch()}, data={"top_k": "100"})
    assert answer.status_code == 200
    return answer.json()["results"]


def test_a_share_that_vanishes_and_returns(watching, photos, logs):
    one, other = search(watching)[:2]
    assert watching.get(one["thumbnail_url"]).status_code == 200
    elsewhere = photos.rename(photos.with_name("elsewhere"))
    photos.mkdir()
    wait_until(lambda: held(watching))
    (folder,) = held(watching)
    assert (folder["folder"], folder["photos"], folder["code"]) == (photos.name, 13, "emptied")
    assert str(photos.parent) not in str(folder)
    ready = watching.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert ready.json()["reason"].startswith("13 photos are held")
    assert "sketchseek_held_photos 13.0" in watching.get("/metrics").text
    assert len(search(watching)) == 13
    assert watching.get(one["thumbnail_url"]).status_code == 200  # it was made before
    for url in (one["url"], other["thumbnail_url"]):
        gone = watching.get(url)
        assert (gone.status_code, gone.json()["code"]) == (404, "photo_gone")
        assert "shows again" in gone.json()["detail"]
    refused = watching.post("/photos", files={"photo": ("a.png", encoded(picture(90)))})
    assert (refused.status_code, refused.json()["code"]) == (409, "folder_away")
    assert not any(photos.iterdir())
    photos.rmdir()
    wait_until(lambda: [one["code"] for one in held(watching)] == ["missing"])
    refused = watching.post("/photos", files={"photo": ("a.png", encoded(picture(90)))})
    assert refused.json()["code"] == "folder_away"
    assert not photos.exists()
    elsewhere.rename(photos)
    wait_until(lambda: not held(watching))
    assert watching.get(one["url"]).status_code == 200
    assert watching.get("/readyz").json() == {"status": "ready"}
    assert "sketchseek_held_photos 0.0" in watching.get("/metrics").text
    assert len(said(logs, "photos are held: their folder is not believed")) == 2  # emptied, then missing
    assert len(said(logs, "the folder is believed again")) == 1
    assert said(logs, "changed the gallery") == []  # nothing was encoded again


def test_confirmed_over_http(watching, photos):
    (photos / "animals").rename(photos.with_name("animals"))  # 6 of 13
    wait_until(lambda: held(watching))
    assert held(watching)[0]["code"] == "most_lost"
    assert watching.get("/gallery").json()["photos"] == 13
    answer = watching.post("/gallery/accept-loss")
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "done"
    state = watching.get("/gallery").json()
    assert (state["photos"], state["held"]) == (7, [])
    assert answer.json()["gallery_version"] == state["version"]


def test_what_is_put_back_is_held_no_longer(watching, photos):
    (photos / "animals").rename(photos.with_name("animals"))
    wait_until(lambda: held(watching))
    (photos / "animals").mkdir()
    for file in photos.with_name("animals").iterdir():
        file.rename(photos / "animals" / file.name)
    wait_until(lambda: not held(watching))
    assert watching.get("/gallery").json()["photos"] == 13


def test_only_with_the_write_key(service, gallery, network):
    assert service.post("/gallery/accept-loss").status_code == 403
    with open_client(create_app(settings_for(gallery, write_key=WRITE_KEY), network)) as client:
        assert client.post("/gallery/accept-loss").status_code == 401


def test_a_service_that_does_not_watch_tells_what_a_command_noted(gallery, photos, network):
    from index_builder import sync_gallery

    with open_client(create_app(settings_for(gallery), network)) as client:
        assert held(client) == []
        photos.rename(photos.with_name("elsewhere"))
        sync_gallery(gallery, network)
        assert [one["code"] for one in held(client)] == ["missing"]
