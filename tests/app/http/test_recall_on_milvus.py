"""The service with recall on Milvus: the same answers, a clear word while it is away, and it recovers by itself."""

from __future__ import annotations

from datetime import timedelta

import lance
import pytest

from app.main import create_app
from app.service.serving.served_gallery import ServedGallery
from app.setup.doctor import examine
from index_builder import BuildOptions, Gallery, sync_gallery
from index_builder.index.milvus_server import MilvusServer
from tests.app.conftest import open_client, picture, service_in, settings_for, sketch, wait_until

pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed")
TOKEN = "root:a-secret"


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    return str(tmp_path_factory.mktemp("milvus") / "lite.db")


@pytest.fixture
def settings(gallery, lite):
    return settings_for(gallery, recall="milvus", recall_url=lite, recall_token=TOKEN)


@pytest.fixture
def cut():
    """Cuts Milvus off; calling what it gives puts it back."""

    def connected(_self, pymilvus):
        raise pymilvus.MilvusException(2, f"Fail connecting with {TOKEN}")

    def cut_off():
        patch = pytest.MonkeyPatch()
        patch.setattr(MilvusServer, "_connected", connected)
        return patch.undo

    return cut_off


def search(client, **options):
    return client.post("/search", files={"sketch": sketch()}, data={"top_k": "100", **options})


def found(client, **options):
    answer = search(client, **options)
    assert answer.status_code == 200, answer.text
    return [(one["photo_id"], round(one["score"], 4)) for one in answer.json()["results"]]


def test_it_answers_as_faiss_does_and_follows_the_gallery(settings, gallery, photos, network, caplog):
    flat = create_app(settings_for(gallery), network)
    with open_client(create_app(settings, network)) as client, open_client(flat) as beside:
        assert client.get("/gallery").json()["recall"] == "milvus at lite.db"
        for options in ({}, {"tag": "things"}, {"tag_none": "small"}, {"folder": "things/small"}, {"rerank": "false"}):
            assert found(client, **options) == found(beside, **options)
        gone = found(client)[0][0]
        picture(55).save(photos / "animals" / "new.png")
        (photos / service_in(client).gallery.serve().photo(gone).path).unlink()
        sync_gallery(gallery, network, options=BuildOptions(workers=1))
        version = sync_gallery(gallery, network, options=BuildOptions(workers=1)).version
        wait_until(lambda: {one.get("/gallery").json()["version"] for one in (client, beside)} == {version})
        assert found(client) == found(beside)
        assert gone not in dict(found(client))
    assert TOKEN not in caplog.text


def test_while_it_is_away_searches_say_so(settings, network, cut, caplog, monkeypatch):
    real = ServedGallery._loaded

    async def loaded(gallery):
        served = await real(gallery)
        gallery._load_s = 1000.0  # the pause after such a load does not hold up a look at Milvus
        return served

    monkeypatch.setattr(ServedGallery, "_loaded", loaded)
    with open_client(create_app(settings, network)) as client:
        expected = found(client)
        put_back = cut()
        try:
            answer = search(client)
            assert (answer.status_code, answer.json()["code"]) == (503, "recall_server_away")
            assert answer.json()["detail"].startswith("Milvus at lite.db does not answer")
            assert answer.headers["Retry-After"]
            wait_until(lambda: client.get("/readyz").status_code == 503)
            assert "Milvus at lite.db does not answer" in client.get("/readyz").json()["reason"]
            assert client.get("/gallery").status_code == 200
        finally:
            put_back()
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert found(client) == expected
    assert TOKEN not in caplog.text


def test_a_start_without_it_waits_for_it(settings, network, cut, caplog):
    put_back = cut()
    try:
        with open_client(create_app(settings, network), ready=False) as client:
            wait_until(lambda: "recall_server_away" in client.get("/readyz").text)
            assert client.get("/healthz").status_code == 200
            assert search(client).status_code == 503
            put_back()
            wait_until(lambda: client.get("/readyz").status_code == 200)
            assert found(client)
    finally:
        put_back()
    assert TOKEN not in caplog.text


def test_a_version_that_was_cleaned_up_is_left_for_the_next(settings, gallery, photos, network):
    slow = settings.model_copy(update={"writes": "off", "follow_interval_s": 3600})
    with open_client(create_app(slow, network)) as client:
        expected = len(found(client)) + 1
        picture(60).save(photos / "animals" / "newer.png")
        sync_gallery(gallery, network, options=BuildOptions(workers=1))
        dataset = lance.dataset(str(Gallery.open(gallery).dataset_path))
        dataset.optimize.compact_files()
        dataset.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
        assert len(found(client)) == expected


def test_doctor_asks_it(settings, cut):
    def said():
        return next(one for one in examine(settings) if one.check == "milvus")

    assert said().verdict == "ok"
    assert "answers at lite.db" in said().says
    put_back = cut()
    try:
        assert said().verdict == "problem"
        assert TOKEN not in str(said())
    finally:
        put_back()
