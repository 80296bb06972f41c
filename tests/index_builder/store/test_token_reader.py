"""The token cache: the same encodings with and without it, and never more than its bound."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from index_builder import Gallery, GallerySnapshot, build_gallery
from index_builder.store import token_pool, token_reader
from index_builder.store.quantise import TokenShape


@pytest.fixture
def gallery(tmp_path, photos, network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    return tmp_path / "g"


def per_photo(gallery) -> int:
    opened = Gallery.open(gallery)
    shape: TokenShape = opened.metadata(opened.dataset()).shape
    return shape.record_bytes


def assert_equal(actual, expected):
    for name in ("descriptor", "tokens", "positions"):
        assert torch.equal(getattr(actual, name), getattr(expected, name))
    assert actual.mask is expected.mask is None


@pytest.mark.parametrize("places", [0, 1, 4, 10, 100])
def test_a_cache_changes_nothing_but_time(gallery, network, places):
    plain = GallerySnapshot.load(gallery, network.identity, cache_bytes=0)
    cached = GallerySnapshot.load(gallery, network.identity, cache_bytes=places * per_photo(gallery))
    rng = np.random.default_rng(0)
    for _ in range(30):
        rows = rng.choice(10, rng.integers(1, 10), replace=False)
        assert_equal(cached.encodings(rows), plain.encodings(rows))
    assert_equal(cached.encodings([3, 3, 5]), plain.encodings([3, 3, 5]))
    hits, misses = cached.cache_counts
    assert (hits == 0) == (places == 0)
    if places >= 10:
        assert misses == 10


def test_the_least_recently_used_go(gallery, network):
    snapshot = GallerySnapshot.load(gallery, network.identity, cache_bytes=3 * per_photo(gallery) + 5)
    for row in (0, 1, 2, 0, 3):  # 3 pushes out 1
        snapshot.encodings([row])
    _, misses = snapshot.cache_counts
    snapshot.encodings([0, 2, 3])
    assert snapshot.cache_counts[1] == misses
    snapshot.encodings([1])
    assert snapshot.cache_counts[1] == misses + 1


def test_preloading_leaves_the_disk_alone(gallery, network):
    snapshot = GallerySnapshot.load(gallery, network.identity, cache_bytes=10 * per_photo(gallery), preload=True)
    snapshot.encodings(np.arange(10))
    assert snapshot.cache_counts == (10, 0)
    small = GallerySnapshot.load(gallery, network.identity, cache_bytes=9 * per_photo(gallery), preload=True)
    small.encodings([0])
    assert small.cache_counts == (0, 1)


def test_dtype_of_tokens(gallery, network):
    snapshot = GallerySnapshot.load(gallery, network.identity, dtype=torch.bfloat16)
    encoding = snapshot.encodings([1])
    assert encoding.tokens.dtype == torch.bfloat16
    assert encoding.descriptor.dtype == torch.float32
    assert encoding.positions.dtype == torch.int64


def test_rows_outside_are_refused(gallery, network):
    snapshot = GallerySnapshot.load(gallery, network.identity)
    for rows in ([10], [-1], [0, 10]):
        with pytest.raises(IndexError):
            snapshot.encodings(rows)
    for row in (10, -1):
        with pytest.raises(IndexError):
            snapshot.photo(row)


def test_many_threads_read_one_snapshot(gallery, network):
    snapshot = GallerySnapshot.load(gallery, network.identity, cache_bytes=4 * per_photo(gallery))
    expected = GallerySnapshot.load(gallery, network.identity, cache_bytes=0).encodings(np.arange(10)).tokens
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(40):
            rows = rng.choice(10, 5, replace=False)
            if not torch.equal(snapshot.encodings(rows).tokens, expected[torch.from_numpy(rows)]):
                wrong.append(rows)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class Short:
    """A device's memory that has room for so many bytes at once."""

    def __init__(self, monkeypatch, room):
        self.room, self.tried = room, []
        self._empty = torch.empty
        monkeypatch.setattr(torch, "empty", self.empty)

    def empty(self, shape, **options):
        self.tried.append(shape[0])
        if math.prod(shape) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return self._empty(shape, **options)


@pytest.mark.parametrize(("room", "expected"), [(1000, 10), (99, 5), (45, 2), (1, 0)])
def test_a_pool_takes_what_the_memory_has(monkeypatch, caplog, room, expected):
    short = Short(monkeypatch, room)
    pool = token_pool.TokenPool(10, 10, torch.device("cpu"))
    assert pool.capacity == expected
    assert short.tried[0] == 10
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == (expected < 10)
    if warnings:
        assert f"the tokens of {expected} of 10 photos" in warnings[0]
    rows = np.arange(10, dtype=np.int64)
    pool.put(rows, torch.arange(100, dtype=torch.uint8).reshape(10, 10))
    missing, records = pool.get(rows)
    assert len(missing) == 10 - expected
    assert len(records) == expected


@pytest.mark.parametrize(("poisoned", "free"), [(False, 700), (True, 300)])
def test_half_of_what_a_gpu_gives_back_is_the_most_for_a_pool(monkeypatch, poisoned, free):
    state = {"free": 300, "kept for recordings": 1000}  # PyTorch holds 400 more that it can give back

    def give_back():
        if poisoned:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")
        state["free"] = 700

    monkeypatch.setattr(torch.cuda, "empty_cache", give_back)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (state["free"], 8000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 1400)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 0)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda shape, **options: empty(shape, **{**options, "device": "cpu"}))
    assert token_pool.TokenPool(1000, 10, torch.device("cuda")).capacity == free // 2 // 10


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("unspecified launch failure")

    monkeypatch.setattr(torch, "empty", fails)
    with pytest.raises(RuntimeError, match="launch failure"):
        token_pool.TokenPool(10, 10, torch.device("cpu"))


def test_preloading_ends_where_the_memory_does(gallery, network, monkeypatch):
    plain = GallerySnapshot.load(gallery, network.identity, cache_bytes=0)
    monkeypatch.setattr(token_reader, "_READ_ROWS", 4)
    put, calls = token_pool.TokenPool.put, []

    def put_twice(self, rows, records):
        calls.append(len(rows))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        put(self, rows, records)

    monkeypatch.setattr(token_pool.TokenPool, "put", put_twice)
    snapshot = GallerySnapshot.load(gallery, network.identity, cache_bytes=10 * per_photo(gallery), preload=True)
    assert calls == [4, 4]
    assert_equal(snapshot.encodings(np.arange(10)), plain.encodings(np.arange(10)))
    assert snapshot.cache_counts == (4, 6)


def test_masked_tokens_stay_masked(tmp_path, photos, network, options, monkeypatch):
    encode = network.encode_photo

    def one_token_less(images):
        encoding = encode(images)
        mask = torch.ones(encoding.tokens.shape[:2], dtype=torch.bool)
        mask[:, -1] = False
        return replace(encoding, mask=mask)

    monkeypatch.setattr(network, "encode_photo", one_token_less)
    build_gallery(photos, tmp_path / "g", network, options=options)
    for cache_bytes in (0, 10 * per_photo(tmp_path / "g")):
        snapshot = GallerySnapshot.load(tmp_path / "g", network.identity, cache_bytes=cache_bytes, preload=True)
        mask = snapshot.encodings([3, 1]).mask
        assert mask is not None
        assert mask[:, :-1].all()
        assert not mask[:, -1].any()
