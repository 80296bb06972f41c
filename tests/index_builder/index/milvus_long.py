"""Recall on the real Milvus server for longer: changes under searches, fillers at once, a server that is killed.

`make milvus` runs these tests, and those of `test_milvus_server.py`.
"""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

pytest.importorskip("pymilvus", reason="pymilvus is not installed")
pytest.importorskip("milvus", reason="the packaged Milvus server is not installed")

from index_builder.gallery_errors import RecallServerError
from index_builder.index import milvus_filling
from index_builder.index.milvus_index import MilvusIndex
from index_builder.index.milvus_server import MilvusServer
from tests.index_builder.index.milvus_versions import TOKEN, Made, assert_same, descriptors_of

# The package leaves a socket open where it looks for a free port.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
QUERIES = descriptors_of(5, seed=3)
ALL = np.arange(3000)


def test_versions_change_under_searches_of_two_threads(made):
    """Each search goes to one version; none finds what that version does not have, also while the next one comes."""
    members = [ALL[10 * version : 2900 + version] for version in range(5)]
    served = [made.open("1.1", ALL[:2900])[0]]
    expected = {1: made.flat(ALL[:2900]).search(QUERIES, 50)}
    over, wrong = threading.Event(), list[Exception]()

    def search():
        while not over.is_set():
            index = served[-1]
            try:
                assert_same(index.search(QUERIES, 50), expected[index._note.commit])
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for version in range(1, 4):
        index, _ = made.open(f"1.{version + 1}", members[version])
        assert len(made.sent) == 1
        expected[version + 1] = made.flat(members[version]).search(QUERIES, 50)
        served.append(index)
    over.set()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[0]
    assert_same(served[0].search(QUERIES, 50), expected[1])


def test_fillers_at_once_leave_every_version_whole(milvus, monkeypatch):
    monkeypatch.setattr(milvus_filling, "_BATCH_BYTES", 20_000)
    members = [ALL[:600], ALL[:600], ALL[50:700], ALL[100:750]]
    makers = [Made(milvus.url, "busy", count=3000, token=TOKEN) for _ in members]
    opened: dict[int, MilvusIndex] = {}

    def fill(number):
        opened[number] = makers[number].open(f"1.{max(1, number)}", members[number])[0]

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(len(members))]
    # A memory of its own each, as in processes of their own.
    monkeypatch.setattr("index_builder.index.milvus_index.server_at", MilvusServer)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, index in opened.items():
        assert_same(index.search(QUERIES, 800), makers[0].flat(members[number]).search(QUERIES, 800))
    keys = opened[0]._collection.keys()[0]
    assert len(set(keys.tolist())) == len(keys) == 750


def test_a_server_that_hangs_or_is_killed_is_noticed_and_comes_back(milvus, made):
    index = made.open("1.4", ALL[30:2903])[0]
    expected = made.flat(ALL[30:2903]).search(QUERIES, 50)
    milvus.hang()
    began = time.monotonic()
    with pytest.raises(RecallServerError, match="does not answer"):
        index.search(QUERIES, 50)
    with pytest.raises(RecallServerError, match="does not answer"):
        index.search(QUERIES, 50)
    assert time.monotonic() - began < 8
    assert index.look()
    assert "does not answer" in str(index.away)
    milvus.kill()
    with pytest.raises(RecallServerError):
        made.open("1.5", ALL[30:2904])
    milvus.begin()
    milvus.wait()
    until = time.monotonic() + 60
    while not index.look() or index.away:
        assert time.monotonic() < until, index.away
        time.sleep(0.2)
    assert_same(index.search(QUERIES, 50), expected)
    assert_same(made.open("1.5", ALL[30:2904])[0].search(QUERIES, 50), made.flat(ALL[30:2904]).search(QUERIES, 50))
