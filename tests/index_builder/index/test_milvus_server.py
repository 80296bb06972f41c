"""Recall on the real Milvus server against flat FAISS, and a server that hangs. `milvus_long.py` does more with it.

The server takes long to start; `test_milvus_index.py` has the embedded one.
"""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

pytest.importorskip("pymilvus", reason="pymilvus is not installed")
pytest.importorskip("milvus", reason="the packaged Milvus server is not installed")

from index_builder.gallery_errors import RecallServerDeniedError, RecallServerError
from index_builder.index import milvus_index
from index_builder.index.candidate_index import Selection
from index_builder.photo_filter import PhotoFilter
from tests.index_builder.index.milvus_versions import Made, assert_same, descriptors_of

# The package leaves a socket open where it looks for a free port.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"),
]
QUERIES = descriptors_of(5, seed=3)
ALL = np.arange(3000)


def test_it_finds_what_flat_finds(made):
    index, flat = made.open("1.1", ALL[:2900])[0], made.flat(ALL[:2900])
    ties = np.random.default_rng(1).permutation(2900).astype(np.int64)
    queries = np.concatenate([QUERIES, made.descriptors[100:101]])
    for k in (1, 20, 2900, 4096):
        assert_same(index.search(queries, k, ties=ties), flat.search(queries, k, ties=ties))
    members = ALL[:2900]
    for selection in (
        Selection(members % 2 == 0, PhotoFilter(tags=("even", "none"))),
        Selection((members % 6 == 0) & (members != 6), PhotoFilter(tags_all=("even", "three")), left_out=(6,)),
        Selection((members % 2 == 1) & (members % 4 < 2), PhotoFilter(tags_none=("even",), types=("jpeg", "png"))),
        Selection(members % 3 == 1, PhotoFilter(orientation="portrait")),
        Selection.of_mask(members % 31 == 0),
    ):
        for k in (5, 2000):
            assert_same(index.search(queries, k, selection, ties), flat.search(queries, k, selection, ties))


def test_a_wrong_token_is_refused_and_not_told(milvus):
    with pytest.raises(RecallServerDeniedError, match="SKETCHSEEK_RECALL_TOKEN") as caught:
        Made(milvus.url, "gallery", token="root:wrong-token").open("1.1", ALL[:10])
    assert "wrong-token" not in str(caught.value)


def test_a_server_that_hangs_is_noticed_and_comes_back(milvus, made, monkeypatch):
    monkeypatch.setattr(milvus_index, "SEARCH_S", 0.5)
    index = made.open("1.1", ALL[:2900])[0]
    expected = index.search(QUERIES, 50)
    milvus.hang()
    try:
        with pytest.raises(RecallServerError, match="does not answer"):
            index.search(QUERIES, 50)
        began = time.monotonic()
        with pytest.raises(RecallServerError, match="does not answer"):
            index.search(QUERIES, 50)
        assert time.monotonic() - began < 0.4  # it was not asked again
        assert index.look()
        assert "does not answer" in str(index.away)
    finally:
        milvus.signal(signal.SIGCONT)
    monkeypatch.undo()
    assert index.look()
    assert index.away is None
    assert_same(index.search(QUERIES, 50), expected)
