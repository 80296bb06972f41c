"""Threads that decode share memory: large photos wait for their turn, small ones pass, nobody waits for ever."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from model.errors import ConfigurationError
from model.images.decoding_memory import UNSHARED, DecodingMemory

TOTAL = 3200  # files 800, pixels 2400, small up to 100
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
        with memory.file(400):
            done.set()

    thread = threading.Thread(target=second)
    with memory.file(60), memory.pixels(2400):  # as it lies on disk, and as the decoder gets it
        thread.start()
        assert not done.wait(0.05)
    thread.join(SOON)
    assert done.is_set()


def test_unshared_memory_never_waits() -> None:
    with UNSHARED.pixels(10**12), UNSHARED.pixels(10**12), UNSHARED.file(10**12), UNSHARED.file(10**12):
        pass


def test_memory_must_be_positive() -> None:
    with pytest.raises(ConfigurationError):
        DecodingMemory(0)
