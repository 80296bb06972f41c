"""FAISS as its GPU build looks from outside, everything computed on the CPU, with cards that run short and get lost."""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from index_builder.index import gpu_resources
from index_builder.index.faiss_search import load_faiss
from index_builder.index.gpu_resources import GPUS

faiss: Any = load_faiss()


class FakeGpus:
    """The cards of a machine.

    Attributes:
        free: bytes on each card.
        lost: what asking a card for its free memory raises, if anything.
        failing: what putting an index on a card, or searching it, raises.
        resources: what was made of FAISS's.
        told: what FAISS was told of each index.
        most: threads that were inside FAISS at once.
        searched: how many queries each search had.
        pause_s: how long a search takes.
    """

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self.free = [10_000_000_000] * count
        self.lost: Exception | None = None
        self.failing: Exception | None = None
        self.resources: list[Any] = []
        self.told: list[Any] = []
        self.most = 0
        self.searched: list[int] = []
        self.pause_s = 0.0
        self._inside, self._entering = 0, threading.Lock()
        self._living: weakref.WeakSet[Any] = weakref.WeakSet()

    @property
    def living(self) -> int:
        """Indices that hold memory of a card."""
        return len(self._living)

    def free_bytes(self, card: int) -> int:
        """Stands in for `gpu_resources.free_bytes`."""
        if self.lost is not None:
            raise self.lost
        return self.free[card]

    def inside(self, work: Any, *given: Any) -> Any:
        """Do `work` as if it ran on a card."""
        with self._entering:
            self._inside += 1
            self.most = max(self.most, self._inside)
        time.sleep(self.pause_s)
        with self._entering:
            self._inside -= 1
        if self.failing is not None:
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
                fake._living.add(self)

            def add(self, vectors: Any) -> None:
                fake.inside(super().add, vectors)

            def search(self, queries: Any, k: int) -> Any:
                fake.searched.append(len(queries))
                return fake.inside(super().search, queries, k)

        class Other:
            """A copy of an index of another kind."""

            def __init__(self, index: Any) -> None:
                self.index = index
                fake._living.add(self)

            def search(self, queries: Any, k: int) -> Any:
                fake.searched.append(len(queries))
                return fake.inside(self.index.search, queries, k)

        def binary(resources: Any, index: Any, config: Any) -> Any:
            assert isinstance(resources, Resources)
            fake.told.append(("hash", config.device))
            return fake.inside(Other, index)

        def clone(resources: Any, index: Any, options: Any, cards: Any) -> Any:
            assert all(isinstance(one, Resources) for one in resources)
            fake.told.append(("ivf", list(cards), options.shard, options.use_cuvs, index.nprobe))
            return fake.inside(Other, faiss.clone_index(index))

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
        monkeypatch.setattr(gpu_resources, "visible", lambda: self.count)
        monkeypatch.setattr(gpu_resources, "free_bytes", self.free_bytes)
        monkeypatch.setattr(gpu_resources, "try_faiss", lambda: None)
        begin: dict[str, Any] = {"_cards": [], "_unfit": None, "_fallbacks": Counter(), "_said": {}}
        for attribute, value in begin.items():
            monkeypatch.setattr(GPUS, attribute, value)
