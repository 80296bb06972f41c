"""A service over photos in a bucket: it shows, takes in, deletes and follows them, and says so where it cannot."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import traceback
import urllib.request
import zipfile
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, urlsplit

import lance
import numpy as np
import pytest
from PIL import Image

from app.cli import main
from app.main import create_app
from app.service.changes.stored_uploads import ArrivingUploads, store_upload
from app.service.changes.upload_notes import noted
from app.setup.doctor import examine
from index_builder import BuildOptions, add_photos, build_gallery
from index_builder.object_storage import bucket_path
from index_builder.object_storage.stores import os_errors
from index_builder.photo_files import bucket as bucket_module
from index_builder.photo_files.bucket import Bucket
from index_builder.photo_places import BucketFolder
from model.images.opening import ImageLimits
from tests.app.conftest import WRITE_KEY, open_client, service_in, settings_for, wait_until
from tests.index_builder.pictures import photo_bytes
from tests.object_store import HALF, UNANSWERED

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


@pytest.fixture(autouse=True)
def called_on_the_loop(monkeypatch):
    """Calls into a bucket that made the event loop wait for a network; there must be none in any test."""
    calls = set[str]()

    def noting(real):
        def note(*arguments, **options):
            with suppress(RuntimeError):
                asyncio.get_running_loop()
                calls.add("".join(traceback.format_stack(limit=12)))
            return real(*arguments, **options)

        return note

    for module in (bucket_module, bucket_path):
        monkeypatch.setattr(module, "os_errors", noting(os_errors))
    monkeypatch.setattr(lance, "dataset", noting(lance.dataset))
    yield
    assert not calls, calls.pop()


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


def check_signature(address, secret, *, seconds):
    """Sign an address as S3 does, and compare."""
    parts = urlsplit(address)
    said = dict(parse_qsl(parts.query, strict_parsing=True))
    signature, (key, *scope) = said.pop("X-Amz-Signature"), said["X-Amz-Credential"].split("/")
    assert (key, scope[1:]) == ("a-key", ["us-east-1", "s3", "aws4_request"])
    assert (said["X-Amz-Expires"], said["X-Amz-SignedHeaders"]) == (str(seconds), "host")
    made = datetime.strptime(said["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - made) < timedelta(seconds=60)
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(said.items()))
    request = ("GET", parts.path, query, f"host:{parts.netloc}", "", "host", "UNSIGNED-PAYLOAD")
    digest = hashlib.sha256("\n".join(request).encode()).hexdigest()
    signing = f"AWS4{secret}".encode()
    for part in (*scope, "\n".join(("AWS4-HMAC-SHA256", said["X-Amz-Date"], "/".join(scope), digest))):
        last = signing = hmac.digest(signing, part.encode(), "sha256")
    assert last.hex() == signature


def test_signed_addresses_lead_to_the_bucket(object_store, gallery, network):
    with served(gallery, network, photo_links="signed", photo_link_s=60) as client:
        for seed, path in enumerate(NAMES):
            photo = found(client)[path]
            answer = client.get(photo["url"], follow_redirects=False)
            assert answer.status_code == 307
            address = answer.headers["location"]
            assert address.startswith(f"{object_store.address}/bucket-")
            assert "a-secret" not in address
            check_signature(address, "a-secret", seconds=60)
            with urllib.request.urlopen(address) as sent:  # noqa: S310 - our own server
                assert sent.read() == photo_bytes(seed)
            assert client.get(photo["thumbnail_url"]).status_code == 200
            assert client.get(f"{photo['url']}?rendition=screen").headers["content-type"] == "image/webp"
            for answer in (client.get(f"{photo['url']}?redirect=false"), client.head(photo["url"])):
                assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
                assert answer.headers["content-length"] == str(len(photo_bytes(seed)))
                assert answer.content == (photo_bytes(seed) if answer.request.method == "GET" else b"")
        policy = client.get("/").headers["content-security-policy"]
        assert f"img-src 'self' {object_store.address} blob:" in policy
        assert "connect-src 'self';" in policy
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


def test_a_gallery_and_its_photos_in_one_bucket(bucket, network, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build_gallery(f"s3://{bucket}/photos", f"s3://{bucket}/gallery", network, options=OPTIONS)
    with served(f"s3://{bucket}/gallery", network, photos=f"s3://{bucket}/photos", follow_interval_s=60) as client:
        (upload,) = client.post("/photos", files={"photo": ("new.jpg", photo_bytes(9))}).json()["photos"]
        client.post("/gallery/accept-loss")
        assert client.get("/").status_code == client.get("/gallery").status_code == 200
        assert client.get(found(client)[upload["path"]]["thumbnail_url"]).status_code == 200


def left_of_uploads(bucket, gallery=None):
    """Objects and notes of uploads."""
    names = [name for name, _ in Bucket(BucketFolder("s3", bucket)).objects() if b"uploads/" in name]
    return names + (list(noted(gallery).values()) if gallery is not None else [])


def test_an_upload_whose_answer_is_lost_was_taken(object_store, gallery, bucket, network):
    lost = list[str]()

    def lose(method, path):
        if method != "PUT" or lost:
            return None
        lost.append(path)
        return UNANSWERED

    with served(gallery, network) as client:
        with object_store.failing(lose):
            answer = client.post("/photos", files={"photo": ("new.jpg", photo_bytes(9))})
        assert answer.status_code == 201
        assert lost
        assert client.post("/photos", files={"photo": ("new.jpg", photo_bytes(9))}).status_code == 200
        assert len(left_of_uploads(bucket, gallery)) == 1
    with pytest.raises(FileExistsError):
        Bucket(BucketFolder("s3", bucket, "photos")).put(b"dog/c.jpg", photo_bytes(9))


def send_three_of_which_one_fails(client, object_store, *, no_deletions):
    """Send three uploads to a bucket that refuses to write from the third on; the answer, and the deletions."""
    written, deletions = set[str](), list[str]()

    def refuse(method, path):
        written.update([path] if method == "PUT" else [])
        deletions.extend([path] if method == "POST" else [])
        return 503 if len(written) >= 3 and (method == "PUT" or (no_deletions and method == "POST")) else None

    with object_store.failing(refuse):
        files = [("photo", (f"{number}.jpg", photo_bytes(50 + number))) for number in range(3)]
        return client.post("/photos", files=files), deletions


def test_uploads_that_come_to_nothing_are_removed(object_store, gallery, bucket, network):
    with served(gallery, network) as client:
        answer, deletions = send_three_of_which_one_fails(client, object_store, no_deletions=False)
        assert (answer.status_code, answer.json()["code"]) == (503, "photos_unreachable")
        assert len(deletions) == 3, "whether the third was written is not known"
        assert not left_of_uploads(bucket, gallery)


def test_uploads_that_cannot_be_removed_are_removed_at_the_next_start(object_store, gallery, bucket, network):
    with served(gallery, network) as client:
        answer, deletions = send_three_of_which_one_fails(client, object_store, no_deletions=True)
        assert (answer.status_code, answer.json()["code"]) == (503, "photos_unreachable")
        assert len(deletions) == 6, "each is tried twice"
    assert [one.is_refused for one in noted(gallery).values()] == [True] * 3
    (kept, *_) = left_of_uploads(bucket)
    add_photos(
        gallery, f"s3://{bucket}/photos", [kept.decode().removeprefix("photos/")], network, options=OPTIONS
    )  # a sync was faster
    with served(gallery, network) as client:
        wait_until(lambda: not noted(gallery))
        assert left_of_uploads(bucket) == [kept]
        assert len(found(client)) == 4


def test_a_request_that_ends_early_leaves_no_upload_behind(gallery, bucket, network):
    with served(gallery, network) as client:
        arriving, changes = ArrivingUploads(), service_in(client).changes
        stored = [
            store_upload(
                "a.jpg",
                photo_bytes(50 + number),
                changes.folders(),
                "uploads",
                gallery,
                limits=ImageLimits(),
                photos_of=lambda _: [],
            )
            for number in range(2)
        ]
        arriving.add(stored[0])
        arriving.call_off()
        assert len(left_of_uploads(bucket)) == 1
        arriving.add(stored[1])
        assert not left_of_uploads(bucket, gallery)


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


def test_a_bucket_that_fails_in_the_middle_of_a_photo(object_store, tmp_path, network):
    name = object_store.bucket()
    noise = np.random.default_rng(0).integers(0, 255, (1000, 1000, 3), np.uint8)
    Image.fromarray(noise).save(large := io.BytesIO(), "JPEG", quality=95)
    object_store.put(name, "photos/large.jpg", large.getvalue())
    build_gallery(f"s3://{name}/photos", tmp_path / "g", network, options=OPTIONS)
    with served(tmp_path / "g", network) as client:
        photo = found(client)["large.jpg"]
        with object_store.failing(lambda method, path: HALF if method == "GET" and "large" in path else None):
            sketch = {"sketch": ("s.png", photo_bytes(1))}
            for answer in (
                client.get(photo["thumbnail_url"]),
                client.get(f"{photo['url']}?rendition=screen"),
                client.post("/explain", files=sketch, data={"photo_id": photo["photo_id"], "format": "overlay"}),
            ):
                assert (answer.status_code, answer.json()["code"]) == (503, "photos_unreachable")
                assert answer.headers["retry-after"]
        assert client.get(photo["thumbnail_url"]).status_code == 200


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
