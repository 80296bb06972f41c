"""Galleries in a bucket: as on disk, with a lock that can be lost, and a storage that does not answer."""

from __future__ import annotations

import json
import threading
import time

import lance
import numpy as np
import pyarrow as pa
import pytest

from index_builder import (
    Gallery,
    GallerySnapshot,
    build_gallery,
    gallery_info,
    latest_version,
    rebuild_gallery,
    remove_photos,
    sync_gallery,
    verify_gallery,
)
from index_builder.gallery_errors import (
    GalleryAwayError,
    GalleryBusyError,
    GalleryDamagedError,
    GalleryError,
    GalleryNotFoundError,
    GalleryWriteError,
)
from index_builder.index.settings import RecallSettings
from index_builder.object_storage.bucket_path import BucketPath
from index_builder.object_storage.stores import StaleObjectError
from index_builder.store import bucket_lock
from index_builder.store.opening_writer import open_writer
from index_builder.store.places import files_below
from tests.index_builder.pictures import write_photo
from tests.object_store import object_server, object_store  # noqa: F401 - fixtures

# ruff: noqa: F811, PLR0917 - fixtures by their names

pytestmark = pytest.mark.usefixtures("bucket")


@pytest.fixture
def gallery(bucket, photos, network, options):
    build_gallery(photos, bucket, network, options=options)
    return bucket


@pytest.fixture
def bucket(object_store, monkeypatch, tmp_path):
    """The address of an empty path in a bucket."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return f"s3://{object_store.bucket()}/some/gallery"


def fault(kind, strikes=lambda: True):
    """Requests that are answered with a status, cut, or slow."""
    status = {"503": 503, "denied": 403, "cut": 0, "slow": None}[kind]

    def answer(_method, _path):
        if not strikes():
            return None
        if kind == "slow":
            time.sleep(0.1)
        return status

    return answer


def contents(gallery, identity):
    snapshot = GallerySnapshot.load(gallery, identity)
    encoding = snapshot.encodings(range(len(snapshot)))
    descriptors = snapshot.descriptors(range(len(snapshot)))
    return {
        record.photo_id: (record.raw_path, descriptors[row].tolist(), encoding.tokens[row].tolist())
        for row, record in enumerate(map(snapshot.photo, range(len(snapshot))))
    }


def test_it_holds_what_a_gallery_on_disk_holds(bucket, photos, network, options, tmp_path):
    for place in (bucket, tmp_path / "disk"):
        build_gallery(photos, place, network, options=options)
    for number in range(3):
        write_photo(photos / "dog" / f"{number * 2}.jpg", seed=50 + number)
    write_photo(photos / "new.jpg", seed=60)
    (photos / "cat" / "1.jpg").rename(photos / "moved.jpg")
    (photos / "cat" / "3.jpg").unlink()
    for place in (bucket, tmp_path / "disk"):
        report = sync_gallery(place, network, options=options)
        assert (report.added, report.changed, report.moved, report.removed) == (1, 3, 1, 1)
        remove_photos(place, [GallerySnapshot.load(place, network.identity).photo(2).photo_id])
    assert contents(bucket, network.identity) == contents(tmp_path / "disk", network.identity)
    verified = verify_gallery(bucket)
    assert verified.whole
    assert verified.photos == verified.decoded == 9
    info = gallery_info(bucket)
    assert info.gallery == bucket
    assert info.photos == 9
    assert 0 < info.bytes_per_photo * 9 < info.bytes_on_disk
    assert not (tmp_path / "s3:").exists()


def test_a_rebuild_switches_and_the_old_one_goes(gallery, network, other_network, options, monkeypatch):
    old = contents(gallery, network.identity)
    rebuild_gallery(gallery, other_network, options=options)
    new = contents(gallery, other_network.identity)
    assert new.keys() == old.keys()
    assert new != old
    assert latest_version(gallery).startswith("2.")
    names = {found.name.split("/")[0] for found in files_below(BucketPath.parse(gallery))}
    assert {"photos-1.lance", "photos-2.lance"} <= names
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3 * 24 * 3600)
    remove_photos(gallery, [next(iter(new))])
    names = {found.name.split("/")[0] for found in files_below(BucketPath.parse(gallery))}
    assert "photos-1.lance" not in names
    assert "photos-1.checksums.json" not in names
    assert len(contents(gallery, other_network.identity)) == 9


def test_every_damaged_object_is_found_and_named(gallery, network):
    root = BucketPath.parse(gallery)
    expected = contents(gallery, network.identity)
    found = [one.name for one in files_below(root) if one.name != "writer.lock"]
    kinds = {name.split("/")[1] for name in found if "/" in name}
    assert {"data", "_versions"} <= kinds
    for name in found:
        before = (root / name).read_bytes()
        damaged = bytes([before[0] ^ 1]) + before[1:]
        (root / name).write(damaged)
        assert [problem.where for problem in verify_gallery(gallery, sample=0).problems][:1] == [name]
        (root / name).write(before)
    for name in (one for one in found if "/data/" in one):
        before = (root / name).read_bytes()
        for damage in (before[:-1], before[:-1] + bytes([before[-1] ^ 1])):
            (root / name).write(damage)
            with pytest.raises(GalleryDamagedError, match="data"):
                Gallery.open(gallery).dataset()
        (root / name).unlink()
        with pytest.raises(GalleryDamagedError, match="data"):
            Gallery.open(gallery).dataset()
        (root / name).write(before)
    assert verify_gallery(gallery).whole
    assert contents(gallery, network.identity) == expected


def test_opening_and_polling_cost_few_requests(gallery, network, object_store, options, photos):
    object_store.requests.clear()
    latest_version(gallery)
    assert len(object_store.requests) == 2
    object_store.requests.clear()
    Gallery.open(gallery).dataset()
    few = len(object_store.requests)
    for number in range(4):
        write_photo(photos / f"more-{number}.jpg", seed=70 + number)
        sync_gallery(gallery, network, options=options)
    object_store.requests.clear()
    Gallery.open(gallery).dataset()
    assert len(object_store.requests) <= few + 1, "each data file has cost a request"


def test_a_second_writer_waits_and_is_told(gallery, network, monkeypatch):
    monkeypatch.setattr(bucket_lock, "_LOOK_S", 0.02)
    with open_writer(gallery) as writer:
        with pytest.raises(GalleryBusyError, match="another command"):
            remove_photos(gallery, ["a"])
        photo = GallerySnapshot.load(gallery, network.identity).photo(0).photo_id
        threading.Timer(0.3, writer.remember, [writer.metadata.folders]).start()
        waiting = threading.Thread(target=remove_photos, args=(gallery, [photo]), kwargs={"wait_s": 30})
        waiting.start()
        time.sleep(0.6)
        assert waiting.is_alive()
    waiting.join()
    assert photo not in contents(gallery, network.identity)


def test_only_one_of_many_makes_a_gallery(bucket, photos, network, options):
    told = []

    def build():
        try:
            build_gallery(photos, bucket, network, options=options)
        except GalleryError as error:
            told.append(error)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) <= 3
    assert all(isinstance(error, GalleryBusyError) for error in told)
    assert verify_gallery(bucket).whole
    assert len(contents(bucket, network.identity)) == 10


@pytest.mark.parametrize(
    "what", ["add", *(pytest.param(what, marks=pytest.mark.slow) for what in ("remove", "remember")), "tidy"]
)
def test_a_writer_that_slept_through_its_lock_changes_nothing(gallery, network, options, photos, monkeypatch, what):
    monkeypatch.setattr(bucket_lock, "HOLD_S", 0.4)
    monkeypatch.setattr(bucket_lock.BucketLock, "_renew", lambda _self: None)  # as of a process that is stopped
    with open_writer(gallery) as sleeper:
        object.__setattr__(sleeper._lock, "check", lambda: None)  # it wakes up just after it has looked at the clock
        time.sleep(0.5)
        monkeypatch.setattr(bucket_lock, "HOLD_S", 600)
        write_photo(photos / "new.jpg", seed=80)
        sync_gallery(gallery, network, options=options)  # takes over
        expected, version = contents(gallery, network.identity), latest_version(gallery)
        ids = sorted(expected)
        acts = {
            "add": lambda: sleeper._add(sleeper._dataset.to_table().slice(0, 1), replaces=False),
            "remove": lambda: sleeper.remove(ids[:1]),
            "remember": lambda: sleeper.remember(sleeper.metadata.folders),
            "tidy": sleeper._record,
        }
        with pytest.raises(GalleryBusyError, match=r"another command|taken over"):
            acts[what]()
        assert contents(gallery, network.identity) == expected
        assert latest_version(gallery) == version
    assert verify_gallery(gallery).whole
    report = sync_gallery(gallery, network, options=options)
    assert (report.added, report.removed, report.unchanged) == (0, 0, 11)


def test_a_lock_that_ran_out_is_noticed_before_anything_is_written(gallery, monkeypatch):
    monkeypatch.setattr(bucket_lock, "HOLD_S", 0.2)
    monkeypatch.setattr(bucket_lock.BucketLock, "_renew", lambda _self: None)
    with open_writer(gallery) as writer:
        time.sleep(0.3)
        with pytest.raises(GalleryBusyError, match="lost its lock"):
            writer.remove(["a"])


def test_a_lock_is_renewed_for_as_long_as_it_is_held(gallery, monkeypatch):
    monkeypatch.setattr(bucket_lock, "HOLD_S", 0.8)
    with open_writer(gallery) as writer:
        for _ in range(5):
            time.sleep(0.4)
            writer._lock.check()
            with pytest.raises(GalleryBusyError), open_writer(gallery):
                pass
    note = json.loads((BucketPath.parse(gallery) / "writer.lock").read_bytes())
    assert note["until"] == 0, "it was given back"
    with open_writer(gallery) as writer:
        assert not writer._lock.taken_over


def test_errors_for_people(bucket, photos, network, options, object_store):
    with pytest.raises(GalleryNotFoundError, match="there is no gallery at s3://"):
        Gallery.open(bucket)
    with pytest.raises(GalleryNotFoundError):
        Gallery.open("s3://no-such-bucket/x")
    with pytest.raises(GalleryWriteError, match="no such"):
        build_gallery(photos, "s3://no-such-bucket/x", network, options=options)
    for address in ("ftp://host/x", "s3://", "s3://key:secret@bucket/x", "s3://bucket/a//b", "S3://bucket/x"):
        with pytest.raises(GalleryError) as told:
            Gallery.open(address)
        assert "secret" not in str(told.value)
    for kind in ("503", "cut", "denied"):
        with object_store.failing(fault(kind)):
            with pytest.raises(GalleryAwayError, match="s3://"):
                Gallery.open(bucket)
            with pytest.raises(GalleryError):
                build_gallery(photos, bucket, network, options=options)
    assert not list(files_below(BucketPath.parse(bucket)))


@pytest.mark.parametrize("kind", [pytest.param("503", marks=pytest.mark.slow), "cut"])
def test_a_storage_that_fails_in_the_middle_loses_nothing(bucket, photos, network, options, object_store, kind):
    """Every request fails once, one after the other, until a build goes through."""
    expected = None
    for fails_from in range(0, 400, 17):
        count = iter(range(10**6))
        with object_store.failing(fault(kind, lambda: next(count) >= fails_from)):  # noqa: B023 - used in this turn
            try:
                build_gallery(photos, bucket, network, options=options)
                break
            except GalleryError:
                pass
        lock = BucketPath.parse(bucket) / "writer.lock"
        if lock.is_file():  # nobody waits a minute here
            lock.unlink()
    else:
        pytest.fail("no build went through")
    expected = contents(bucket, network.identity)
    assert len(expected) == 10
    assert verify_gallery(bucket).whole
    assert fails_from > 30


def test_a_slow_storage_is_waited_for(gallery, network, object_store):
    with object_store.failing(fault("slow")):
        assert len(contents(gallery, network.identity)) == 10


def test_search_indices_lie_on_this_machines_disk(gallery, network, tmp_path):
    for _ in range(2):
        snapshot = GallerySnapshot.load(
            gallery, network.identity, recall=RecallSettings(kind="ivf", cache=tmp_path / "own", ivf_from=1)
        )
    assert len(snapshot) == 10
    recall = RecallSettings(kind="hash", cache=tmp_path / "own", hash_bits=8)
    assert not list(files_below(BucketPath.parse(gallery) / "recall"))
    assert recall.cache is not None


def test_writes_are_conditional(bucket):
    place = BucketPath.parse(bucket) / "note"
    first = place.write(b"1", replaces="nothing")
    with pytest.raises(StaleObjectError):
        place.write(b"2", replaces="nothing")
    second = place.write(b"3", replaces=first)
    with pytest.raises(StaleObjectError):
        place.write(b"4", replaces=first)
    assert place.read_seen() == (b"3", second)
    assert place.write(b"5") != second
    np.testing.assert_equal([place.is_file(), place.is_dir(), (place / "x").exists()], [True, False, False])
    place.unlink()
    place.unlink(missing_ok=True)
    assert not place.exists()


def test_a_path_that_lance_would_read_as_another_is_refused(bucket, photos, network, options):
    for path in ("a?b", "a#b", "a%20b", "a\tb", "a\x7fb"):
        with pytest.raises(GalleryError, match="address of a gallery in a bucket cannot have"):
            build_gallery(photos, f"{bucket}/{path}", network, options=options)
    assert not list(files_below(BucketPath(bucket)))


def test_lance_writes_where_the_address_says(bucket):
    for path in ("a b", "ä 日", "a+b", "~a&b=[1]@'*^{}|\\"):
        place = BucketPath.parse(f"{bucket}/{path}") / "photos-1.lance"
        lance.write_dataset(pa.table({"number": [1]}), str(place), mode="create")
        assert {found.name.partition("/")[0] for found in files_below(place)} == {"_transactions", "_versions", "data"}
