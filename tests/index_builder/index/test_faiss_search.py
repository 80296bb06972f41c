"""What flat and hash indices share around a search of FAISS."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from index_builder.index.candidate_index import Asked, Selection
from index_builder.index.flat_and_ivf import RecallIndex, build_index
from index_builder.index.hash_codes import HashIndex, encode_all, fit_hasher
from index_builder.index.settings import RecallSettings

THREADS = 4


def unit(count, size=16, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def index_of(kind, photos):
    settings = RecallSettings(kind=kind, device="cpu", shortlist=5)
    if kind == "flat":
        return RecallIndex(build_index(photos, "flat"), settings)
    hasher = fit_hasher(photos, 16)
    return HashIndex(hasher, encode_all(hasher, photos), photos.astype(np.float16), settings)


class Watched:
    """A FAISS index that notes how many threads were inside it at once."""

    def __init__(self, index):
        self.index, self.inside, self.most = index, 0, 0
        self.count, self.ntotal, self.d = threading.Lock(), index.ntotal, index.d

    def search(self, *given, **named):
        with self.count:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(0.02)
        with self.count:
            self.inside -= 1
        return self.index.search(*given, **named)


def search_from_threads(index, queries):
    """Every thread's rows of the same queries, asked for at the same moment."""
    begin, found = threading.Barrier(THREADS), []

    def work():
        begin.wait(10)
        found.append(index.search(queries, 3)[0].tolist())

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("kind", ["flat", "hash"])
def test_threads_search_together_on_a_cpu(kind, monkeypatch):
    photos, queries = unit(100), unit(2, seed=1)
    expected = index_of(kind, photos).search(queries, 3)[0].tolist()
    index = index_of(kind, photos)
    watched = Watched(index._index)
    monkeypatch.setattr(index, "_index", watched)
    assert search_from_threads(index, queries) == [expected] * THREADS
    assert watched.most > 1


def test_arguments_are_looked_at_once():
    photos = unit(7)
    asked = Asked.of(7, photos[0].astype(np.float64), 3, None)
    assert asked.queries.dtype == np.float32
    assert (asked.queries.shape, asked.possible) == ((1, 16), 7)
    assert (asked.rows == -1).all()
    assert np.isneginf(asked.scores).all()
    assert asked.rows.shape == asked.scores.shape == (1, 3)
    assert Asked.of(7, photos[0], 3, Selection(np.arange(7) < 2)).possible == 2
    assert Asked.of(7, photos[:0], 3, None).possible == 0
    assert Asked.of(7, photos, 0, None).possible == 0
    for wrong in (np.ones(6, dtype=bool), np.zeros(8, dtype=bool)):
        with pytest.raises(ValueError, match="one entry per photo: 7"):
            Asked.of(7, photos, 3, Selection(wrong))
