"""The gallery changes while it is served: no request fails, none mixes versions."""

import asyncio
import threading
from functools import partial

import pytest
from structlog.testing import capture_logs

from app.main import create_app
from app.service.serving.served_gallery import ServedGallery
from index_builder import BuildOptions, GallerySnapshot, add_photos, build_gallery, remove_photos, sync_gallery
from index_builder.gallery_errors import GalleryVersionGoneError
from index_builder.store.locks import writer_lock
from model.networks.network import CheckpointIdentity
from model.networks.registry import build_network, preset
from tests.app.conftest import WRITE_KEY, fill, open_client, picture, service_in, settings_for, sketch, wait_until

OPTIONS = BuildOptions(workers=1)


def found(client, **fields):
    answer = client.post("/search", files={"sketch": sketch()}, data={"top_k": "100", **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def serves(client, version):
    return client.get("/gallery").json()["version"] == version


def test_what_the_gallery_says_of_itself(service, network):
    info = service.get("/gallery").json()
    assert info["photos"] == 13
    assert info["checkpoint"] == {"name": "zse-tiny", "sha256": network.identity.sha256, "reranks": True}
    assert info["tags"] == [
        {"name": "animals", "photos": 6}, {"name": "small", "photos": 1}, {"name": "things", "photos": 7}
    ]  # fmt: skip
    assert (info["building"], info["last_error"], info["writable"]) == (None, None, False)
    assert info["limits"]["max_body_bytes"] == 10_000_000
    assert "png" in info["limits"]["formats"]
    told = {name: info["limits"][f"max_{name}"] for name in ("batch_queries", "text", "marked", "tags")}
    assert told == {"batch_queries": 64, "text": 300, "marked": 32, "tags": 32}


def test_changes_by_the_command_line_are_served_by_themselves(gallery, photos, network):
    with open_client(create_app(settings_for(gallery), network)) as client:
        picture(55).save(photos / "new.png")
        add_photos(gallery, photos, ["new.png"], network, options=OPTIONS)
        wait_until(lambda: client.get("/gallery").json()["photos"] == 14)
        assert "new.png" in {one["path"] for one in found(client)["results"]}


def test_reload_serves_the_latest_version_at_once(gallery, photos, network):
    settings = settings_for(gallery, write_key=WRITE_KEY, follow_interval_s=1000)
    with open_client(create_app(settings, network), headers={"Authorization": f"Bearer {WRITE_KEY}"}) as client:
        version = client.get("/gallery").json()["version"]
        assert client.post("/gallery/reload").json() == {"swapped": False, "gallery_version": version, "photos": 13}
        picture(55).save(photos / "new.png")
        report = sync_gallery(gallery, network, options=OPTIONS)
        assert client.get("/gallery").json()["photos"] == 13
        assert client.post("/gallery/reload").json() == {
            "swapped": True, "gallery_version": report.version, "photos": 14
        }  # fmt: skip


def test_no_request_fails_or_mixes_versions_while_the_gallery_is_swapped(gallery, photos, network):
    """Each version holds one more photo, so an answer that mixes two has the wrong number of photos."""
    size_of_version: dict[str, int] = {}
    answers: list[tuple[int, str, int, int]] = []
    stop = threading.Event()
    with open_client(create_app(settings_for(gallery, follow_interval_s=0.02), network)) as client:
        size_of_version[client.get("/gallery").json()["version"]] = 13

        def ask():
            while not stop.is_set():
                answer = client.post("/search", files={"sketch": sketch()}, data={"top_k": "100"})
                body = answer.json()
                answers.append(
                    (answer.status_code, body["gallery_version"], body["total_photos"], len(body["results"]))
                )

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(6):
            picture(500 + number).save(photos / f"new-{number}.png")
            report = add_photos(gallery, photos, [f"new-{number}.png"], network, options=OPTIONS)
            size_of_version[report.version] = report.photos
            wait_until(partial(serves, client, report.version))
        stop.set()
        for thread in threads:
            thread.join()
    assert {status for status, *_ in answers} == {200}
    assert len({version for _, version, *_ in answers}) > 3
    for _, version, total, results in answers:  # versions between two reports, such as tidying, answer for themselves
        assert total == results == size_of_version.setdefault(version, total)


def test_a_first_build_is_said_and_then_served(tmp_path, network):
    photos = fill(tmp_path / "photos", per_folder=20)
    settings = settings_for(tmp_path / "gallery", photos=photos)
    with open_client(create_app(settings, network), ready=False) as client:
        first = client.get("/readyz")
        assert (first.status_code, first.json()["status"]) == (503, "starting")
        early = client.post("/search", files={"sketch": sketch()})
        assert (early.status_code, early.json()["code"]) == (503, "not_ready")
        assert int(early.headers["retry-after"]) >= 1
        wait_until(lambda: client.get("/gallery").json()["photos"] == 41)
        assert client.get("/readyz").json() == {"status": "ready"}
        assert found(client)["total_photos"] == 41


def test_the_log_of_a_first_start_tells_the_build_and_nothing_that_sounds_like_a_failure(tmp_path, network):
    photos = fill(tmp_path / "photos")
    settings = settings_for(tmp_path / "gallery", photos=photos, watch=True)
    with capture_logs() as lines, open_client(create_app(settings, network)) as client:
        wait_until(lambda: any(line["event"] == "ready to search" for line in lines))
        assert client.get("/gallery").json()["last_error"] is None
        counted = client.get("/metrics").text
    failures = [line for line in counted.splitlines() if line.startswith("sketchseek_gallery_failures_total")]
    assert failures
    assert all(line.endswith(" 0.0") for line in failures)
    told = [line for line in lines if line["event"] != "request" and line["log_level"] != "debug"]
    events = [line["event"] for line in told]
    events.remove("built the gallery")  # the version may be served before the build reports it
    assert events == [
        "there is no gallery yet: building it",
        "encoding photos",
        "serving gallery",
        "ready to search",
        "draining",
        "stopped",
    ]
    assert {line["log_level"] for line in told} == {"info"}
    assert [line["photos"] for line in told if line["event"] == "serving gallery"] == [13]


def test_a_service_that_builds_its_first_gallery_is_not_ready_before_the_photos_are_served(
    tmp_path, network, monkeypatch
):
    photos = fill(tmp_path / "photos")
    settings = settings_for(tmp_path / "gallery", photos=photos, follow_interval_s=0.01)
    seen = set()
    refresh = ServedGallery.refresh

    async def slow(self, *, retry=False):
        await asyncio.sleep(0.3)
        return await refresh(self, retry=retry)

    monkeypatch.setattr(ServedGallery, "refresh", slow)
    with open_client(create_app(settings, network), ready=False) as client:

        def ready():
            if client.get("/readyz").status_code != 200:
                return False
            seen.add(client.get("/gallery").json()["photos"])
            return True

        wait_until(ready)
    assert seen == {13}


def test_a_watched_folder_is_reconciled_at_start_and_followed(gallery, photos, network):
    (photos / "animals" / "animals-0.png").unlink()
    picture(60).save(photos / "while-it-slept.png")
    settings = settings_for(gallery, photos=photos, watch=True)
    with open_client(create_app(settings, network)) as client:

        def known(path: str) -> bool:
            return path in {one["path"] for one in found(client)["results"]}

        wait_until(lambda: known("while-it-slept.png") and not known("animals/animals-0.png"))
        picture(61).save(photos / "things" / "copied-in.png")
        wait_until(lambda: known("things/copied-in.png"))
        (photos / "things" / "copied-in.png").rename(photos / "animals" / "moved.png")
        wait_until(lambda: known("animals/moved.png") and not known("things/copied-in.png"))
        (photos / "animals" / "moved.png").unlink()
        wait_until(lambda: not known("animals/moved.png"))


def test_a_gallery_of_another_checkpoint_is_not_served(gallery):
    other = build_network(preset("zse-tiny"), seed=9)
    other.identity = CheckpointIdentity("zse-tiny", "9" * 64)
    with open_client(create_app(settings_for(gallery), other), ready=False) as client:
        wait_until(lambda: client.get("/readyz").json()["status"] == "failed")
        assert "gallery_mismatch" in client.get("/readyz").json()["reason"]
        assert client.get("/gallery").json()["last_error"] == "gallery_mismatch"
        assert client.get("/healthz").json() == {"status": "alive"}


def test_without_a_gallery_the_service_waits_for_one(tmp_path, network):
    photos = fill(tmp_path / "photos")
    with open_client(create_app(settings_for(tmp_path / "gallery"), network), ready=False) as client:
        wait_until(lambda: "no gallery" in client.get("/readyz").json().get("reason", ""))
        build_gallery(photos, tmp_path / "gallery", network, options=OPTIONS)
        wait_until(lambda: client.get("/gallery").json()["photos"] == 13)
        assert client.get("/readyz").status_code == 200


def test_a_damaged_new_version_leaves_the_old_one_served(gallery, network):
    with open_client(create_app(settings_for(gallery), network)) as client:
        (gallery / "gallery.json").write_text("{}")
        wait_until(lambda: client.get("/gallery").json()["last_error"] == "gallery_damaged")
        assert found(client)["total_photos"] == 13
        assert client.get("/readyz").status_code == 200


def test_another_writer_is_waited_for(gallery, photos, network):
    settings = settings_for(gallery, photos=photos, write_key=WRITE_KEY, upload_wait_s=0.1)
    with open_client(create_app(settings, network), headers={"Authorization": f"Bearer {WRITE_KEY}"}) as client:
        one = found(client)["results"][0]
        with writer_lock(gallery):
            answer = client.delete(one["url"])
            assert answer.status_code == 202
            wait_until(lambda: client.get("/gallery").json()["building"] is not None)
        wait_until(lambda: client.get(answer.json()["url"]).json()["status"] == "done")
        assert client.get(one["url"]).status_code == 404


def test_an_old_version_cleaned_up_on_disk_is_answered_from_the_new_one(gallery, network, monkeypatch):
    settings = settings_for(gallery, follow_interval_s=1000)
    with open_client(create_app(settings, network)) as client:
        old = service_in(client).gallery.serve().snapshot
        remove_photos(gallery, [one["photo_id"] for one in found(client)["results"][:3]])
        read = GallerySnapshot.encodings

        def gone(self, rows):
            if self is old:
                raise GalleryVersionGoneError("cleaned up")
            return read(self, rows)

        monkeypatch.setattr(GallerySnapshot, "encodings", gone)
        assert found(client)["total_photos"] == 10


@pytest.mark.parametrize("size", [0, 1, 2])
def test_galleries_of_hardly_any_photos(tmp_path, network, size):
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(size):
        picture(number).save(root / f"{number}.png")
    build_gallery(root, tmp_path / "gallery", network, options=OPTIONS)
    with open_client(create_app(settings_for(tmp_path / "gallery"), network)) as client:
        assert len(found(client)["results"]) == size
        for one in found(client)["results"]:
            assert len(client.get(one["url"] + "/similar").json()["results"]) == size - 1
