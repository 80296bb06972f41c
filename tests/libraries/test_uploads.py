"""An upload is whole or refused, a content becomes one photo, and a service that is killed loses none."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading

import pytest

from app.main import create_app
from app.service.changes.indexed_uploads import index_uploads
from app.service.changes.stored_uploads import store_upload
from app.service.changes.upload_notes import note, noted
from app.settings import load_settings
from index_builder import add_photos, build_gallery, remove_photos, sync_gallery
from index_builder.gallery_errors import GalleryWriteError
from model.errors import SketchseekError
from model.images.opening import read_image
from model.whole_file import write_whole
from tests.app.conftest import WRITE_KEY, open_client, service_in, settings_for, wait_until
from tests.index_builder.pictures import photo_bytes, write_photo


@pytest.fixture
def gallery(tmp_path, photos, network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    return tmp_path / "g"


def service_over(gallery, network, **changes):
    settings = settings_for(gallery, **{"write_key": WRITE_KEY, "upload_wait_s": 100, **changes})
    return open_client(create_app(settings, network), headers={"Authorization": f"Bearer {WRITE_KEY}"})


@pytest.fixture
def service(gallery, network):
    with service_over(gallery, network) as client:
        yield client


def send(client, *contents):
    return client.post("/photos", files=[("photo", (f"{n}.jpg", data)) for n, data in enumerate(contents)])


def photos_in(client):
    return client.get("/gallery").json()["photos"]


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# --- where the photos' folder is


@pytest.mark.parametrize(
    "photos_setting",
    [
        "photos",
        *(pytest.param(other, marks=pytest.mark.slow) for other in ("./photos", "../here/photos")),
        "~/photos",
        "link",
    ],
)
def test_a_relative_folder_of_photos(tmp_path, network, options, monkeypatch, photos_setting):
    here = tmp_path / "here"
    write_photo(here / "photos" / "1.jpg", seed=1)
    (here / "link").symlink_to("photos")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("SKETCHSEEK_PHOTOS", photos_setting)
    monkeypatch.setenv("SKETCHSEEK_GALLERY", "gallery")
    settings = load_settings(write_key=WRITE_KEY, upload_wait_s=100.0, torch_threads=1)
    monkeypatch.chdir("/")  # relative to where it was read, whatever happens later
    with open_client(create_app(settings, network), headers={"Authorization": f"Bearer {WRITE_KEY}"}) as client:
        answer = send(client, photo_bytes(5))
        assert answer.status_code == 201, answer.text
        (one,) = answer.json()["photos"]
        assert (here / "photos" / one["path"]).read_bytes() == photo_bytes(5)
        assert client.get(f"/photos/{one['photo_id']}").status_code == 200
        assert client.delete(f"/photos/{one['photo_id']}").status_code == 204
        assert files_in(here / "photos") == ["1.jpg"]
    assert sync_gallery(here / "gallery", network, options=options).unchanged == 1


def test_every_path_in_the_settings_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mine.safetensors").touch()
    (tmp_path / "plain").touch()
    settings = load_settings(gallery="a/../b", photos="p", checkpoint="weights/mine.safetensors")
    assert str(settings.gallery) == f"{tmp_path}/b"
    assert settings.checkpoint == f"{tmp_path}/weights/mine.safetensors"
    assert str(load_settings(gallery="~/g").gallery) == f"{tmp_path}/home/g"
    assert load_settings(checkpoint="zse-lite").checkpoint == "zse-lite"
    assert load_settings(checkpoint="plain").checkpoint == f"{tmp_path}/plain"


def test_uploads_lie_in_the_first_of_several_folders(tmp_path, network, options):
    write_photo(tmp_path / "one" / "1.jpg", seed=1)
    write_photo(tmp_path / "two" / "2.jpg", seed=2)
    build_gallery([tmp_path / "one", tmp_path / "two"], tmp_path / "g", network, options=options)
    with service_over(tmp_path / "g", network) as client:
        (one,) = send(client, photo_bytes(5)).json()["photos"]
        assert one["path"].startswith("one/uploads/")
        assert client.get(f"/photos/{one['photo_id']}").content == photo_bytes(5)
        (again,) = send(client, photo_bytes(2)).json()["photos"]
        assert (again["path"], again["known"]) == ("two/2.jpg", True)


# --- one content, one photo


def test_what_the_gallery_has_is_not_taken_again(service, photos):
    before = files_in(photos)
    answer = send(service, (photos / "cat" / "3.jpg").read_bytes())
    assert answer.status_code == 200
    (known,) = answer.json()["photos"]
    assert (known["path"], known["known"], answer.json()["refused"]) == ("cat/3.jpg", True, [])
    assert service.get(f"/photos/{known['photo_id']}").content == photo_bytes(3)
    assert (photos_in(service), files_in(photos)) == (10, before)

    first = send(service, photo_bytes(50))
    again = send(service, photo_bytes(50))
    assert (first.status_code, again.status_code) == (201, 200)
    assert [one["known"] for one in first.json()["photos"] + again.json()["photos"]] == [False, True]
    assert first.json()["photos"][0]["photo_id"] == again.json()["photos"][0]["photo_id"]
    assert photos_in(service) == 11
    assert service.get(again.json()["url"]).json()["status"] == "done"


def test_twice_in_one_upload(service, photos):
    answer = send(service, photo_bytes(50), photo_bytes(50), photo_bytes(51))
    assert answer.status_code == 201
    first, again, other = answer.json()["photos"]
    assert (first["photo_id"], first["path"]) == (again["photo_id"], again["path"])
    assert [one["known"] for one in (first, again, other)] == [False, True, False]
    assert photos_in(service) == 12
    assert len(files_in(photos / "uploads")) == 2


def test_known_new_and_refused_in_one_upload(service, photos):
    answer = send(service, photo_bytes(3), b"no picture", photo_bytes(50))
    assert answer.status_code == 201
    assert [(one["file"], one["known"]) for one in answer.json()["photos"]] == [("0.jpg", True), ("2.jpg", False)]
    assert [(one["file"], one["code"]) for one in answer.json()["refused"]] == [("1.jpg", "unreadable_image")]
    answer = send(service, photo_bytes(3), b"no picture")
    assert answer.status_code == 200
    assert len(answer.json()["refused"]) == 1
    assert len(files_in(photos / "uploads")) == 1


def test_at_the_same_time(service, photos):
    answers = []

    def one():
        answers.append(send(service, photo_bytes(50)))

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.json()["photos"][0]["photo_id"] for answer in answers}) == 1
    assert len(files_in(photos / "uploads")) == 1
    assert photos_in(service) == 11


def test_a_sync_that_is_faster_than_two_equal_uploads(gallery, photos, network, monkeypatch):
    """Both files are photos by the time the uploads are indexed: one of them goes, and both answers name the other."""

    def late(uploads, *given):
        copy = photos / "uploads" / "earlier.jpg"
        if not copy.exists():
            shutil.copy(photos / os.fsdecode(uploads[0].stored.raw_path), copy)
            sync_gallery(gallery, network)
        return index_uploads(uploads, *given)

    monkeypatch.setattr("app.service.changes.gallery_changes.index_uploads", late)
    with service_over(gallery, network) as client:
        answer = send(client, photo_bytes(50))
        assert answer.status_code == 200
        (one,) = answer.json()["photos"]
        assert one["path"] == "uploads/earlier.jpg"
        assert files_in(photos / "uploads") == ["earlier.jpg"]
        assert photos_in(client) == 11
        assert client.get(f"/photos/{one['photo_id']}").status_code == 200


def test_a_photo_whose_file_is_lost_is_taken_again_under_its_id(service, photos):
    (known,) = send(service, photo_bytes(3)).json()["photos"]
    (photos / "cat" / "3.jpg").unlink()
    answer = send(service, photo_bytes(3))
    assert answer.status_code == 201
    (one,) = answer.json()["photos"]
    assert one["photo_id"] == known["photo_id"]
    assert one["path"].startswith("uploads/")
    assert service.get(f"/photos/{one['photo_id']}").content == photo_bytes(3)
    write_photo(photos / "cat" / "5.jpg", seed=99)  # and one whose file has become another picture
    assert send(service, photo_bytes(5)).status_code == 201


# --- whole or refused


def test_a_file_that_cannot_be_indexed_goes_away_again(service, photos, monkeypatch):
    refused = photo_bytes(51)

    def odd(data, *given, **named):
        if data == refused:
            raise SketchseekError("there is something about it")
        return read_image(data, *given, **named)

    monkeypatch.setattr("index_builder.ingest.decode.read_image", odd)
    answer = send(service, photo_bytes(50), refused)
    assert answer.status_code == 201
    assert [one["file"] for one in answer.json()["photos"]] == ["0.jpg"]
    (one,) = answer.json()["refused"]
    assert (one["file"], one["code"]) == ("1.jpg", "not_indexed")
    assert "cannot be decoded" in one["detail"]
    assert "SketchseekError" not in one["detail"]
    assert len(files_in(photos / "uploads")) == 1
    answer = send(service, refused, refused)
    assert (answer.status_code, answer.json()["code"]) == (422, "not_indexed")
    assert [one["file"] for one in answer.json()["refused"]] == ["0.jpg", "1.jpg"]
    assert len(files_in(photos / "uploads")) == 1


def test_a_change_that_fails_leaves_no_file(service, photos, monkeypatch):
    def full(*_given, **_named):
        raise GalleryWriteError("the disk is full")

    monkeypatch.setattr("app.service.changes.indexed_uploads.add_photos", full)
    answer = send(service, photo_bytes(50), photo_bytes(3))
    assert answer.status_code == 500
    assert [one["file"] for one in answer.json()["refused"]] == ["0.jpg"]
    assert not files_in(photos / "uploads")


def test_a_disk_that_is_full_at_the_second_file(service, photos, monkeypatch):
    calls = []

    def full(path, data):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(path, data)

    monkeypatch.setattr("app.service.files.photo_files.write_whole", full)
    answer = send(service, photo_bytes(50), photo_bytes(51))
    assert answer.status_code == 201
    assert [(one["file"], one["code"]) for one in answer.json()["refused"]] == [("1.jpg", "disk_full")]
    calls.clear()
    calls.append("one before")
    answer = send(service, photo_bytes(52))
    assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
    assert len(files_in(photos / "uploads")) == 1


def test_a_request_that_ends_in_a_defect_leaves_no_file(gallery, photos, network, monkeypatch):
    calls = []

    def defect(*given, **named):
        calls.append(given)
        if len(calls) == 2:
            raise RuntimeError("a defect")
        return store_upload(*given, **named)

    monkeypatch.setattr("app.http.routes.photos.store_upload", defect)
    with service_over(gallery, network) as client, contextlib.suppress(RuntimeError):
        send(client, photo_bytes(50), photo_bytes(51))
    assert len(calls) == 2
    assert not files_in(photos / "uploads")


@pytest.mark.parametrize("watch", [False, True])
def test_an_upload_that_was_stored_but_not_indexed_is_taken_at_the_next_start(gallery, photos, network, watch):
    """What a service leaves that is killed in between: the file, whole, a note of it, and no row."""
    write_photo(photos / "uploads" / "left-0123456789abcdef.jpg", seed=50)
    assert note(gallery, b"uploads/left-0123456789abcdef.jpg") is not None
    note(gallery, b"uploads/never-written.jpg")
    with service_over(gallery, network, watch=watch, photos=photos if watch else None) as client:
        wait_until(lambda: photos_in(client) == 11)
        (known,) = send(client, photo_bytes(50)).json()["photos"]
        assert (known["path"], known["known"]) == ("uploads/left-0123456789abcdef.jpg", True)


def test_a_stored_upload_waits_until_its_folder_is_back(gallery, photos, network):
    write_photo(photos / "uploads" / "left.jpg", seed=50)
    left = note(gallery, b"uploads/left.jpg")
    photos.rename(photos.with_name("away"))
    with service_over(gallery, network) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
    assert list(noted(gallery)) == [left]
    photos.with_name("away").rename(photos)
    with service_over(gallery, network) as client:
        wait_until(lambda: photos_in(client) == 11)
    assert noted(gallery) == {}


def test_a_note_of_a_folder_that_left_the_gallery_stops_no_other(tmp_path, photos, network, options):
    build_gallery([f"mine={photos}"], tmp_path / "g", network, options=options)
    write_photo(photos / "uploads" / "left.jpg", seed=50)
    note(tmp_path / "g", b"mine/uploads/left.jpg")
    note(tmp_path / "g", b"theirs/uploads/left.jpg")
    with service_over(tmp_path / "g", network) as client:
        wait_until(lambda: photos_in(client) == 11)
    assert noted(tmp_path / "g") == {}


def test_an_upload_that_was_removed_from_the_gallery_stays_out_of_it(gallery, photos, network):
    with service_over(gallery, network) as client:
        (photo,) = send(client, photo_bytes(50)).json()["photos"]
        send(client, b"no picture")
    assert noted(gallery) == {}
    remove_photos(gallery, [photo["photo_id"]])
    note(gallery, b"uploads/never-written.jpg")
    with service_over(gallery, network) as client:
        wait_until(lambda: noted(gallery) == {})
        assert photos_in(client) == 10
    assert len(files_in(photos / "uploads")) == 1


def test_a_service_that_ends_keeps_what_it_has_taken_in(gallery, photos, network, monkeypatch):
    started, go_on = threading.Event(), threading.Event()

    def slow(*given, **named):
        started.set()
        go_on.wait(60)
        return add_photos(*given, **named)

    monkeypatch.setattr("app.service.changes.indexed_uploads.add_photos", slow)
    with service_over(gallery, network, upload_wait_s=0) as client:
        assert send(client, photo_bytes(50)).status_code == 202
        assert started.wait(60)
        answer = send(client, photo_bytes(51))  # waits for the first
        assert answer.status_code == 202
        service_in(client).changes.stop()
        go_on.set()
    assert len(files_in(photos / "uploads")) == len(noted(gallery)) == 2
    with service_over(gallery, network) as client:
        wait_until(lambda: photos_in(client) == 12)


def test_moved_photos_keep_their_addresses(gallery, photos, network):
    with service_over(gallery, network, photos=photos, watch=True) as client:
        (known,) = send(client, photo_bytes(3)).json()["photos"]
        address = f"/photos/{known['photo_id']}"
        before = [client.get(url).headers["etag"] for url in (address, address + "/thumbnail")]
        (photos / "cat").rename(photos / "lions")
        wait_until(lambda: {one["name"] for one in client.get("/gallery").json()["tags"]} == {"dog", "lions"})
        wait_until(lambda: client.get(address).status_code == 200)
        after = [client.get(url).headers["etag"] for url in (address, address + "/thumbnail")]
        assert after == before
        answer = client.get(address, headers={"If-None-Match": before[0]})
        assert answer.status_code == 304
        (now,) = send(client, photo_bytes(3)).json()["photos"]
        assert (now["photo_id"], now["path"]) == (known["photo_id"], "lions/3.jpg")
