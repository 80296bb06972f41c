"""A writer to a bucket that stood still while another one took over, and requests whose answers were lost."""

from __future__ import annotations

import json
import time

import lance
import obstore
import pytest

from index_builder import build_gallery, latest_version, rebuild_gallery, sync_gallery, verify_gallery
from index_builder.gallery_errors import GalleryAwayError, GalleryBusyError
from index_builder.ingest import rebuild
from index_builder.object_storage.bucket_path import BucketPath, Seen
from index_builder.object_storage.stores import StaleObjectError, StoreError
from index_builder.store import bucket_lock, checked_commit, layout, opening_writer
from index_builder.store.folder_looks import NAME, FolderLooks
from index_builder.store.gallery import Gallery
from index_builder.store.locks import LOCK_NAME
from index_builder.store.opening_writer import fence, open_writer
from index_builder.store.places import files_below
from tests.index_builder.pictures import write_photo
from tests.index_builder.store.test_buckets import bucket, contents, fault, gallery  # noqa: F401 - fixtures
from tests.object_store import UNANSWERED, object_server, object_store  # noqa: F401 - fixtures

# ruff: noqa: F811, PLR0917 - fixtures by their names


def stalled_in(monkeypatch, module, name, meanwhile):
    """Let a writer stand still before it does what `name` does, longer than it holds its lock, while others work."""
    monkeypatch.setattr(bucket_lock.BucketLock, "_renew", lambda _self: None)
    monkeypatch.setattr(bucket_lock, "HOLD_S", 0.5)
    real, stalls = getattr(module, name), [True]

    def stall(*arguments, **options):
        if stalls:
            stalls.clear()
            time.sleep(0.6)
            monkeypatch.setattr(bucket_lock, "HOLD_S", 600)
            meanwhile()
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, stall)


def test_one_that_stood_still_before_it_made_the_gallery(bucket, photos, network, options, monkeypatch):
    held = {}

    def build():
        build_gallery(photos, bucket, network, options=options)
        held.update(contents(bucket, network.identity))

    stalled_in(monkeypatch, opening_writer, "create_generation", build)
    with pytest.raises(GalleryBusyError):
        build_gallery(photos, bucket, network, options=options)
    assert len(held) == 10
    assert contents(bucket, network.identity) == held
    assert verify_gallery(bucket).whole


def test_one_that_stood_still_before_a_rebuild(gallery, other_network, options, monkeypatch):
    held = {}

    def work():
        rebuild_gallery(gallery, other_network, options=options)
        held.update(contents(gallery, other_network.identity))

    stalled_in(monkeypatch, rebuild, "create_generation", work)
    with pytest.raises(GalleryBusyError):
        rebuild_gallery(gallery, other_network, options=options)
    assert len(held) == 10
    assert contents(gallery, other_network.identity) == held
    assert verify_gallery(gallery).whole


def test_a_rebuild_that_was_killed_goes_on_in_its_generation(gallery, network, other_network, options):
    with pytest.raises(KeyboardInterrupt):
        rebuild_gallery(gallery, other_network, options=options, progress=interrupted)
    begun = {found.name.split("/")[0] for found in files_below(BucketPath.parse(gallery)) if ".lance/" in found.name}
    assert begun == {"photos-1.lance", "photos-2.lance"}
    assert rebuild_gallery(gallery, other_network, options=options).unchanged > 0
    assert latest_version(gallery).startswith("2.")
    assert len(contents(gallery, other_network.identity)) == len(contents_of(gallery)) == 10
    assert network.identity != other_network.identity


def interrupted(progress):
    if progress.done >= 8:  # a commit of four is certain by then
        raise KeyboardInterrupt


def contents_of(gallery):
    return Gallery.open(gallery).dataset().to_table(columns=["photo_id"]).column("photo_id").to_pylist()


def asleep_before_it_commits(gallery, generation):
    """An append of three rows, by a writer that stands still just before it; its lock ran out meanwhile."""
    place = BucketPath.parse(gallery) / f"photos-{generation}.lance"
    dataset = lance.dataset(str(place))
    rows = dataset.to_table().slice(0, 3)
    (BucketPath.parse(gallery) / LOCK_NAME).write(json.dumps({"holder": "sleeper", "until": 1.0}).encode())
    return lambda: checked_commit.append(dataset, place, rows)


def test_a_fence_that_failed_is_left_to_the_next_one(gallery, photos, network, options, object_store):
    wake = asleep_before_it_commits(gallery, 1)
    write_photo(photos / "new.jpg", seed=77)
    refuse = lambda method, path: 403 if method == "PUT" and "_versions" in path else None  # noqa: E731
    with object_store.failing(refuse), pytest.raises(GalleryAwayError):
        sync_gallery(gallery, network, options=options)
    sync_gallery(gallery, network, options=options)
    with pytest.raises(OSError, match="Incompatible transaction"):
        wake()
    assert len(contents_of(gallery)) == len(contents(gallery, network.identity)) == 11
    with open_writer(gallery) as writer:
        assert not writer._lock.taken_over, "one fence is enough"


def test_a_lock_that_somebody_removed_is_taken_over(gallery):
    wake = asleep_before_it_commits(gallery, 1)
    (BucketPath.parse(gallery) / LOCK_NAME).unlink()
    with open_writer(gallery):
        pass
    with pytest.raises(OSError, match="Incompatible transaction"):
        wake()
    assert len(contents_of(gallery)) == 10


def test_one_that_stood_still_in_a_rebuild_which_others_go_on_with(gallery, network, other_network, options):
    with pytest.raises(KeyboardInterrupt):
        rebuild_gallery(gallery, other_network, options=options, progress=interrupted)
    wake, refused = asleep_before_it_commits(gallery, 2), list[OSError]()
    sync_gallery(gallery, network, options=options)  # takes over, and gives back

    def wakes(_progress):
        if not refused:
            with pytest.raises(OSError, match="Incompatible transaction") as told:
                wake()
            refused.append(told.value)

    rebuild_gallery(gallery, other_network, options=options, progress=wakes)
    assert refused
    assert latest_version(gallery).startswith("2.")
    assert len(contents_of(gallery)) == len(contents(gallery, other_network.identity)) == 10


def test_tidying_leaves_what_another_writer_has_not_committed_yet(gallery):
    with open_writer(gallery) as writer:
        dataset = Gallery.open(gallery).dataset()
        (written,) = lance.fragment.write_fragments(dataset.to_table(), dataset, mode="append")
        writer.tidy(0.0)
    (file,) = written.files
    assert (Gallery.open(gallery).dataset_path / "data" / file.path).is_file()


def test_a_fence_undoes_no_commit_that_came_in_between(gallery, monkeypatch):
    place = Gallery.open(gallery).dataset_path
    rows = Gallery.open(gallery).dataset().to_table()
    real, calls = layout.latest_commit, []

    def latest(dataset):
        number = real(dataset)
        calls.append(number)
        if len(calls) == 2:
            lance.write_dataset(rows.slice(0, 3), str(place), mode="append")
        return number

    monkeypatch.setattr(opening_writer, "latest_commit", latest)
    fence(BucketPath.parse(gallery), 1)
    assert lance.dataset(str(place)).count_rows() == len(rows) + 3
    assert len(calls) == 3


def test_a_write_whose_answer_was_lost_is_known_as_our_own(bucket, object_store):
    place, lost = BucketPath.parse(bucket) / "note", list[str]()

    def lose(method, _path):
        if method == "PUT" and len(lost) < 1:
            lost.append(method)
            return UNANSWERED
        return None

    with object_store.failing(lose):
        first = place.write(b"ours", replaces="nothing")
    assert lost
    assert place.read_seen() == (b"ours", first)
    lost.clear()
    with object_store.failing(lose):
        second = place.write(b"ours again", replaces=first)
    assert lost
    with pytest.raises(StaleObjectError):
        place.write(b"theirs", replaces=first)
    assert place.read_seen() == (b"ours again", second)


def test_no_answer_that_is_lost_keeps_a_build_from_its_end(bucket, photos, network, options, object_store):
    answered = set()

    def lose_the_first(method, path):
        if method != "PUT" or path in answered:
            return None
        answered.add(path)
        return UNANSWERED

    with object_store.failing(lose_the_first):
        report = build_gallery(photos, bucket, network, options=options)
    assert len(answered) > 5
    assert report.added == len(contents(bucket, network.identity)) == 10
    assert verify_gallery(bucket).whole


def test_what_the_folders_looked_like_is_not_forgotten_when_it_cannot_be_read(
    gallery, photos, network, options, object_store
):
    before = (BucketPath.parse(gallery) / NAME).read_bytes()
    for photo in photos.rglob("*.jpg"):
        photo.unlink()
    with object_store.failing(lambda method, path: 403 if method == "GET" and path.endswith(NAME) else None):
        with pytest.raises(GalleryAwayError):
            sync_gallery(gallery, network, options=options)
        with pytest.raises(GalleryAwayError):
            FolderLooks.read(BucketPath.parse(gallery))
    assert len(contents(gallery, network.identity)) == 10
    assert (BucketPath.parse(gallery) / NAME).read_bytes() == before


@pytest.mark.parametrize("kind", ["503", "cut", "denied"])
def test_a_listing_that_fails_is_no_damage(gallery, object_store, kind):
    listing, strike = [False], fault(kind)

    def fails(method, path):
        listing[0] = "list-type" in path and "_versions" not in path
        return strike(method, path) if listing[0] else None

    with object_store.failing(fails), pytest.raises(GalleryAwayError):
        Gallery.open(gallery).dataset()


@pytest.mark.parametrize("kind", ["503", "cut", "denied"])
def test_a_write_that_fails_is_no_full_disk(gallery, photos, network, options, object_store, kind):
    write_photo(photos / "new.jpg", seed=90)
    strike = fault(kind)

    def fails(method, path):
        return strike(method, path) if method == "PUT" and "checksums" in path else None

    with object_store.failing(fails), pytest.raises(GalleryAwayError, match="what was committed"):
        sync_gallery(gallery, network, options=options)
    sync_gallery(gallery, network, options=options)
    assert len(contents(gallery, network.identity)) == 11


def test_a_store_with_versions_instead_of_e_tags(bucket, monkeypatch):
    asked = []

    def put(_store, _key, _content, *, mode):
        asked.append(mode)
        return {"e_tag": None, "version": "7"}

    monkeypatch.setattr(obstore, "put", put)
    place = BucketPath.parse(bucket) / "note"
    assert place.write(b"1", replaces=place.write(b"0", replaces="nothing")) == Seen(None, "7")
    assert asked == ["create", {"version": "7"}]
    monkeypatch.setattr(obstore, "put", lambda *_arguments, **_options: {"e_tag": "", "version": None})
    with pytest.raises(StoreError, match="neither e_tags nor versions"):
        place.write(b"2")
