"""A service over photos in a bucket: it shows, takes in, deletes and follows them, and says so where it cannot."""

from __future__ import annotations

import io
import urllib.request
import zipfile
from contextlib import contextmanager

import pytest
from PIL import Image

from app.cli import main
from app.main import create_app
from app.setup.doctor import examine
from index_builder import BuildOptions, build_gallery
from index_builder.photo_files.bucket import Bucket
from index_builder.photo_places import BucketFolder
from tests.app.conftest import WRITE_KEY, open_client, settings_for, wait_until
from tests.index_builder.pictures import photo_bytes

OPTIONS = BuildOptions(workers=1)
NAMES = ("cat/a b.jpg", "cat/ü+%.jpg", "dog/c.jpg")


@pytest.fixture
def bucket(object_store):
    name = object_store.bucket()
    for seed, path in enumerate(NAMES):
        object_store.put(name, f"photos/{path}", photo_bytes(seed))
    return name


@pytest.fixture
def gallery(bucket, tmp_path, network):
    build_gallery(f"s3://{bucket}/photos", tmp_path / "g", network, options=OPTIONS)
    return tmp_path / "g"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("app.service.following.folder_follower._GLANCE_S", 0.1)


@contextmanager
def served(gallery, network, **changes):
    settings = settings_for(gallery, write_key=WRITE_KEY, upload_wait_s=60, **changes)
    with open_client(create_app(settings, network), headers={"Authorization": f"Bearer {WRITE_KEY}"}) as client:
        yield client


def found(client):
    """Path -> result, of a search that finds everything."""
    answer = client.post("/search", files={"sketch": ("s.png", photo_bytes(1))}, data={"top_k": "50"})
    return {one["path"]: one for one in answer.json()["results"]}


def test_photos_are_shown_and_sent(gallery, network):
    with served(gallery, network) as client:
        results = found(client)
        assert set(results) == set(NAMES)
        for seed, path in enumerate(NAMES):
            answer = client.get(results[path]["url"])
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
            assert answer.content == photo_bytes(seed)
            etag = {"If-None-Match": answer.headers["etag"]}
            assert client.get(results[path]["url"], headers=etag).status_code == 304
        small = client.get(results["dog/c.jpg"]["thumbnail_url"])
        assert Image.open(io.BytesIO(small.content)).format == "WEBP"
        ids = [one["photo_id"] for one in results.values()]
        archive = zipfile.ZipFile(io.BytesIO(client.post("/archive", json={"photos": ids}).content))
        assert sorted(map(archive.read, archive.namelist())) == sorted(map(photo_bytes, range(3)))
        sketch = {"sketch": ("s.png", photo_bytes(1))}
        overlay = client.post("/explain", files=sketch, data={"photo_id": ids[0], "format": "overlay"})
        assert overlay.headers["content-type"] == "image/png"


def test_signed_addresses_lead_to_the_bucket(object_store, gallery, network):
    with served(gallery, network, photo_links="signed", photo_link_s=60) as client:
        for seed, path in enumerate(NAMES):
            photo = found(client)[path]
            answer = client.get(photo["url"], follow_redirects=False)
            assert answer.status_code == 307
            address = answer.headers["location"]
            assert address.startswith(f"{object_store.address}/bucket-")
            assert "X-Amz-Expires=60" in address
            assert "a-secret" not in address
            with urllib.request.urlopen(address) as sent:  # noqa: S310 - our own server
                assert sent.read() == photo_bytes(seed)
            assert client.get(photo["thumbnail_url"]).status_code == 200
            assert client.get(f"{photo['url']}?rendition=screen").headers["content-type"] == "image/webp"
        policy = client.get("/").headers["content-security-policy"]
        assert f"img-src 'self' {object_store.address} blob:" in policy
    with served(gallery, network) as client:
        assert object_store.address not in client.get("/").headers["content-security-policy"]


def test_an_upload_and_a_deletion_reach_the_bucket(object_store, gallery, bucket, network):
    with served(gallery, network) as client:
        job = client.post("/photos", files={"photo": ("new.jpg", photo_bytes(9))}).json()
        (upload,) = job["photos"]
        assert upload["path"].startswith("uploads/new-")
        assert found(client)[upload["path"]]["photo_id"] == upload["photo_id"]
        place = Bucket(BucketFolder("s3", bucket, "photos"))
        assert place.is_there(upload["path"].encode())
        again = client.post("/photos", files={"photo": ("same.jpg", photo_bytes(9))})
        assert again.status_code == 200
        assert client.delete(f"/photos/{upload['photo_id']}").status_code == 204
        assert not place.is_there(upload["path"].encode())
        assert set(found(client)) == set(NAMES)
        object_store.put(bucket, "photos/dog/c.jpg", photo_bytes(77))
        gone = client.delete(f"/photos/{found(client)['dog/c.jpg']['photo_id']}")
        assert (gone.status_code, gone.json()["code"]) == (404, "photo_gone")
        assert place.is_there(b"dog/c.jpg")


def test_a_refused_upload_leaves_nothing_behind(gallery, bucket, network):
    with served(gallery, network) as client:
        client.post("/photos", files={"photo": ("new.jpg", b"no picture")})
    names = [name for name, _ in Bucket(BucketFolder("s3", bucket)).objects()]
    assert sorted(names) == sorted(f"photos/{name}".encode() for name in NAMES)


def test_a_bucket_that_does_not_answer(object_store, gallery, bucket, network):
    with served(gallery, network) as client:
        photo = found(client)["dog/c.jpg"]
        with object_store.failing(lambda *_: 503):
            for url in (photo["url"], photo["thumbnail_url"]):
                answer = client.get(url)
                assert (answer.status_code, answer.json()["code"]) == (503, "photos_unreachable")
                assert answer.headers["retry-after"]
            upload = client.post("/photos", files={"photo": ("new.jpg", photo_bytes(9))})
            assert (upload.status_code, upload.json()["code"]) == (409, "folder_away")
            deletion = client.delete(f"/photos/{photo['photo_id']}")
            assert (deletion.status_code, deletion.json()["code"]) == (409, "folder_away")
        with object_store.failing(lambda method, _: 403 if method in ("PUT", "POST", "DELETE") else None):
            refused = client.delete(f"/photos/{photo['photo_id']}")
            assert (refused.status_code, refused.json()["code"]) == (409, "photos_read_only")
        assert client.get(photo["url"]).status_code == 200
        object_store.put(bucket, "photos/dog/c.jpg", b"<script>no picture</script>")
        answer = client.get(photo["url"])
        assert (answer.status_code, answer.json()["code"]) == (404, "photo_gone")
        object_store.delete(bucket, "photos/dog/c.jpg")
        answer = client.get(photo["url"])
        assert (answer.status_code, answer.json()["code"]) == (404, "photo_gone")


@pytest.mark.usefixtures("quick")
def test_changes_are_followed_by_rescans(object_store, bucket, tmp_path, network, capsys):
    photos = f"s3://{bucket}/photos"
    with served(tmp_path / "new", network, photos=photos, watch=True, rescan_s=0.3) as client:
        wait_until(lambda: set(found(client)) == set(NAMES))
        assert client.get("/gallery").json()["following"] == "rescans"
        object_store.put(bucket, "photos/new.jpg", photo_bytes(5))
        object_store.delete(bucket, "photos/dog/c.jpg")
        wait_until(lambda: set(found(client)) == {"new.jpg", *NAMES[:2]})
        with object_store.failing(lambda *_: 403):
            wait_until(lambda: client.get("/gallery").json()["held"])
            (held,) = client.get("/gallery").json()["held"]
            assert (held["folder"], held["code"], held["photos"]) == ("photos", "unreadable", 3)
        wait_until(lambda: not client.get("/gallery").json()["held"])
        assert len(found(client)) == 3
    assert "lies in a bucket, which announces no changes" in capsys.readouterr().out


def test_doctor_says_what_is_wrong_with_a_bucket(object_store, gallery, checkpoint_file):
    def says(name):
        settings = settings_for(gallery, checkpoint=checkpoint_file, port=0)
        return next(one for one in examine(settings) if one.check == name)

    assert says("photos").verdict == "ok"
    assert "announces no changes" in says("watching").says
    with object_store.failing(lambda *_: 403):
        assert says("photos").verdict == "problem"
        assert "the store refuses these credentials" in says("photos").says


@pytest.fixture
def checkpoint_file(tmp_path, network):
    from model.checkpoints.files import save_checkpoint

    save_checkpoint(network, tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


def test_the_command_line_reads_photos_of_a_bucket(bucket, tmp_path, checkpoint_file):
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--gallery", str(tmp_path / "new"), "--checkpoint", checkpoint_file])
        assert ended.value.code in (0, None)

    (tmp_path / "sketch.png").write_bytes(photo_bytes(1))
    run("gallery", "build", f"s3://{bucket}/photos", "--workers", "1")
    run("gallery", "sync", "--workers", "1")
    run("explain", str(tmp_path / "sketch.png"), "dog/c.jpg", "--picture", str(tmp_path / "overlay.png"))
    assert (tmp_path / "overlay.png").read_bytes().startswith(b"\x89PNG")
