"""An index on GPUs, for as long as they are fit for it. The CPU's own index stays beside it and answers otherwise."""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from index_builder.index.faiss_search import Allowed, load_faiss
from index_builder.index.gpu_resources import (
    GPUS,
    SEARCH_BYTES,
    SENTENCES,
    Card,
    Reason,
    check_recall_device,
    give_back,
    held,
    reason_of,
    why_no_gpu,
)
from index_builder.index.settings import RecallSettings

GPU_MOST = 2048  # candidates that FAISS gives per query on a GPU, and lists that it looks at
_REST_S = 5.0  # after a shortage
_LOAD_AGAIN_S = 60.0  # after one that kept the whole index from a GPU
_BLOCK = 16_384  # photos copied at once
_TILE = 2**19  # photos that FAISS compares with the queries at once, at most

Make = Callable[[list[Any], Sequence[Card]], None]
"""Puts an index on cards, under their locks: FAISS's objects go into the list, the one to search last."""


class GpuIndex:
    """A FAISS index on GPUs. All searches of a card take turns, whatever they search.

    Args:
        make: puts the index there.
        settings: `device`, `scratch_bytes`.
        most: how many cards it can use; None for all.
        per_query: bytes that FAISS needs for each query of a search; it gets no more queries than its scratch holds.
    """

    def __init__(self, make: Make, settings: RecallSettings, most: int | None = None, per_query: int = 0) -> None:
        self.reason: Reason | None = None
        self._make, self._settings, self._most, self._per_query = make, settings, most, per_query
        self._cards: list[Card] = []
        self._parts: list[Any] = []
        self._again_at = 0.0
        self._loading = threading.Lock()
        self._load()

    @staticmethod
    def can(k: int, allowed: Allowed | None) -> bool:
        """Whether FAISS can answer this on a GPU, where it supports neither filters nor great depth."""
        return allowed is None and k <= GPU_MOST

    @property
    def device(self) -> str:
        """Where it searches: how many GPUs, or "cpu" if it cannot."""
        return "cpu" if self.reason else f"{len(self._cards)} gpu"

    @property
    def problem(self) -> str | None:
        """Why the CPU answers, as a sentence for people; None while it searches on GPUs."""
        return SENTENCES[self.reason] if self.reason else None

    def search(self, queries: npt.NDArray[Any], k: int) -> Any:
        """FAISS's own answer: scores or distances, and rows, both [Q, k]; None if the CPU has to answer."""
        if self.reason and (time.monotonic() < self._again_at or not self._parts):
            GPUS.report(self.reason)
            self._load_again()
            return None
        with held(self._cards):
            if not self._parts:  # another thread gave up meanwhile
                return None
            try:
                for card in self._cards:
                    card.ask(SEARCH_BYTES)
                found = self._in_steps(queries, k)
            except Exception as error:
                self._fall_back(error, self._cards, _REST_S)
                return None
        self.reason = None
        return found

    def _in_steps(self, queries: npt.NDArray[Any], k: int) -> Any:
        step = len(queries)
        if self._per_query:
            scratch = min(card.scratch for card in self._cards) // 2
            step = max(1, scratch // (self._per_query + 64 * k))
        steps = [self._parts[-1].search(queries[at : at + step], k) for at in range(0, len(queries), step)]
        return tuple(np.concatenate(kind) for kind in zip(*steps, strict=True))

    def _load(self) -> None:
        parts: list[Any] = []
        cards: list[Card] = []
        try:
            cards = GPUS.cards(self._settings.scratch_bytes)[: self._most]
            self._make(parts, cards)
        except Exception as error:
            self._fall_back(error, cards, _LOAD_AGAIN_S)
            give_back(parts, cards)
            return
        # Also at the end of the process, while there is still something to free it with.
        weakref.finalize(self, give_back, parts, cards)
        self._cards, self._parts, self.reason = cards, parts, None

    def _load_again(self) -> None:
        """Put an index that did not fit on the GPUs now, beside the searches, if the last attempt was long ago."""
        if self._parts or time.monotonic() < self._again_at or not self._loading.acquire(blocking=False):
            return

        def load() -> None:
            try:
                self._load()
            finally:
                self._loading.release()

        threading.Thread(target=load, name="recall-on-gpu", daemon=True).start()

    def _fall_back(self, error: Exception, cards: Sequence[Card], rest_s: float) -> None:
        """Leave searches to the CPU: for `rest_s` seconds after a shortage, else for good."""
        reason = reason_of(error)
        if reason == "lost":
            for card in cards:
                card.lose()
        self._again_at = time.monotonic() + rest_s if reason == "memory" else math.inf
        if reason != "memory":
            unused, self._parts = self._parts, []
            give_back(unused, cards)
        self.reason = reason
        GPUS.report(reason, error)


def flat_on_gpus(index: Any, settings: RecallSettings) -> GpuIndex | None:
    """A flat index in half precision on all visible GPUs, or None where there are none or none is wanted."""
    if not _wanted(index, settings):
        return None
    size = index.ntotal * (2 * index.d + 4)

    def make(parts: list[Any], cards: Sequence[Card]) -> None:
        faiss = load_faiss()
        block = 6 * index.d * _BLOCK
        shard = _shard(settings, cards, 2 * size + block)
        bounds = [index.ntotal * number // len(cards) for number in range(len(cards) + 1)]
        for number, card in enumerate(cards):
            start, end = (bounds[number], bounds[number + 1]) if shard else (0, index.ntotal)
            with card.lock:
                # FAISS makes room for each block anew, so that old and new memory are there at once.
                card.ask(2 * (size // len(cards) if shard else size) + block + SEARCH_BYTES)
                config = faiss.GpuIndexFlatConfig()
                config.device, config.useFloat16, config.use_cuvs = card.number, True, False
                parts.append(faiss.GpuIndexFlat(card.resources, index.d, faiss.METRIC_INNER_PRODUCT, config))
            for at in range(start, end, _BLOCK):
                vectors = index.reconstruct_n(at, min(_BLOCK, end - at))
                with card.lock:
                    card.ask(SEARCH_BYTES)
                    parts[-1].add(vectors)
        if len(cards) > 1:
            with held(cards):
                parts.append(_together(faiss, index.d, list(parts), shard))

    return GpuIndex(make, settings, per_query=8 * min(index.ntotal, _TILE))


def _together(faiss: Any, size: int, parts: Sequence[Any], shard: bool) -> Any:
    """One index of the parts on several cards."""
    threads = successive = True
    if shard:
        whole = faiss.IndexShards(size, threads, successive)
        for part in parts:
            whole.add_shard(part)
    else:
        whole = faiss.IndexReplicas(size, threads)
        for part in parts:
            whole.addIndex(part)
    return whole


def ivf_on_gpus(index: Any, settings: RecallSettings, probes: int) -> GpuIndex | None:
    """An IVF index on all visible GPUs that looks at `probes` lists; None as `flat_on_gpus`, or for too many lists."""
    if probes > GPU_MOST or not _wanted(index, settings):
        return None
    size = index.ntotal * (2 * index.d + 8) + 4 * index.nlist * index.d

    def make(parts: list[Any], cards: Sequence[Card]) -> None:
        faiss = load_faiss()
        options = faiss.GpuMultipleClonerOptions()
        options.use_cuvs = False
        options.shard = _shard(settings, cards, 2 * size)
        index.nprobe = probes  # the clones take it over; the CPU's own searches name theirs
        with held(cards):
            for card in cards:
                card.ask(2 * (size // len(cards) if options.shard else size) + SEARCH_BYTES)
            resources, numbers = [card.resources for card in cards], [card.number for card in cards]
            parts.append(faiss.index_cpu_to_gpu_multiple_py(resources, index, options, numbers))

    return GpuIndex(make, settings)


def codes_on_gpu(index: Any, settings: RecallSettings) -> GpuIndex | None:
    """Codes on the first GPU; None as `flat_on_gpus`."""
    if not _wanted(index, settings):
        return None

    def make(parts: list[Any], cards: Sequence[Card]) -> None:
        faiss, (card,) = load_faiss(), cards
        config = faiss.GpuIndexBinaryFlatConfig()
        config.device = card.number
        with card.lock:
            card.ask(index.ntotal * index.d // 8 + SEARCH_BYTES)
            parts.append(faiss.GpuIndexBinaryFlat(card.resources, index, config))

    return GpuIndex(make, settings, most=1)


def _wanted(index: Any, settings: RecallSettings) -> bool:
    """Whether an index belongs on a GPU.

    Raises:
        DeviceError: on one that is not there.
    """
    check_recall_device(settings)
    return settings.device != "cpu" and bool(index.ntotal) and why_no_gpu() is None


def _shard(settings: RecallSettings, cards: Sequence[Card], need: int) -> bool:
    """Whether each of several cards gets a part of an index, rather than all of it."""
    if len(cards) == 1 or settings.spread != "auto":
        return len(cards) > 1 and settings.spread == "shard"
    return any(card.free < need + SEARCH_BYTES for card in cards)
