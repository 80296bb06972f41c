"""Photos by id: looking, similar ones, adding, deleting; and that nothing outside of the root is ever shown."""

import errno
import io
import os
import tempfile
import time

import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.main import create_app
from app.service.changes.jobs import Job
from index_builder import BuildOptions, GallerySnapshot, build_gallery, remove_photos
from index_builder.gallery_errors import GalleryVersionGoneError
from tests.app.conftest import (
    WRITE_KEY,
    encoded,
    open_client,
    picture,
    service_in,
    settings_for,
    sketch,
    wait_until,
)


def results(client: TestClient, **fields):
    answer = client.post("/search", files={"sketch": sketch()}, data={"top_k": "200", **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def paths(client: TestClient) -> set[str]:
    return {one["path"] for one in results(client)}


def test_a_photo_is_the_file_as_it_is_and_may_be_kept(service, shared_photos):
    one = results(service)[0]
    answer = service.get(one["url"])
    assert answer.content == (shared_photos / one["path"]).read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert "max-age" in answer.headers["cache-control"]
    assert "public" not in answer.headers["cache-control"]
    again = service.get(one["url"], headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_thumbnail_is_small_and_upright_and_may_be_kept(photos, tmp_path, network):
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(5, (900, 600)).save(photos / "turned.jpg", exif=turned)
    build_gallery(photos, tmp_path / "gallery", network, options=BuildOptions(workers=1))
    with open_client(create_app(settings_for(tmp_path / "gallery"), network)) as client:
        (one,) = [one for one in results(client) if one["path"] == "turned.jpg"]
        assert (one["width"], one["height"]) == (600, 900)
        answer = client.get(one["thumbnail_url"])
        assert answer.headers["content-type"] == "image/webp"
        assert Image.open(io.BytesIO(answer.content)).size == (171, 256)
        again = client.get(one["thumbnail_url"], headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_a_picture_for_the_screen_is_large_upright_and_shown_by_browsers(photos, tmp_path, network):
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(5, (900, 600)).save(photos / "turned.tif", exif=turned)
    build_gallery(photos, tmp_path / "gallery", network, options=BuildOptions(workers=1))
    settings = settings_for(tmp_path / "gallery", screen_size=512, screen_cache_bytes=30_000)
    with open_client(create_app(settings, network)) as client:
        (one,) = [one for one in results(client) if one["path"] == "turned.tif"]
        original = client.get(one["url"], params={"rendition": "original"})
        assert original.content == client.get(one["url"]).content == (photos / "turned.tif").read_bytes()
        answer = client.get(one["url"], params={"rendition": "screen"})
        assert answer.headers["content-type"] == "image/webp"
        assert Image.open(io.BytesIO(answer.content)).size == (341, 512)
        assert answer.headers["etag"] not in {
            original.headers["etag"],
            client.get(one["thumbnail_url"]).headers["etag"],
        }
        again = client.get(
            one["url"], params={"rendition": "screen"}, headers={"If-None-Match": answer.headers["etag"]}
        )
        assert (again.status_code, again.content) == (304, b"")
        for other in results(client):
            assert client.get(other["url"], params={"rendition": "screen"}).status_code == 200
        held = float(client.get("/metrics").text.split("\nsketchseek_screen_cache_bytes ")[1].split("\n")[0])
        assert 0 < held <= 30_000
        unknown = client.get(one["url"], params={"rendition": "huge"})
        assert (unknown.status_code, unknown.headers["content-type"]) == (422, "application/problem+json")


def test_browsers_ask_again_where_pictures_are_made_in_another_way(service, monkeypatch):
    one = results(service)[0]
    etag = service.get(one["thumbnail_url"]).headers["etag"]
    monkeypatch.setattr("app.service.files.renditions._MAKING", 1000)
    again = service.get(one["thumbnail_url"], headers={"If-None-Match": etag})
    assert (again.status_code, again.headers["etag"] == etag) == (200, False)


def test_thumbnails_stay_within_their_memory(shared_gallery, network):
    with open_client(create_app(settings_for(shared_gallery, thumbnail_cache_bytes=2000), network)) as client:
        for one in results(client):
            assert client.get(one["thumbnail_url"]).status_code == 200
        scraped = client.get("/metrics").text
    held = float(scraped.split("\nsketchseek_thumbnail_cache_bytes ")[1].split("\n")[0])
    assert 0 < held <= 2000


def test_similar_photos_leave_out_the_photo_itself(service):
    one = results(service)[0]
    answer = service.get(one["url"] + "/similar", params={"top_k": 100}).json()
    assert all("correspondences" not in result for result in answer["results"])
    assert answer["total_photos"] == 12
    assert len(answer["results"]) == 12
    assert one["photo_id"] not in {other["photo_id"] for other in answer["results"]}
    scores = [other["recall_score"] for other in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert len(service.get(one["url"] + "/similar", params={"top_k": 2}).json()["results"]) == 2


def test_similar_photos_of_a_version_cleaned_up_on_disk_come_from_the_new_one(gallery, network, monkeypatch):
    with open_client(create_app(settings_for(gallery, follow_interval_s=1000), network)) as client:
        one, *others = results(client)
        served = service_in(client).gallery
        old, read = served.serve().snapshot, GallerySnapshot.searched_descriptors
        remove_photos(gallery, [other["photo_id"] for other in others[:3]])

        def gone(self, rows):
            if self is old:
                raise GalleryVersionGoneError("cleaned up")
            return read(self, rows)

        monkeypatch.setattr(GallerySnapshot, "searched_descriptors", gone)
        answer = client.get(one["url"] + "/similar")
        assert (answer.status_code, len(answer.json()["results"])) == (200, 9)
        old = served.serve().snapshot
        answer = client.get(one["url"] + "/similar")
        assert (answer.status_code, answer.json()["code"]) == (503, "gallery_version_gone")


def test_a_version_that_another_request_swapped_in_is_one_to_answer_from(gallery, network):
    with open_client(create_app(settings_for(gallery, follow_interval_s=1000), network)) as client:
        one = results(client)[0]
        served, portal = service_in(client).gallery, client.portal
        before, tried = served.serve(), []
        assert portal is not None

        async def gone(version):
            tried.append(version)
            raise GalleryVersionGoneError("cleaned up")

        with pytest.raises(GalleryVersionGoneError):
            portal.call(served.answer, gone)
        assert tried == [before], "there is no other version"

        async def swapped_meanwhile(version):
            if version is before:
                remove_photos(gallery, [one["photo_id"]])
                assert await served.refresh()
                raise GalleryVersionGoneError("cleaned up")
            return version

        assert portal.call(served.answer, swapped_meanwhile) is served.serve() is not before


def test_an_uploaded_photo_is_found_at_once(writable, photos):
    data = encoded(picture(42), "JPEG")
    answer = writable.post("/photos", files=[("photo", ("../..\\Mein Foto (1).exe", data))])
    assert answer.status_code == 201, answer.text
    job = answer.json()
    (one,) = job["photos"]
    assert job["status"] == "done"
    assert job["refused"] == []
    assert one["path"].startswith("uploads/Mein-Foto-1-")
    assert one["path"].endswith(".jpg")
    assert (photos / one["path"]).read_bytes() == data
    assert writable.get(f"/photos/{one['photo_id']}").content == data
    assert one["path"] in paths(writable)
    assert writable.get(job["url"]).json()["status"] == "done"
    assert results(writable, tag="uploads")[0]["photo_id"] == one["photo_id"]


def test_names_of_uploads_are_made_harmless(writable, photos):
    names = ("x", ".", "..", "/etc/passwd", "a/../../b.png", ".hidden", "CON", "ü" * 300, "\x00\n")
    for number, name in enumerate(names):
        answer = writable.post("/photos", files=[("photo", (name, encoded(picture(1000 + number))))])
        assert answer.status_code == 201, answer.text
        stored = photos / answer.json()["photos"][0]["path"]
        assert stored.parent == photos / "uploads", name
        assert stored.name.isascii()
        assert not stored.name.startswith(".")
        assert stored.is_file()


def test_several_photos_of_which_one_is_none(writable):
    files = [
        ("photo", ("a.png", encoded(picture(1000)))),
        ("photo", ("b.png", b"no picture")),
        ("photo", ("c.png", b"")),
    ]
    answer = writable.post("/photos", files=files)
    assert answer.status_code == 201
    assert [one["file"] for one in answer.json()["photos"]] == ["a.png"]
    refused = [(one["file"], one["code"]) for one in answer.json()["refused"]]
    assert refused == [("b.png", "unreadable_image"), ("c.png", "empty_file")]


def test_uploads_that_are_refused_leave_nothing_behind(writable, photos):
    before = sorted(photos.rglob("*"))
    refused = writable.post("/photos", files=[("photo", ("b.png", b"no picture"))])
    assert (refused.status_code, refused.json()["code"]) == (422, "unreadable_image")
    assert refused.json()["refused"][0]["file"] == "b.png"
    for files, code in (([("other", b"x")], "unknown_field"), ([("photo", b"x")] * 51, "too_many_files")):
        answer = writable.post("/photos", files=files)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert writable.post("/photos", content=b"x", headers={"Content-Type": "image/png"}).status_code == 415
    assert sorted(photos.rglob("*")) == before


def test_an_upload_that_takes_long_is_a_job(gallery, photos, network):
    settings = settings_for(gallery, photos=photos, write_key=WRITE_KEY, upload_wait_s=0)
    with open_client(create_app(settings, network), headers={"Authorization": f"Bearer {WRITE_KEY}"}) as client:
        answer = client.post("/photos", files={"photo": encoded(picture(9))})
        assert answer.status_code == 202
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["status"] == "running"
        where = answer.headers["location"]
        assert where == answer.json()["url"]
        wait_until(lambda: client.get(where).json()["status"] == "done")
        photo_id = client.get(where).json()["photos"][0]["photo_id"]
        assert client.get(f"/photos/{photo_id}").status_code == 200
        assert client.get("/jobs/unknown").json()["code"] == "unknown_job"


def test_a_deleted_photo_is_gone_from_disk_and_from_the_gallery(writable, photos):
    one = results(writable)[0]
    assert writable.delete(one["url"]).status_code == 204
    assert not (photos / one["path"]).exists()
    assert writable.get(one["url"]).json()["code"] == "unknown_photo"
    assert writable.delete(one["url"]).status_code == 404
    assert one["path"] not in paths(writable)
    assert len(results(writable)) == 12


def test_a_photo_whose_file_is_gone_can_still_be_deleted(writable, photos):
    one = results(writable)[0]
    (photos / one["path"]).unlink()
    assert writable.get(one["url"]).json()["code"] == "photo_gone"
    assert writable.get(one["thumbnail_url"]).json()["code"] == "photo_gone"
    assert writable.delete(one["url"]).status_code == 204


def test_a_folder_that_cannot_be_written(writable, photos):
    (photos / "uploads").write_text("a file where the folder should be")
    answer = writable.post("/photos", files={"photo": encoded(picture(9))})
    assert (answer.status_code, answer.json()["code"]) == (409, "photos_read_only")


@pytest.mark.parametrize("trick", ["file", "folder", "pipe", "device"])
def test_nothing_outside_of_the_root_is_shown_or_deleted(writable, photos, tmp_path, trick):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "tiny.png").write_bytes(b"secret")
    (one,) = results(writable, tag="small")
    target = photos / one["path"]
    target.unlink()
    if trick == "file":
        target.symlink_to(secret / "tiny.png")
    elif trick == "folder":
        target.parent.rmdir()
        target.parent.symlink_to(secret)
    elif trick == "pipe":
        os.mkfifo(target)
    else:
        target.symlink_to("/dev/zero")
    started = time.monotonic()
    for url in (one["url"], one["thumbnail_url"]):
        answer = writable.get(url)
        assert (answer.status_code, answer.json()["code"]) == (404, "photo_gone")
    assert time.monotonic() - started < 60
    writable.delete(one["url"])
    assert (secret / "tiny.png").read_bytes() == b"secret"


def test_links_inside_of_the_root_are_fine(writable, photos):
    (one,) = results(writable, tag="small")
    target = photos / one["path"]
    data = target.read_bytes()
    target.rename(photos / "moved.png")
    target.symlink_to(photos / "moved.png")
    assert writable.get(one["url"]).content == data


def test_a_file_changed_a_moment_ago_is_not_to_be_kept(writable, photos):
    one = results(writable)[0]
    (photos / one["path"]).write_bytes(encoded(picture(31, (20, 20))))
    answer = writable.get(one["url"])
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers


def test_a_thumbnail_of_a_file_changed_a_moment_ago_is_not_kept(writable, photos):
    one = results(writable)[0]
    before = (photos / one["path"]).read_bytes()
    times = (photos / one["path"]).stat()
    (photos / one["path"]).write_bytes(encoded(picture(31, (20, 20))))
    answer = writable.get(one["thumbnail_url"])
    assert Image.open(io.BytesIO(answer.content)).size == (20, 20)
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers
    (photos / one["path"]).write_bytes(before)
    os.utime(photos / one["path"], ns=(times.st_atime_ns, times.st_mtime_ns))
    answer = writable.get(one["thumbnail_url"])
    assert Image.open(io.BytesIO(answer.content)).size == (one["width"], one["height"])
    assert "max-age" in answer.headers["cache-control"]


def test_another_picture_in_a_photos_place_is_not_deleted(writable, photos):
    """An id stands for one content: whoever asks to delete it has not seen what lies there now."""
    one = results(writable)[0]
    other = encoded(picture(31))
    (photos / one["path"]).write_bytes(other)
    answer = writable.delete(one["url"])
    assert (answer.status_code, answer.json()["code"]) == (404, "photo_gone")
    assert (photos / one["path"]).read_bytes() == other


def test_a_file_of_another_size_is_another_without_being_read(writable, photos, monkeypatch):
    """A film of gigabytes, say, that took the photo's name."""
    one = results(writable)[0]
    with (photos / one["path"]).open("r+b") as file:
        file.truncate(8 << 30)

    def read(*_given):
        raise AssertionError("read to the end")

    monkeypatch.setattr("app.service.files.photo_files.hashlib.file_digest", read)
    answer = writable.delete(one["url"])
    assert (answer.status_code, answer.json()["code"]) == (404, "photo_gone")


def test_a_photo_that_was_only_touched_is_deleted(writable, photos):
    one = results(writable)[0]
    os.utime(photos / one["path"], (1, 1))
    assert writable.delete(one["url"]).status_code == 204
    assert not (photos / one["path"]).exists()


def test_changes_that_fail_make_room_for_others(writable, monkeypatch):
    found = results(writable)

    def refuse(_path):
        raise PermissionError(errno.EROFS, "a folder mounted for reading alone")

    with monkeypatch.context() as patched:
        patched.setattr("app.service.files.photo_files.os.unlink", refuse)
        for _ in range(40):
            answer = writable.delete(found[0]["url"])
            assert (answer.status_code, answer.json()["code"]) == (409, "photos_read_only")
    assert writable.post("/photos", files={"photo": encoded(picture(9))}).status_code == 201
    assert writable.delete(found[0]["url"]).status_code == 204


def test_deletions_wait_in_a_bounded_line(gallery, photos, network):
    settings = settings_for(gallery, photos=photos, write_key=WRITE_KEY, upload_wait_s=0)
    with open_client(create_app(settings, network), headers={"Authorization": f"Bearer {WRITE_KEY}"}) as client:
        jobs = service_in(client).jobs
        waiting = [jobs.add(Job([])) for _ in range(32)]
        one = results(client)[0]
        answer = client.delete(one["url"])
        assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
        assert (photos / one["path"]).exists()
        for job in waiting:
            job.status = "done"
        assert client.delete(one["url"]).status_code in (202, 204)


def test_no_room_for_temporary_files_is_said(writable, monkeypatch):
    opened = []

    class Full(tempfile.SpooledTemporaryFile[bytes]):
        def write(self, _data):
            opened.append(self)
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", Full)
    answer = writable.post("/photos", files={"photo": encoded(picture(9))})
    assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
    assert opened
    assert all(file.closed for file in opened)
