"""The least recently used values go first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from app.bounded_cache import BoundedCache


def test_the_least_recently_used_go_first():
    cache = BoundedCache[str, int](10)
    for number, key in enumerate("abc"):
        cache.keep(key, number, 3)
    assert (cache.get("a"), cache.held) == (0, 9)
    cache.keep("d", 3, 4)
    assert [cache.get(key) for key in "abcd"] == [0, None, 2, 3]
    assert cache.held == 10


def test_what_is_too_large_is_not_kept_and_what_is_there_stays():
    cache = BoundedCache[str, int](10)
    cache.keep("a", 0, 10)
    cache.keep("b", 1, 11)
    cache.keep("a", 2, 1)
    assert (cache.get("a"), cache.get("b"), cache.held) == (0, None, 10)
    nothing = BoundedCache[str, int](0)
    nothing.keep("a", 0, 1)
    assert nothing.get("a") is None


def test_threads_lose_no_byte_of_the_account():
    cache = BoundedCache[int, int](500)

    def use(number: int) -> None:
        for key in range(200):
            cache.keep(number * 1000 + key, key, 7)
            cache.get(key)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(8)))
    assert cache.held == 497
    assert sum(cache.get(number * 1000 + key) is not None for number in range(8) for key in range(200)) == 71
