"""Recall on Milvus against flat FAISS, with the embedded Milvus Lite; `test_milvus_server.py` asks the real one."""

from __future__ import annotations

import socket
import threading
import time
from datetime import date, datetime

import numpy as np
import pytest

from index_builder.gallery_errors import (
    CollectionGoneError,
    RecallCollectionError,
    RecallServerDeniedError,
    RecallServerError,
)
from index_builder.index import milvus_filling, milvus_index, milvus_server
from index_builder.index.candidate_index import Selection
from index_builder.index.milvus_collection import Collection
from index_builder.index.milvus_filters import ALIVE
from index_builder.index.milvus_index import MilvusIndex, check_recall_server, index_for
from index_builder.index.milvus_server import MilvusServer, server_at, shown_address
from index_builder.index.settings import RecallSettings
from index_builder.photo_filter import PhotoFilter
from model.errors import ConfigurationError
from tests.index_builder.index.milvus_versions import Made, assert_same, descriptors_of

pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed")
QUERIES = descriptors_of(5, seed=3)
ALL = np.arange(300)
BAD_PORTS = (
    "http://root:secret/part@milvus:19530",
    "http://root:12/secret@milvus:19530",
    "http://milvus:99999",
    "http://[::1",
)


@pytest.fixture(scope="module")
def shared(lite):
    """For tests that put nothing there: the photos, their index in Milvus, and in FAISS."""
    made = Made(lite, "shared")
    index, before = made.open("1.1", ALL)
    assert not before
    assert sorted(made.sent) == ALL.tolist()
    return made, index, made.flat(ALL)


@pytest.fixture
def made(lite, request):
    return Made(lite, request.node.name)


def test_it_finds_what_flat_finds(shared):
    _, index, flat = shared
    assert (len(index), index.kind, index.place) == (300, "milvus", "at lite.db")
    for k in (0, 1, 20, 300, 400):
        assert_same(index.search(QUERIES, k), flat.search(QUERIES, k))
    np.testing.assert_array_equal(index.descriptors(np.array([5, 1])), flat.descriptors(np.array([5, 1])))
    assert index.descriptors(np.array([], dtype=np.int64)).shape == (0, 16)


def test_a_selection_finds_what_flat_finds(shared):
    _, index, flat = shared
    for count in (0, 1, 7, 299):
        chosen = Selection.of_mask(np.isin(ALL, np.random.default_rng(count).permutation(300)[:count]))
        assert_same(index.search(QUERIES, 20, chosen), flat.search(QUERIES, 20, chosen))
        but = Selection(chosen.mask & (ALL > 9), only=chosen.only, left_out=tuple(range(10)))
        assert_same(index.search(QUERIES, 20, but), flat.search(QUERIES, 20, but))


def test_exact_ties_come_in_the_order_asked_for(made, monkeypatch):
    monkeypatch.setattr(milvus_index, "_TIE_MARGIN", 1)  # so that ties are cut, and more is asked for
    made.descriptors[50:120] = made.descriptors[50]
    index, flat = made.open("1.1", ALL)[0], made.flat(ALL)
    ties = np.random.default_rng(1).permutation(300).astype(np.int64)
    for k in (1, 5, 69, 100):
        assert_same(
            index.search(made.descriptors[50:51], k, ties=ties), flat.search(made.descriptors[50:51], k, ties=ties)
        )
    first = index.search(made.descriptors[50:51], 70, ties=ties)[0][0]
    assert ties[first].tolist() == sorted(ties[50:120])


def test_a_version_takes_what_changed_and_the_old_one_still_answers(made, monkeypatch):
    first, _ = made.open("1.1", ALL[:200])
    then = np.concatenate([ALL[5:200], ALL[250:260]])
    second, _ = made.open("1.2", then)
    assert made.sent == list(range(250, 260))
    assert_same(second.search(QUERIES, 250), made.flat(then).search(QUERIES, 250))
    assert_same(first.search(QUERIES, 250), made.flat(ALL[:200]).search(QUERIES, 250))
    # Another process knows nothing of the first version, and finds out what is there.
    monkeypatch.setattr(second._collection.server, "filled", {})
    third, _ = made.open("1.3", then[10:])
    assert made.sent == []
    assert_same(third.search(QUERIES, 250), made.flat(then[10:]).search(QUERIES, 250))
    assert made.open("1.3", then[10:])[1]
    # Once the first version is gone from the disk, so are its photos.
    fourth, _ = made.open("1.4", then[10:], oldest=2)
    keys, removed = fourth._collection.keys()
    assert len(keys) == 205
    assert set(removed.tolist()) == {3, ALIVE}
    assert sorted(fourth._collection.notes()) == [2, 3, 4]


def test_a_killed_filler_is_finished_by_the_next(made, monkeypatch):
    monkeypatch.setattr(milvus_filling, "_BATCH_BYTES", 5000)
    real, left = Collection.put, iter(range(4))

    def put(self, rows):
        if next(left, None) is None:
            raise KeyboardInterrupt
        real(self, rows)

    with monkeypatch.context() as dying:
        dying.setattr(Collection, "put", put)
        with pytest.raises(KeyboardInterrupt):
            made.open("1.1", ALL)
    sent = set(made.sent)
    assert 0 < len(sent) < 300
    index, before = made.open("1.1", ALL)
    assert not before
    assert len(made.sent) < 300
    assert_same(index.search(QUERIES, 300), made.flat(ALL).search(QUERIES, 300))
    assert len(index._collection.keys()[0]) == 300


@pytest.mark.parametrize("versions", [("1.1", "1.1", "1.1"), ("1.1", "1.2", "1.3")])
def test_fillers_at_once_leave_every_version_whole(lite, monkeypatch, versions, request):
    monkeypatch.setattr(milvus_filling, "_BATCH_BYTES", 5000)
    members = {"1.1": ALL[:200], "1.2": ALL[50:260], "1.3": ALL[100:]}
    opened: dict[int, MilvusIndex] = {}

    def fill(number):
        opened[number] = makers[number].open(versions[number], members[versions[number]])[0]

    # A server object of its own each, as in processes of their own. Milvus Lite cannot be connected to by two at once.
    makers = [Made(lite, request.node.name, token=f"{number}:x") for number in range(3)]
    for number in range(3):
        server_at(lite, f"{number}:x").call("list_collections", seconds=30)
    threads = [threading.Thread(target=fill, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = Made(lite, request.node.name)
    for number, version in enumerate(versions):
        assert_same(opened[number].search(QUERIES, 300), made.flat(members[version]).search(QUERIES, 300))
    keys = opened[0]._collection.keys()[0]
    assert len(set(keys.tolist())) == len(keys) == len(set(np.concatenate([members[v] for v in versions])))


def test_only_the_latest_version_marks_photos_as_removed(made, monkeypatch):
    made.open("1.5", ALL[100:])
    monkeypatch.setattr(made.open("1.5", ALL[100:])[0]._collection.server, "filled", {})
    late, _ = made.open("1.4", ALL[:150])
    assert_same(late.search(QUERIES, 300), made.flat(ALL[:150]).search(QUERIES, 300))
    index, before = made.open("1.5", ALL[100:])
    assert before
    assert_same(index.search(QUERIES, 300), made.flat(ALL[100:]).search(QUERIES, 300))


@pytest.mark.parametrize("other", ["checkpoint", "copy"])
def test_a_foreign_collection_is_refused(lite, shared, other):
    _, index, _ = shared
    foreign = Made(lite, "shared", checkpoint="d" if other == "checkpoint" else "c")
    with pytest.raises(RecallCollectionError, match="another checkpoint" if other == "checkpoint" else "another copy"):
        foreign.open("1.1", ALL, source="another")
    assert foreign.sent == []
    assert index.look()


def test_what_the_server_lost_is_put_there_again(made):
    index, _ = made.open("1.1", ALL)
    assert index.look()
    call, collection = index._collection.server.call, index._collection
    assert call("describe_alias", collection.alias, seconds=3)["collection_name"] == collection.name
    call("drop_alias", collection.alias, seconds=3)
    call("drop_collection", collection.name, seconds=3)
    with pytest.raises(CollectionGoneError):
        index.search(QUERIES, 3)
    assert not index.look()
    assert index.away is not None
    again, before = made.open("1.1", ALL)
    assert not before
    assert_same(again.search(QUERIES, 20), made.flat(ALL).search(QUERIES, 20))
    assert index.look()
    assert index.away is None


def test_a_rebuilt_gallery_takes_the_alias_and_keeps_it(made):
    old, _ = made.open("1.9", ALL)
    new, _ = made.open("2.1", ALL[:50])
    alias = new._collection.alias
    assert alias == old._collection.alias
    made.open("1.10", ALL[1:])  # a replica that is late
    call = new._collection.server.call
    assert call("describe_alias", alias, seconds=3)["collection_name"] == new._collection.name
    assert_same(old.search(QUERIES, 20), made.flat(ALL).search(QUERIES, 20))


def test_no_more_than_milvus_gives(shared, monkeypatch):
    made, index, _ = shared
    monkeypatch.setattr(milvus_index, "MOST_ROWS", 100)
    assert_same(index.search(QUERIES, 100), made.flat(ALL).search(QUERIES, 100))
    with pytest.raises(ConfigurationError, match="100 candidates at most, not 101"):
        index.search(QUERIES, 101)
    few = Selection.of_mask(ALL < 50)
    assert_same(index.search(QUERIES, 101, few), made.flat(ALL).search(QUERIES, 101, few))


def test_a_photo_that_stays_away_is_noticed(made, monkeypatch):
    real = Collection.put
    monkeypatch.setattr(Collection, "put", lambda self, rows: real(self, [row for row in rows if row["id"] % 7]))
    with pytest.raises(RecallServerError, match="does not keep all"):
        made.open("1.1", ALL)
    monkeypatch.undo()
    assert not made.open("1.1", ALL)[1]


def test_without_photos_nobody_is_asked():
    index, before = Made("http://nobody.invalid:1", "empty").open("1.1", [])
    assert before
    assert (index.search(QUERIES, 3)[0] == -1).all()
    assert index.look()
    assert index.away is None


def test_a_server_that_is_away_is_said_to_be(shared, monkeypatch):
    _, index, _ = shared
    server = index._collection.server
    tries = []

    def connected(_self, pymilvus):
        tries.append(1)
        raise pymilvus.MilvusException(2, "Fail connecting to http://root:secret@host:19530")

    with monkeypatch.context() as cut_off:
        cut_off.setattr(MilvusServer, "_connected", connected)
        for _ in range(3):
            with pytest.raises(RecallServerError, match="does not answer") as caught:
                index.search(QUERIES, 3)
        assert "secret" not in str(caught.value)
        assert len(tries) == 1  # the others did not wait for a connection
        assert index.look()
        assert len(tries) == 2
        assert index.away == str(caught.value)
    assert index.look()
    assert index.away is None
    assert server.problem is None
    assert index.search(QUERIES, 3)[0].shape == (5, 3)


def test_a_token_that_is_refused_is_not_told(shared, monkeypatch):
    _, index, _ = shared

    def connected(_self, pymilvus):
        raise pymilvus.MilvusException(65535, "auth check failure, token root:secret")

    with monkeypatch.context() as cut_off:
        cut_off.setattr(MilvusServer, "_connected", connected)
        with pytest.raises(RecallServerDeniedError, match="SKETCHSEEK_RECALL_TOKEN") as caught:
            index.search(QUERIES, 3)
    assert "secret" not in str(caught.value)
    assert index.look()


def test_a_server_that_never_answers_is_noticed(monkeypatch):
    monkeypatch.setattr(milvus_server, "CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(RecallServerError, match="does not answer"):
            Made(f"http://127.0.0.1:{silent.getsockname()[1]}", "silent").open("1.1", ALL[:10])
        assert time.monotonic() - began < 30


def test_addresses_are_shown_without_credentials():
    assert shown_address("http://root:secret@milvus.example:19530/db") == "milvus.example:19530"
    assert shown_address("https://milvus.example") == "milvus.example"
    assert shown_address("http://[::1]:19530") == "[::1]:19530"
    assert shown_address("/data/lite.db") == "lite.db"
    assert "secret" not in repr(RecallSettings(server_url="http://a:secret@b", server_token="secret"))


@pytest.mark.parametrize("url", [None, "", "milvus:19530", "ftp://milvus", "http://", *BAD_PORTS])
def test_an_address_that_cannot_be_one_is_refused(url):
    with pytest.raises(ConfigurationError, match="SKETCHSEEK_RECALL_URL") as caught:
        check_recall_server(RecallSettings(kind="milvus", server_url=url), 1000, 1000)
    assert "secret" not in str(caught.value)


def test_settings_are_checked_if_milvus_is_chosen():
    check_recall_server(RecallSettings(), 10**6, 10**6)
    chosen = RecallSettings(kind="milvus", server_url="http://milvus:19530")
    check_recall_server(chosen, 4096, 16_384)
    with pytest.raises(ConfigurationError, match="MAX_CANDIDATES is 4096 at most"):
        check_recall_server(chosen, 4097, 1000)
    with pytest.raises(ConfigurationError, match="MAX_TOP_K is 16384 at most"):
        check_recall_server(chosen, 1000, 16_385)
    assert (chosen.kind_for(3), index_for(49_999), index_for(50_000)) == ("milvus", "flat", "hnsw")


def test_filters_are_told_in_numbers(shared):
    _, index, flat = shared
    filters = [
        (PhotoFilter(tags=("even",)), ALL % 2 == 0),
        (PhotoFilter(tags=("even", "three", "none")), (ALL % 2 == 0) | (ALL % 3 == 0)),
        (PhotoFilter(tags_all=("even", "three")), ALL % 6 == 0),
        (PhotoFilter(tags_none=("even",), types=("png", "jpeg")), (ALL % 2 == 1) & (ALL % 4 < 2)),
        (PhotoFilter(orientation="square"), ALL % 3 == 2),
        (PhotoFilter(taken_from=date(1970, 1, 1)), ALL == 0),
        (PhotoFilter(taken_to=date(1969, 12, 31), folder=""), ALL > 0),
        (PhotoFilter(as_of=datetime(1970, 1, 1)), ALL == 0),
        (PhotoFilter(tags_none=('"]) or array_contains(labels, "',)), ALL >= 0),
    ]
    for chosen, mask in filters:
        selection = Selection(mask, chosen)
        assert_same(index.search(QUERIES, 300, selection), flat.search(QUERIES, 300, selection))
