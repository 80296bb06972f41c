"""One collection in Milvus and several who fill it: late replicas, galleries restored or copied, and rebuilt ones."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from index_builder.gallery_errors import CollectionGoneError, RecallCollectionError, RecallServerError
from index_builder.index import milvus_collection, milvus_index, milvus_notes
from index_builder.index.milvus_collection import Collection
from index_builder.index.milvus_server import server_at
from tests.index_builder.index.milvus_versions import Made, descriptors_of

pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed")
QUERY = descriptors_of(1, seed=3)
BASE = np.arange(20)
HOUR = 3600.0


@pytest.fixture(scope="module")
def processes(lite):
    """Gives makers of one gallery that remember nothing of each other, as in processes of their own."""
    for number in range(3):  # Milvus Lite cannot be connected to by two at once
        server_at(lite, f"{number}:x").call("list_collections", seconds=30)

    def makers(gallery, count):
        return [Made(lite, gallery, count=60, token=f"{number}:x") for number in range(count)]

    return makers


@pytest.fixture
def clock(monkeypatch):
    """What Milvus's notes take for the time; `now` may be moved."""
    told = SimpleNamespace(now=1e9, monotonic=time.monotonic, sleep=time.sleep)
    told.time = lambda: told.now
    monkeypatch.setattr(milvus_notes, "time", told)
    monkeypatch.setattr(milvus_collection, "time", told)
    return told


def assert_whole(opened, members):
    index, _ = opened
    found = index.search(QUERY, len(members))[0][0]
    assert sorted(found.tolist()) == list(range(len(members)))


def test_a_restored_gallery_lacks_nothing(processes):
    before, after, other = processes("restored", 3)
    before.open("1.7", BASE)
    before.open("1.10", np.arange(5, 25))
    restored = np.append(BASE, 30)
    after.manifests[7] = "s1.7"
    assert_whole(after.open("1.8", restored, source="r8"), restored)
    with pytest.raises(RecallCollectionError, match="restored from a backup"):
        after.open("1.10", restored, source="r10")
    # Once the tenth is gone from the disk as well, nothing contradicts.
    del after.manifests[10]
    then = np.append(restored, 31)
    assert_whole(after.open("1.11", then, source="r11"), then)
    assert_whole(other.open("1.11", then, source="r11"), then)


def test_a_photo_that_went_and_came_back_is_found(processes):
    late, other, later = processes("moved", 3)
    for one in (late, other):
        one.open("1.1", BASE)
    third = np.append(BASE, 40)
    other.open("1.3", third)
    late.open("1.3", third)
    other.open("1.4", np.append(third[1:], 41))
    later.open("1.2", np.append(BASE, 30))  # leaves a photo, so that the number of them tells nothing
    assert_whole(late.open("1.5", third), third)
    assert_whole(other.open("1.5", third), third)


def test_only_one_of_two_copies_goes_on(processes):
    original, copy = processes("copied", 2)
    for one in (original, copy):
        one.open("1.10", BASE)
    original.open("1.11", np.arange(25), source="a11")
    for version in ("1.11", "1.12"):
        with pytest.raises(RecallCollectionError, match="another copy"):
            copy.open(version, np.arange(1, 22), source=f"b{version}")
        assert copy.sent == []
    members = np.arange(3, 27)
    assert_whole(original.open("1.13", members, source="a13"), members)


def test_what_others_left_does_not_stand_in_for_what_is_lost(processes, monkeypatch):
    ahead, late = processes("lost", 2)
    ahead.open("1.9", BASE)
    real = Collection.put
    monkeypatch.setattr(
        Collection, "put", lambda self, rows: real(self, [row for row in rows if row["id"] != late.keys[25]])
    )
    with pytest.raises(RecallServerError, match="does not keep all"):
        late.open("1.8", np.arange(10, 30))


def test_marks_that_come_too_late_are_taken_back(processes, monkeypatch):
    slow, quick = processes("marks", 2)
    slow.open("1.1", BASE)
    real, opened = Collection.put, list[Any]()

    def put(self, rows):
        if not opened and any(row["removed"] == 2 for row in rows):  # it has found that it is the latest
            opened.append(None)
            opened[0] = quick.open("1.3", BASE)
        real(self, rows)

    monkeypatch.setattr(Collection, "put", put)
    slow.open("1.2", BASE[1:])
    assert_whole(opened[0], BASE)


def test_what_was_served_until_now_stays_for_a_day(processes, clock):
    (made,) = processes("rebuilt", 1)
    old, _ = made.open("1.9", BASE)
    clock.now += 48 * HOUR
    made.open("2.1", BASE)
    assert_whole((old, True), BASE)
    clock.now += 23 * HOUR
    assert old.look()  # a copy of the gallery that was not rebuilt still serves it
    clock.now += 23 * HOUR
    made.open("2.2", BASE)
    assert_whole((old, True), BASE)
    clock.now += 2 * HOUR
    made.open("2.3", BASE)
    assert not old.look()


def test_a_gallery_that_changes_its_kind_of_index_keeps_both_for_a_day(processes, clock, monkeypatch):
    (made,) = processes("grown", 1)
    made.settings = replace(made.settings, server_index="auto")
    monkeypatch.setattr(milvus_index, "HNSW_FROM", len(BASE) + 1)
    small, _ = made.open("1.1", BASE)
    clock.now += 48 * HOUR
    large, _ = made.open("1.2", np.arange(21))
    clock.now += 12 * HOUR
    again, _ = made.open("1.3", BASE)
    clock.now += 48 * HOUR
    made.open("1.4", np.arange(21))
    assert_whole((large, True), np.arange(21))
    assert_whole((small, True), BASE)
    clock.now += 25 * HOUR
    made.open("1.5", np.arange(22))
    with pytest.raises(CollectionGoneError):
        again.search(QUERY, 3)


@pytest.mark.parametrize(("method", "code"), [("upsert", 9), ("query", 4)])
def test_a_server_that_refuses_for_now_still_answers(processes, monkeypatch, method, code):
    """It may have no room for more rows, or too much to do; neither says that photos are lost."""
    import pymilvus

    (made,) = processes("refused", 1)
    index, _ = made.open("1.1", BASE)

    def refuse(*_arguments, **_options):
        raise pymilvus.MilvusException(code, "quota exceeded, or too many concurrent requests")

    with monkeypatch.context() as refusing:
        refusing.setattr(index._collection.server._client, method, refuse)
        with pytest.raises(RecallServerError, match=f"its error {code}"):
            made.open("1.2", np.arange(21))
        assert index.away is None
        assert_whole((index, True), BASE)
        assert index.look()
