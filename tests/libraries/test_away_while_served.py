"""What a service does while a disk is away: nothing is written or deleted there, and no new gallery is begun."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest

from app.main import create_app
from app.service.changes.gallery_changes import GalleryChanges
from app.service.changes.held_photos import HeldPhotos
from app.service.following import folder_follower
from app.service.following.look_schedule import LookSchedule
from app.service_errors import RequestError
from index_builder import BuildOptions, GallerySnapshot, build_gallery, sync_gallery
from index_builder.comparing import places
from index_builder.photo_folders import PhotoFolders
from index_builder.scanning.walking import identity_of
from index_builder.store.folder_looks import FolderLooks
from tests.app.conftest import WRITE_KEY, open_client, settings_for, wait_until
from tests.index_builder.pictures import photo_bytes, write_photo

OPTIONS = BuildOptions(workers=1)


@contextmanager
def served(gallery, network, **changes):
    settings = settings_for(gallery, write_key=WRITE_KEY, upload_wait_s=60, **changes)
    with open_client(create_app(settings, network), headers={"Authorization": f"Bearer {WRITE_KEY}"}) as client:
        yield client


def send(client, seed):
    return client.post("/photos", files={"photo": ("new.jpg", photo_bytes(seed))})


def refused(answer):
    return answer.status_code, answer.json()["code"]


def ids(gallery, network):
    snapshot = GallerySnapshot.load(gallery, network.identity)
    return {snapshot.photo(row).path: snapshot.photo(row).photo_id for row in range(len(snapshot))}


@pytest.fixture
def devices(monkeypatch):
    numbers = dict[str, int]()
    monkeypatch.setattr(places, "device_of", lambda place: numbers.get(str(place), 7))
    return numbers


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(folder_follower, "_GLANCE_S", 0.1)


@pytest.mark.parametrize("watch", [True, False])
def test_nothing_is_uploaded_to_another_disk_at_the_same_place(tmp_path, photos, network, devices, watch):
    build_gallery(photos, tmp_path / "g", network, options=OPTIONS)
    photos.rename(tmp_path / "nas")
    photos.mkdir()
    devices[str(photos)] = 8
    with served(tmp_path / "g", network, photos=str(photos), watch=watch) as client:
        if watch:
            wait_until(lambda: client.get("/gallery").json()["held"])
        assert refused(send(client, 500)) == (409, "folder_away")
    assert not any(photos.iterdir())


def test_a_disk_with_another_number_that_has_the_photos_takes_uploads(tmp_path, photos, network, devices):
    build_gallery(photos, tmp_path / "g", network, options=OPTIONS)
    devices[str(photos)] = 8
    with served(tmp_path / "g", network, photos=str(photos)) as client:
        assert send(client, 500).status_code == 201


def test_a_folder_without_photos_takes_uploads_whatever_number_its_disk_has(tmp_path, photos, network, devices):
    (empty := tmp_path / "empty").mkdir()
    folders = f"uploads={empty}:photos={photos}"
    build_gallery([f"uploads={empty}", f"photos={photos}"], tmp_path / "g", network, options=OPTIONS)
    devices[str(empty)] = 8
    with served(tmp_path / "g", network, photos=folders) as client:
        assert send(client, 500).status_code == 201


def test_a_folder_whose_photos_come_last_is_known_by_its_photos(tmp_path, photos, network, devices):
    build_gallery(photos, tmp_path / "g", network, options=OPTIONS)
    note = FolderLooks.read(tmp_path / "g")
    (other := tmp_path / "other").mkdir()
    look = note.looks[str(photos)]
    FolderLooks({str(photos): look, str(other): look}).write(tmp_path / "g")
    devices[str(other)] = 8
    folders = PhotoFolders.of([f"photos={photos}", f"other={other}"])

    def paths():
        return iter([b"photos/%d.jpg" % number for number in range(10_000)] + [b"other/1.jpg"])

    with pytest.raises(RequestError):
        HeldPhotos(tmp_path / "g").check_deletion(folders, b"other/2.jpg", paths)
    (other / "1.jpg").touch()
    HeldPhotos(tmp_path / "g").check_deletion(folders, b"other/2.jpg", paths)


def test_the_disk_of_the_uploads_alone_is_away(tmp_path, photos, network, monkeypatch):
    (uploads := photos / "uploads").mkdir()
    write_photo(uploads / "0.jpg", seed=200)
    points = {str(uploads)}
    monkeypatch.setattr(places, "is_mount", lambda place: str(place) in points)
    monkeypatch.setattr(places, "mount_points", lambda: frozenset(points))
    build_gallery(photos, tmp_path / "g", network, options=OPTIONS)
    uploads.rename(tmp_path / "elsewhere")
    uploads.mkdir()
    points.clear()
    with served(tmp_path / "g", network, photos=str(photos)) as client:
        assert refused(send(client, 500)) == (409, "folder_away")
    assert not any(uploads.iterdir())


@pytest.mark.usefixtures("quick")
def test_a_photo_of_a_folder_that_is_away_is_not_deleted(tmp_path, photos, network):
    build_gallery(photos, tmp_path / "g", network, options=OPTIONS)
    photo = ids(tmp_path / "g", network)["cat/1.jpg"]
    photos.rename(tmp_path / "nas")
    photos.mkdir()
    with served(tmp_path / "g", network, photos=str(photos), watch=True) as client:
        wait_until(lambda: client.get("/gallery").json()["held"])
        assert refused(client.delete(f"/photos/{photo}")) == (409, "folder_away")
        assert client.get("/gallery").json()["photos"] == 10
        photos.rmdir()
        assert refused(client.delete(f"/photos/{photo}")) == (409, "folder_away")
        (tmp_path / "nas").rename(photos)
        wait_until(lambda: not client.get("/gallery").json()["held"])
        assert client.delete(f"/photos/{photo}").status_code == 204
    assert not (photos / "cat" / "1.jpg").exists()


@pytest.mark.parametrize("said", [True, False])
def test_links_that_only_the_gallery_remembers_count_for_every_route(tmp_path, photos, network, said):
    nas = tmp_path / "nas"
    for index in range(3):
        write_photo(nas / f"{index}.jpg", seed=100 + index)
    (photos / "nas").symlink_to(nas)
    folders = replace(PhotoFolders.of(photos), links_to=(nas,))
    build_gallery(folders, tmp_path / "g", network, options=OPTIONS)
    photo = ids(tmp_path / "g", network)["nas/0.jpg"]
    with served(tmp_path / "g", network, **({"photos": str(photos)} if said else {})) as client:
        assert client.get(f"/photos/{photo}").status_code == 200
        again = send(client, 101)
        assert (again.status_code, again.json()["photos"][0]["path"]) == (200, "nas/1.jpg")
        assert client.delete(f"/photos/{photo}").status_code == 204
    assert not (nas / "0.jpg").exists()


@pytest.mark.usefixtures("quick")
def test_a_gallery_whose_disk_is_away_is_not_begun_anew(tmp_path, photos, network, monkeypatch):
    gallery, real, looks = tmp_path / "g", GalleryChanges.reconcile, list[bool]()

    async def reconcile(self, *arguments):
        looks.append(await real(self, *arguments))
        return looks[-1]

    monkeypatch.setattr(GalleryChanges, "reconcile", reconcile)
    build_gallery(photos, gallery, network, options=OPTIONS)
    before = ids(gallery, network)
    with served(gallery, network, photos=str(photos), watch=True) as client:
        wait_until(lambda: looks == [True])
        gallery.rename(tmp_path / "away")
        gallery.mkdir()
        write_photo(photos / "new.jpg", seed=300)
        wait_until(lambda: looks[1:] == [False])
        assert client.get("/gallery").json()["last_error"] == "gallery_not_found"
        assert "gallery_not_found" in client.get("/readyz").json()["reason"]
        assert send(client, 500).status_code == 500
        assert not any(gallery.iterdir())
        assert client.get("/gallery").json()["photos"] == 10
    gallery.rmdir()
    (tmp_path / "away").rename(gallery)
    assert ids(gallery, network) == before


@pytest.mark.usefixtures("quick")
def test_rules_that_a_command_changes_reach_a_service_that_follows(tmp_path, photos, network):
    gallery = tmp_path / "g"
    build_gallery(replace(PhotoFolders.of(photos), exclude=("cat/",)), gallery, network, options=OPTIONS)
    with served(gallery, network, photos=str(photos), watch=True) as client:
        wait_until(lambda: client.get("/gallery").json()["following"] == "events")
        everything = replace(PhotoFolders.of(photos), exclude=())
        sync_gallery(gallery, network, photos=everything, options=replace(OPTIONS, wait_s=60))
        wait_until(lambda: client.get("/gallery").json()["photos"] == 10)
        write_photo(photos / "cat" / "new.jpg", seed=300)
        wait_until(lambda: client.get("/gallery").json()["photos"] == 11)


def test_a_name_that_only_the_gallery_remembers_is_kept_by_the_service(tmp_path, photos, network):
    build_gallery(f"home={photos}", tmp_path / "g", network, options=OPTIONS)
    with served(tmp_path / "g", network, photos=str(photos)) as client:
        photo = ids(tmp_path / "g", network)["home/cat/1.jpg"]
        assert client.get(f"/photos/{photo}").status_code == 200
        assert send(client, 500).json()["photos"][0]["path"].startswith("home/uploads/")
    assert all(path.startswith("home/") for path in ids(tmp_path / "g", network))


def test_a_mount_below_a_folder_is_noticed(tmp_path, photos):
    (nas := tmp_path / "nas").mkdir()
    (photos / "nas").symlink_to(nas)
    looks = LookSchedule(replace(PhotoFolders.of(photos), links_to=(nas,)), tmp_path / "g", 900, 900)
    assert not looks.replaced()
    before = identity_of(nas)
    nas.rename(tmp_path / "other")
    nas.mkdir()
    assert identity_of(nas) != before
    assert looks.replaced()
    assert not looks.replaced()
