"""Threads that decode share memory: large photos wait for their turn, small ones pass, nobody waits for ever."""

from __future__ import annotations

import pickle
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from model.errors import ConfigurationError, DecodingTimeoutError
from model.images.decoding_memory import UNSHARED, DecodingMemory

TOTAL = 3200  # files 400, pixels 2400, small ones 200 each, small is up to 100
SOON = 5.0


class Watched:
    """How much was held at the same time at most, of what is counted."""

    def __init__(self) -> None:
        self.held = self.most = 0
        self._lock = threading.Lock()

    def hold(self, size: int, seconds: float = 0.002) -> None:
        with self._lock:
            self.held += size
            self.most = max(self.most, self.held)
        time.sleep(seconds)
        with self._lock:
            self.held -= size

    @contextmanager
    def kept(self, size: int) -> Iterator[None]:
        with self._lock:
            self.held += size
        try:
            yield
        finally:
            with self._lock:
                self.held -= size


def test_together_never_more_than_the_whole() -> None:
    memory, watched = DecodingMemory(TOTAL), Watched()
    sizes = random.Random(0).choices(range(101, 2400), k=60)

    def work(size: int) -> None:
        with memory.pixels(size):
            watched.hold(size)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, sizes, timeout=SOON))
    assert max(sizes) <= watched.most <= 2400


def test_a_giant_runs_alone() -> None:
    memory, watched = DecodingMemory(TOTAL), Watched()

    def work(size: int) -> None:
        with memory.file(size), memory.pixels(size):
            watched.hold(size)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [10_000, 150, 20_000, 150, 150, 10_000], timeout=SOON))
    assert watched.most == 20_000


def test_small_ones_pass_a_giant_and_others_wait_in_line() -> None:
    memory = DecodingMemory(TOTAL)
    order: list[str] = []
    started, go = threading.Event(), threading.Event()

    def giant() -> None:
        with memory.pixels(2400):
            started.set()
            go.wait(SOON)

    def late(name: str, size: int) -> None:
        with memory.pixels(size):
            order.append(name)

    threads = [threading.Thread(target=giant)]
    threads[0].start()
    started.wait(SOON)
    for name, size in (("second giant", 2300), ("middle", 200), ("small", 100)):
        threads.append(threading.Thread(target=late, args=(name, size)))
        threads[-1].start()
        time.sleep(0.05)
    assert order == ["small"]
    go.set()
    for thread in threads:
        thread.join(SOON)
    assert order == ["small", "second giant", "middle"]


def test_an_error_gives_the_turn_back() -> None:
    memory = DecodingMemory(TOTAL)
    for _ in range(3):
        with pytest.raises(ValueError, match="damaged"), memory.pixels(2400):
            raise ValueError("damaged")
    with memory.pixels(2400):
        pass


def test_files_have_turns_of_their_own_and_count_twice() -> None:
    memory = DecodingMemory(TOTAL)
    done = threading.Event()

    def second() -> None:
        with memory.file(150):
            done.set()

    thread = threading.Thread(target=second)
    with memory.file(60), memory.pixels(2400):  # as it lies on disk, and as the decoder gets it
        thread.start()
        assert not done.wait(0.05)
    thread.join(SOON)
    assert done.is_set()


def test_everything_together_stays_within_the_whole_and_nobody_waits_for_ever() -> None:
    memory, watched = DecodingMemory(TOTAL), Watched()
    random_sizes = random.Random(0)

    def work(number: int) -> None:
        size = (5, 45, 60, 190, 700)[number % 5]  # 700: more than the room for files
        needed = random_sizes.choice((20, 90, 100, 300, 1000))
        with memory.file(size):
            watched.hold(2 * size)
            with watched.kept(2 * size), memory.pixels(needed):
                watched.hold(needed)

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(work, range(200), timeout=SOON))
    assert TOTAL / 3 < watched.most <= TOTAL


def test_a_file_in_memory_takes_no_turn_within_a_turn() -> None:
    memory = DecodingMemory(TOTAL)
    with memory.file(50), memory.file(0), memory.pixels(100):
        pass
    with memory.file(2000), memory.file(0), memory.pixels(10_000):
        pass


@pytest.mark.parametrize("size", [100, 2400])
def test_whoever_waits_gives_up_in_time_and_leaves_the_line(size: int) -> None:
    memory = DecodingMemory(TOTAL)
    with memory.pixels(2400), memory.pixels(100), memory.pixels(100):
        began = time.monotonic()
        with pytest.raises(DecodingTimeoutError), memory.pixels(size, began + 0.05):
            pass
        assert 0.04 < time.monotonic() - began < SOON
    with memory.pixels(size, time.monotonic()):
        pass


def test_unshared_memory_never_waits() -> None:
    with UNSHARED.pixels(10**12), UNSHARED.pixels(10**12), UNSHARED.file(10**12), UNSHARED.file(10**12):
        pass


def test_memory_must_be_positive() -> None:
    with pytest.raises(ConfigurationError):
        DecodingMemory(0)


def test_what_is_lent_is_missing_from_the_room_of_large_pictures():
    memory = DecodingMemory(TOTAL)
    with memory.lend(TOTAL // 4):
        assert memory.total == TOTAL
        half = TOTAL // 2
        with memory.pixels(half - TOTAL // 8):
            with pytest.raises(DecodingTimeoutError), memory.pixels(TOTAL // 4, time.monotonic() + 0.01):
                raise AssertionError("more than is left")
            with memory.pixels(TOTAL // 8):
                pass
    with memory.pixels(TOTAL // 2), memory.pixels(TOTAL // 4, time.monotonic() + 0.01):
        pass


def test_another_process_has_memory_of_its_own():
    memory = DecodingMemory(TOTAL)
    other = pickle.loads(pickle.dumps(memory))  # noqa: S301
    with memory.pixels(TOTAL // 2), other.pixels(TOTAL // 2, time.monotonic()):
        assert other.total == TOTAL
