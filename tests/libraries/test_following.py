"""The service follows its folder of photos whatever happens: without events, with too many, after a defect."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager
from functools import partial

import pytest
import watchfiles
from structlog.testing import capture_logs

from app.main import create_app
from app.service import background
from app.service.changes import gallery_changes
from app.service.changes.gallery_changes import GalleryChanges
from app.service.following import folder_follower
from app.service.following.folder_events import FolderEvents
from index_builder import BuildOptions, build_gallery, sync_gallery
from index_builder.gallery_errors import GalleryWriteError
from tests.app.conftest import WRITE_KEY, encoded, open_client, picture, service_in, settings_for, wait_until
from tests.index_builder.pictures import photo_bytes, write_photo


@pytest.fixture
def quick(monkeypatch):
    """No long pauses."""
    monkeypatch.setattr(folder_follower, "_GLANCE_S", 0.1)
    monkeypatch.setattr(folder_follower, "_FIRST_PAUSE_S", 0.2)
    monkeypatch.setattr(folder_follower, "_EVENTS_AGAIN_S", 0.5)
    monkeypatch.setattr(background, "_FIRST_PAUSE_S", 0.5)
    monkeypatch.setattr(background, "_PROVEN_S", 0.3)


@pytest.fixture
def looks(monkeypatch):
    """How often the gallery was compared with its folder."""
    done: list[bool] = []
    real = GalleryChanges.reconcile

    async def reconcile(self, *arguments):
        done.append(await real(self, *arguments))
        return done[-1]

    monkeypatch.setattr(GalleryChanges, "reconcile", reconcile)
    return done


@contextmanager
def following(photos, tmp_path, network, **changes):
    """A service that watches a folder, in line with it."""
    build_gallery(photos, tmp_path / "g", network, options=BuildOptions(workers=1))
    settings = settings_for(tmp_path / "g", photos=photos, watch=True, write_key=WRITE_KEY, **changes)
    with open_client(create_app(settings, network), headers={"Authorization": f"Bearer {WRITE_KEY}"}) as client:
        wait_until(lambda: client.get("/gallery").json()["following"] in ("events", "rescans"))
        yield client


def paths(client):
    snapshot = service_in(client).gallery.serve().snapshot
    return {snapshot.photo(row).path for row in range(len(snapshot))}


def has(client, path):
    return path in paths(client)


def metric(client, name):
    return next(float(line.split()[-1]) for line in client.get("/metrics").text.splitlines() if line.startswith(name))


@pytest.mark.usefixtures("quick")
def test_a_defect_of_following_is_seen_and_overcome(photos, tmp_path, network, monkeypatch):
    real, broken = GalleryChanges.reconcile, [True]

    async def reconcile(self, *arguments):
        if broken:
            raise OverflowError("Python int too large to convert to C long")
        return await real(self, *arguments)

    monkeypatch.setattr(GalleryChanges, "reconcile", reconcile)
    build_gallery(photos, tmp_path / "g", network, options=BuildOptions(workers=1))
    settings = settings_for(tmp_path / "g", photos=photos, watch=True)
    with open_client(create_app(settings, network)) as client:
        wait_until(lambda: client.get("/gallery").json()["following"] == "down")
        assert metric(client, "sketchseek_tasks_down ") == 1
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        assert "no longer follows" in ready.json()["reason"]
        wait_until(lambda: metric(client, 'sketchseek_task_restarts_total{task="follow_folder"}') >= 1)
        broken.clear()
        write_photo(photos / "new.jpg", seed=100)
        wait_until(lambda: "new.jpg" in paths(client))
        wait_until(lambda: client.get("/gallery").json()["following"] == "events")
        assert client.get("/readyz").json() == {"status": "ready"}


@pytest.mark.usefixtures("quick")
def test_a_defect_in_one_change_is_seen_and_the_change_is_tried_again(photos, tmp_path, network, monkeypatch):
    real, defects = sync_gallery, [True]

    def sync(*arguments, **options):
        if defects:
            raise OverflowError("Python int too large to convert to C long")
        return real(*arguments, **options)

    monkeypatch.setattr(gallery_changes, "sync_gallery", sync)
    with following(photos, tmp_path, network) as client:
        wait_until(lambda: client.get("/gallery").json()["last_error"] == "internal_error")
        assert "internal_error" in client.get("/readyz").json()["reason"]
        assert client.get("/gallery").json()["following"] == "events"
        write_photo(photos / "new.jpg", seed=100)
        defects.clear()
        wait_until(lambda: "new.jpg" in paths(client))
        wait_until(lambda: client.get("/gallery").json()["last_error"] is None)


@pytest.mark.usefixtures("quick")
def test_a_problem_that_holds_is_not_wiped_by_a_change_that_succeeds(photos, tmp_path, network, monkeypatch):
    def sync(*_arguments, **_options):
        raise GalleryWriteError("the disk is full")

    monkeypatch.setattr(gallery_changes, "sync_gallery", sync)
    with following(photos, tmp_path, network, upload_wait_s=100) as client:
        wait_until(lambda: client.get("/gallery").json()["last_error"] == "gallery_write_failed")
        answer = client.post("/photos", files={"photo": ("a.png", encoded(picture(5)))})
        assert answer.status_code == 201
        assert client.get("/gallery").json()["last_error"] == "gallery_write_failed"


def test_events_of_files_that_are_no_photos_start_nothing(photos, tmp_path, network, looks):
    (photos / "notes").mkdir()
    with following(photos, tmp_path, network) as client:
        wait_until(lambda: len(looks) == 1)
        for number in range(30):
            with (photos / "app.log").open("a") as file:
                file.write("a line\n")
            (photos / "cat" / f"{number}.xmp").write_text("a sidecar file")
            (photos / "cat" / f".{number}.jpg.part").write_text("half a photo")
            (photos / "cat" / f".{number}.jpg.part").unlink()
            (photos / "cat" / f"{number}.xmp").unlink()
        write_photo(photos / "cat" / "new.jpg", seed=100)
        wait_until(lambda: "cat/new.jpg" in paths(client))
        wait_until(lambda: len(looks) >= 2)  # the photo is served before the look at it ends
        assert len(looks) == 2


def test_rescans_alone_find_what_came_went_and_moved(photos, tmp_path, network, monkeypatch):
    monkeypatch.setattr(folder_follower, "_GLANCE_S", 0.1)
    monkeypatch.setattr(watchfiles, "watch", lambda *_a, **_k: pytest.fail("events are off"))
    with following(photos, tmp_path, network, watch_events="off", rescan_s=0.3) as client:
        assert client.get("/gallery").json()["following"] == "rescans"
        wait_until(lambda: len(paths(client)) == 10)
        write_photo(photos / "cat" / "new.jpg", seed=100)
        wait_until(lambda: "cat/new.jpg" in paths(client))
        (photos / "cat" / "new.jpg").unlink()
        wait_until(lambda: "cat/new.jpg" not in paths(client))
        (photos / "cat").rename(photos / "tom")
        wait_until(lambda: {one.split("/")[0] for one in paths(client)} == {"dog", "tom"})
        shutil.rmtree(photos / "tom")
        wait_until(lambda: {one.split("/")[0] for one in paths(client)} == {"dog"})


@pytest.mark.parametrize("first", [5, pytest.param(-5, marks=pytest.mark.slow)])
def test_following_goes_on_when_the_clock_jumps(photos, tmp_path, network, monkeypatch, first):
    """By hours, forwards and backwards: events, looks at folders' times, and looks at every file."""
    hours = [0]
    real = {name: getattr(time, name) for name in ("time", "time_ns")}
    monkeypatch.setattr(time, "time", lambda: real["time"]() + 3600 * hours[0])
    monkeypatch.setattr(time, "time_ns", lambda: real["time_ns"]() + 3600 * 10**9 * hours[0])
    monkeypatch.setattr(folder_follower, "_GLANCE_S", 0.1)

    def write(path, seed):
        path.write_bytes(photo_bytes(seed).ljust(3000, b"\0"))
        os.utime(path, (time.time(), time.time()))  # the clock of the system jumps as well

    with following(photos, tmp_path, network, rescan_s=0.4, full_rescan_s=1.2) as client:
        for turn, jump in enumerate((first, -first, 0)):
            hours[0] = jump
            new = photos / "cat" / f"new{turn}.jpg"
            write(new, 100 + turn)
            wait_until(partial(has, client, f"cat/{new.name}"))
            before = ids_of(client)
            write(new, 200 + turn)  # of the same size, in place
            wait_until(partial(has_other_ids, client, before))
            (photos / "dog" / f"{2 * turn}.jpg").unlink()
            wait_until(partial(lacks, client, f"dog/{2 * turn}.jpg"))
        assert client.get("/gallery").json()["last_error"] is None
        assert len(paths(client)) == 10


def ids_of(client):
    return set(service_in(client).gallery.serve().snapshot.photo_ids)


def has_other_ids(client, before):
    return ids_of(client) != before


def lacks(client, path):
    return not has(client, path)


def test_a_look_at_every_file_finds_a_content_written_in_place(photos, tmp_path, network, monkeypatch):
    monkeypatch.setattr(folder_follower, "_GLANCE_S", 0.1)
    settings = {"watch_events": "off", "rescan_s": 0, "full_rescan_s": 0.3}
    with following(photos, tmp_path, network, **settings) as client:
        before = service_in(client).gallery.serve().snapshot
        old = {before.photo(row).photo_id for row in range(len(before))}
        with (photos / "cat" / "1.jpg").open("r+b") as file:
            file.write(photo_bytes(100))
        wait_until(lambda: any(one not in old for one in service_in(client).gallery.serve().snapshot.photo_ids))


@pytest.mark.usefixtures("quick")
def test_where_no_events_can_be_had_rescans_follow_and_the_log_says_so_once(photos, tmp_path, network, monkeypatch):
    def none_left(*_places, **_options):
        raise OSError('OS file watch limit reached. about ["/photos"]')

    monkeypatch.setattr(watchfiles, "watch", none_left)
    with capture_logs() as lines, following(photos, tmp_path, network, rescan_s=0.3) as client:
        assert client.get("/gallery").json()["following"] == "rescans"
        write_photo(photos / "new.jpg", seed=100)
        wait_until(lambda: "new.jpg" in paths(client))
        write_photo(photos / "newer.jpg", seed=101)
        wait_until(lambda: "newer.jpg" in paths(client))
    said = [line for line in lines if "announces no changes" in line["event"]]
    assert len(said) == 1
    assert "max_user_watches" in said[0]["advice"]


@pytest.mark.usefixtures("quick")
def test_without_events_and_rescans_following_is_down(photos, tmp_path, network, monkeypatch):
    def none_left(*_places, **_options):
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(watchfiles, "watch", none_left)
    build_gallery(photos, tmp_path / "g", network, options=BuildOptions(workers=1))
    settings = settings_for(tmp_path / "g", photos=photos, watch=True, rescan_s=0, full_rescan_s=0)
    with open_client(create_app(settings, network)) as client:
        wait_until(lambda: client.get("/gallery").json()["following"] == "down")


@pytest.mark.usefixtures("quick")
def test_a_name_that_is_no_text_does_not_end_the_following(photos, tmp_path, network):
    with following(photos, tmp_path, network) as client:
        for name in (b"\xff\xfe.jpg", b"\xfd.jpg"):
            with open(os.fsencode(photos) + b"/" + name, "wb") as file:  # noqa: PTH123
                file.write(photo_bytes(100 + len(name)))
            wait_until(partial(has, client, name.decode(errors="backslashreplace")))
        write_photo(photos / "text.jpg", seed=110)
        wait_until(lambda: "text.jpg" in paths(client))


@pytest.mark.usefixtures("quick")
def test_a_folder_that_is_mounted_anew_is_followed_again(photos, tmp_path, network, looks):
    with following(photos, tmp_path, network) as client:
        wait_until(lambda: len(looks) == 1)
        photos.rename(tmp_path / "away")
        wait_until(lambda: len(looks) > 1)
        assert len(paths(client)) == 10
        before = len(looks)
        shutil.copytree(tmp_path / "away", photos)
        wait_until(lambda: len(looks) > before)
        write_photo(photos / "new.jpg", seed=100)
        wait_until(lambda: "new.jpg" in paths(client))


def test_what_changes_while_a_change_runs_is_kept(photos, tmp_path, network, monkeypatch):
    real, during = sync_gallery, list[int]()

    def sync(*arguments, **options):
        report = real(*arguments, **options)
        if not during:
            during.append(1)
            write_photo(photos / "during.jpg", seed=100)
        return report

    monkeypatch.setattr(gallery_changes, "sync_gallery", sync)
    with following(photos, tmp_path, network, rescan_s=0, full_rescan_s=0) as client:
        wait_until(lambda: "during.jpg" in paths(client))


def test_events_end_when_they_should(tmp_path):
    events = FolderEvents([tmp_path], lambda _path: True, lambda _paths: None)
    events.start(30)
    assert events.alive
    events.stop()
    wait_until(lambda: not events.alive, 10)
    assert events.error is None


@pytest.mark.usefixtures("quick")
def test_skipped_files_are_summed_up_by_reason_and_said_once(photos, tmp_path, network, looks):
    for number in range(8):
        (photos / f"broken-{number}.jpg").write_bytes(b"no picture at all")
        (photos / f"{number}.xmp").write_text("a sidecar file")
    with capture_logs() as lines, following(photos, tmp_path, network) as client:
        wait_until(lambda: len(looks) == 1)
        write_photo(photos / "new.jpg", seed=100)
        wait_until(lambda: "new.jpg" in paths(client))
    (said,) = [line for line in lines if line["event"] == "files were skipped"]
    assert said["files"] == 8
    assert len(said["first"]) == 5
