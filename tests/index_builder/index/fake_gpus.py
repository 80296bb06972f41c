"""FAISS as its GPU build looks from outside, everything computed on the CPU, with cards that run short and get lost.

An index takes memory of its cards, and codes that differ in as many bits come in another order than on the CPU.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from index_builder.index import gpu_choice, gpu_resources
from index_builder.index.faiss_search import load_faiss
from index_builder.index.gpu_resources import GPUS

faiss: Any = load_faiss()


class FakeGpus:
    """The cards of a machine.

    Attributes:
        lost: what asking a card for its free memory raises, if anything.
        failing: what putting an index on a card, or searching it, raises.
        troubled: the cards that `lost` and `failing` are about; None for all.
        tried: the cards that another process tried FAISS on.
        resources: what was made of FAISS's.
        told: what FAISS was told of each index.
        most: threads that were inside FAISS at once.
        searched: how many queries each search had.
        pause_s: how long a search takes.
    """

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self.tried: list[int] = []
        self.troubled: set[int] | None = None
        self._sizes = [10_000_000_000] * count
        self.lost: Exception | None = None
        self.failing: Exception | None = None
        self.resources: list[Any] = []
        self.told: list[Any] = []
        self.most = 0
        self.searched: list[int] = []
        self.pause_s = 0.0
        self._inside, self._entering = 0, threading.RLock()
        self._living: weakref.WeakKeyDictionary[Any, tuple[list[int], int]] = weakref.WeakKeyDictionary()

    @property
    def living(self) -> int:
        """Indices that hold memory of a card."""
        return len(self._living)

    @property
    def free(self) -> list[int]:
        """Bytes on each card."""
        return [size - self._taken(card) for card, size in enumerate(self._sizes)]

    @free.setter
    def free(self, free: list[int]) -> None:
        self._sizes = [size + self._taken(card) for card, size in enumerate(free)]

    def _taken(self, card: int) -> int:
        with self._entering:
            return sum(size for cards, size in self._living.values() if card in cards)

    def _holds(self, index: Any, cards: list[int], size: int) -> None:
        with self._entering:
            self._living[index] = cards, size

    def _in_trouble(self, cards: list[int]) -> bool:
        return self.troubled is None or bool(self.troubled & set(cards))

    def free_bytes(self, card: int) -> int:
        """Stands in for `gpu_resources.free_bytes`."""
        if self.lost is not None and self._in_trouble([card]):
            raise self.lost
        return self.free[card]

    def inside(self, cards: list[int], work: Any, *given: Any) -> Any:
        """Do `work` as if it ran on cards."""
        with self._entering:
            self._inside += 1
            self.most = max(self.most, self._inside)
        time.sleep(self.pause_s)
        with self._entering:
            self._inside -= 1
        if self.failing is not None and self._in_trouble(cards):
            raise type(self.failing)(*self.failing.args)  # a fresh one, which holds no frames
        return work(*given)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the cards into this process."""
        fake = self

        class Resources:
            def __init__(self) -> None:
                self.scratch, self.pinned, self.disowned = 0, -1, 0
                self.this = SimpleNamespace(disown=self._disown)
                fake.resources.append(self)

            def _disown(self) -> None:
                self.disowned += 1

            def setTempMemory(self, size: int) -> None:  # noqa: N802 - FAISS's name
                self.scratch = size

            def setPinnedMemory(self, size: int) -> None:  # noqa: N802 - FAISS's name
                self.pinned = size

        class Flat(faiss.IndexFlatIP):  # type: ignore[misc]
            def __init__(self, resources: Any, size: int, metric: int, config: Any) -> None:
                assert isinstance(resources, Resources)
                assert metric == faiss.METRIC_INNER_PRODUCT
                super().__init__(size)
                fake.told.append(("flat", config.device, config.useFloat16, config.use_cuvs))
                fake._holds(self, [config.device], 0)

            def add(self, vectors: Any) -> None:
                cards, _ = fake._living[self]
                fake.inside(cards, super().add, vectors)
                fake._holds(self, cards, 2 * self.ntotal * self.d)

            def search(self, queries: Any, k: int) -> Any:
                fake.searched.append(len(queries))
                return fake.inside(fake._living[self][0], super().search, queries, k)

        class Other:
            """A copy of an index of another kind."""

            def __init__(self, index: Any, cards: list[int], size: int) -> None:
                self.index, self.cards = index, cards
                fake._holds(self, cards, size // len(cards))

            def search(self, queries: Any, k: int) -> Any:
                fake.searched.append(len(queries))
                return fake.inside(self.cards, self.index.search, queries, k)

        class Codes(Other):
            """Codes in an order of their own, in which ties come."""

            def __init__(self, index: Any, card: int) -> None:
                self.order = np.random.default_rng(0).permutation(index.ntotal)
                shuffled = faiss.IndexBinaryFlat(index.d)
                shuffled.add(faiss.vector_to_array(index.xb).reshape(index.ntotal, -1)[self.order])
                super().__init__(shuffled, [card], index.ntotal * index.d // 8)

            def search(self, queries: Any, k: int) -> Any:
                distances, rows = super().search(queries, k)
                return distances, np.where(rows < 0, -1, self.order[rows])

        def binary(resources: Any, index: Any, config: Any) -> Any:
            assert isinstance(resources, Resources)
            fake.told.append(("hash", config.device))
            return fake.inside([config.device], Codes, index, config.device)

        def clone(resources: Any, index: Any, options: Any, cards: Any) -> Any:
            assert all(isinstance(one, Resources) for one in resources)
            fake.told.append(("ivf", list(cards), options.shard, options.use_cuvs, index.nprobe))
            return fake.inside(cards, Other, faiss.clone_index(index), cards, 2 * index.ntotal * index.d)

        for name, value in {
            "StandardGpuResources": Resources,
            "GpuIndexFlatConfig": SimpleNamespace,
            "GpuIndexBinaryFlatConfig": SimpleNamespace,
            "GpuMultipleClonerOptions": SimpleNamespace,
            "GpuIndexFlat": Flat,
            "GpuIndexBinaryFlat": binary,
            "index_cpu_to_gpu_multiple_py": clone,
        }.items():
            monkeypatch.setattr(faiss, name, value, raising=False)
        monkeypatch.setattr(gpu_choice, "visible", lambda: self.count)
        monkeypatch.setattr(gpu_resources, "free_bytes", self.free_bytes)
        monkeypatch.setattr(gpu_resources, "try_faiss", self.tried.append)
        begin: dict[str, Any] = {"_cards": {}, "_unfit": {}, "_fallbacks": Counter(), "_said": {}}
        for attribute, value in begin.items():
            monkeypatch.setattr(GPUS, attribute, value)
