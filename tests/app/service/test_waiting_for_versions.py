"""A reader that lacks what is asked for: one look and one load for all who wait, and nobody waits for a long load."""

from __future__ import annotations

import threading
import time

import pytest

from app.main import create_app
from app.service.serving.served_gallery import ServedGallery
from index_builder import BuildOptions, Gallery, sync_gallery
from index_builder.gallery_errors import RecallServerError
from tests.app.conftest import open_client, picture, service_in, settings_for, sketch, wait_until

STROKES = [[[0, 1], [0, 1]]]


class Loads:
    """What becomes of each load: as it was, or an error; each waits until `allowed` is set."""

    def __init__(self, monkeypatch):
        self.count, self.error, self.allowed = 0, None, threading.Event()
        self.allowed.set()
        real = ServedGallery._load

        def load(gallery):
            self.count += 1
            assert self.allowed.wait(60)
            if self.error is not None:
                raise self.error
            return real(gallery)

        monkeypatch.setattr(ServedGallery, "_load", load)


@pytest.fixture
def loads(monkeypatch):
    made = Loads(monkeypatch)
    yield made
    made.allowed.set()


@pytest.fixture
def reader(gallery, network, loads):
    """Looks for new versions only when it must."""
    settings = settings_for(gallery, writes="off", follow_interval_s=3600)
    with open_client(create_app(settings, network)) as client:
        loads.count = 0
        yield client


@pytest.fixture
def grow(gallery, photos, network):
    def grow(number):
        """Add a photo beside the reader; the version that has it."""
        picture(number).save(photos / f"new-{number}.png")
        return sync_gallery(gallery, network, options=BuildOptions(workers=1)).version

    return grow


def search(client, version):
    return client.post("/search", files={"sketch": sketch()}, data={"min_version": version, "top_k": 100})


def test_nobody_waits_for_a_long_load_and_it_is_begun_once(reader, loads, grow):
    version = grow(901)
    service_in(reader).gallery._newer._longest_s = 0.2
    loads.allowed.clear()
    began = time.monotonic()
    answers = [search(reader, version) for _ in range(2)]
    assert [(one.status_code, one.json()["code"]) for one in answers] == [(409, "version_not_there_yet")] * 2
    assert time.monotonic() - began < 30
    assert reader.get("/photos/unknown/thumbnail").status_code == 404
    assert search(reader, "0.1").status_code == 200
    assert loads.count == 1
    loads.allowed.set()
    wait_until(lambda: search(reader, version).status_code == 200)
    assert loads.count == 1


def test_a_batch_has_a_version_loaded_once_and_a_failure_is_not_repeated_by_asking(reader, loads, grow):
    version = grow(901)
    later = ["999999999.1", "1.999999999"]
    for one in later:
        assert search(reader, one).status_code == 409
    assert loads.count == 0, "what the gallery does not have is no reason to load anything"
    loads.error = RecallServerError("away")
    body = {"queries": [{"strokes": STROKES, "min_version": one} for one in ("0.1", *[version] * 62)]}
    for _ in range(2):
        first, *others = reader.post("/search/batch", json=body).json()["answers"]
        assert first["answer"]["results"]
        assert {one["problem"]["code"] for one in others} == {"version_not_there_yet"}
    assert loads.count == 1
    too_many = {"queries": [{"strokes": STROKES, "top_k": 1000, "min_version": version}] * 64}
    assert reader.post("/search/batch", json=too_many).json()["code"] == "too_many_results"


def test_photos_that_another_service_found_are_shown(reader, loads, gallery, grow):
    asking = (
        lambda photo: reader.get(f"/photos/{photo}/thumbnail"),
        lambda photo: reader.post("/explain", files={"sketch": sketch()}, data={"photo_id": photo}),
        lambda photo: reader.post("/archive", json={"photos": [photo]}),
    )
    for number, ask in enumerate(asking):
        grow(number)
        rows = Gallery.open(gallery).dataset().to_table(["path", "photo_id"]).to_pylist()
        (photo,) = [row["photo_id"] for row in rows if bytes(row["path"]) == f"new-{number}.png".encode()]
        answer = ask(photo)
        assert answer.status_code == 200, answer.text
    assert loads.count == len(asking)
    assert reader.get("/photos/unknown").status_code == 404
    assert loads.count == len(asking)
