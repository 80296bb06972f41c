"""An index on GPUs, for as long as they are fit for it. The CPU's own index stays beside it and answers otherwise."""

from __future__ import annotations

import atexit
import itertools
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from index_builder.index.candidate_index import Allowed
from index_builder.index.gpu_choice import chosen_cards
from index_builder.index.gpu_faults import SENTENCES, Fault, Reason
from index_builder.index.gpu_resources import GPUS, SEARCH_BYTES, Card, give_back, held, lose_failed
from index_builder.index.settings import RecallSettings

GPU_MOST = 2048  # candidates that FAISS gives per query on a GPU, and lists that it looks at
_REST_S = 5.0  # after a shortage
_LOAD_AGAIN_S = 60.0  # after one that kept the whole index from a GPU
_LEAVE_S = 10.0  # that the end of the process waits for a load

Make = Callable[[list[Any], Sequence[Card]], None]
"""Puts an index on a card, or a part of it on each of several: FAISS's objects go into the list, the one to search
last. It takes the cards' locks."""


class _Copy:
    """An index on one card, or in parts on several. All searches of a card take turns, whatever they search.

    Attributes:
        cards: where it is.
        parts: FAISS's objects, the one to search last; empty after it was given up.
        rests_until: when it may be searched again.
    """

    def __init__(self, cards: Sequence[Card], parts: list[Any]) -> None:
        self.cards, self.parts, self.rests_until = cards, parts, 0.0

    def search(self, queries: npt.NDArray[Any], k: int, per_query: int) -> Any:
        """Scores or distances, and rows, both [Q, k]; a fault if it cannot search."""
        with held(self.cards):
            try:
                if not self.parts:
                    return None  # another thread gave up meanwhile
                for card in self.cards:
                    card.ask(SEARCH_BYTES)
                step = len(queries)
                if per_query:
                    step = max(1, min(card.scratch for card in self.cards) // 2 // (per_query + 64 * k))
                steps = [self.parts[-1].search(queries[at : at + step], k) for at in range(0, len(queries), step)]
                return tuple(np.concatenate(kind) for kind in zip(*steps, strict=True))
            except Exception as error:
                fault = Fault.of(error)
            return self._rest(fault)  # only now that no frame of the error holds what is freed

    def _rest(self, fault: Fault) -> Fault:
        """Leave searches to others: for some seconds after a shortage, else for good."""
        if fault.reason == "lost":
            lose_failed(self.cards)
        self.rests_until = time.monotonic() + _REST_S if fault.reason == "memory" else math.inf
        if fault.reason != "memory":
            give_back(self.parts, self.cards)
        return fault


class GpuIndex:
    """A FAISS index on GPUs: a copy on each that holds it whole, or one in parts on all of them.

    Args:
        make: puts a copy there.
        settings: `device`, `spread`, `scratch_bytes`.
        need: bytes of a card that a whole copy takes; None for an index that is never cut in parts, of which one copy
            is made.
        per_query: bytes that FAISS needs for each query of a search; it gets no more queries than its scratch holds.
    """

    def __init__(self, make: Make, settings: RecallSettings, need: int | None, per_query: int = 0) -> None:
        self.reason: Reason | None = None
        self._make, self._settings, self._need, self._per_query = make, settings, need, per_query
        self._numbers = chosen_cards(settings)
        self._copies: list[_Copy] = []
        self._turn = itertools.count()
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
        if self.reason:
            return "cpu"
        return f"{sum(len(copy.cards) for copy in self._copies if copy.parts)} gpu"

    @property
    def problem(self) -> str | None:
        """Why the CPU answers, as a sentence for people; None while it searches on GPUs."""
        reason = self.reason  # another thread may change it at any time
        return SENTENCES[reason] if reason else None

    def search(self, queries: npt.NDArray[Any], k: int) -> Any:
        """FAISS's own answer: scores or distances, and rows, both [Q, k]; None if the CPU has to answer."""
        copies, now, faults = self._copies, time.monotonic(), []
        first = next(self._turn)
        for number in range(len(copies)):
            copy = copies[(first + number) % len(copies)]
            if now < copy.rests_until:
                continue
            found = copy.search(queries, k, self._per_query)
            if isinstance(found, Fault):
                faults.append(found)
            elif found is not None:
                self.reason = None
                for fault in faults:
                    GPUS.leave_out(fault)
                return found
        if faults:
            self._fall_back(faults)
        else:
            GPUS.report(self.reason or "memory")
            self._load_again()
        return None

    def _load(self) -> None:
        faults: list[Fault] = []
        copies: list[_Copy] = []
        for cards in self._groups(faults):
            parts: list[Any] = []
            try:
                self._make(parts, cards)
            except Exception as error:
                faults.append(Fault.of(error))
                if faults[-1].reason == "lost":
                    lose_failed(cards)
                give_back(parts, cards)
                continue
            # Also at the end of the process, while there is still something to free it with.
            weakref.finalize(self, give_back, parts, cards)
            copies.append(_Copy(cards, parts))
            if self._need is None:
                break
        if copies:
            self._copies, self.reason = copies, None
            for fault in faults:
                GPUS.leave_out(fault)
        else:
            self._fall_back(faults)
            self._again_at = time.monotonic() + _LOAD_AGAIN_S if self.reason == "memory" else math.inf

    def _groups(self, faults: list[Fault]) -> Iterator[list[Card]]:
        """The cards of each copy. A card is not touched before a copy may be put there."""
        spread = self._settings.spread
        if self._need is None or spread == "replicate":
            yield from ([card] for card in self._ready(faults))
            return
        cards = list(self._ready(faults))
        whole = [card for card in cards if card.has_room(self._need + SEARCH_BYTES)]
        if len(cards) < 2 or (whole and spread == "auto"):
            yield from ([card] for card in whole or cards)
        else:
            yield cards

    def _ready(self, faults: list[Fault]) -> Iterator[Card]:
        for number in self._numbers:
            try:
                card = GPUS.card(number, self._settings.scratch_bytes)
            except Exception as error:
                faults.append(Fault.of(error))
                continue
            yield card

    def _load_again(self) -> None:
        """Put an index that did not fit on the GPUs now, beside the searches, if the last attempt was long ago."""
        if self._copies or time.monotonic() < self._again_at or not self._loading.acquire(blocking=False):
            return

        def load() -> None:
            try:
                self._load()
            finally:
                self._loading.release()

        thread = threading.Thread(target=load, name="recall-on-gpu", daemon=True)
        thread.start()
        _LOADS.add(thread)
        # Registered last, it runs first: before what the cards hold is freed.
        atexit.unregister(wait_for_loads)
        atexit.register(wait_for_loads)

    def _fall_back(self, faults: Sequence[Fault]) -> None:
        """Leave searches to the CPU. A shortage passes, so it counts before other faults of several cards."""
        fault = min(faults, key=lambda fault: fault.reason != "memory")
        self.reason = fault.reason
        GPUS.report(fault.reason, fault)


_LOADS: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def wait_for_loads() -> None:
    """Wait for indices on their way to a GPU, but not for long: FAISS must not be at work while Python ends."""
    end = time.monotonic() + _LEAVE_S
    for thread in list(_LOADS):
        thread.join(max(0.0, end - time.monotonic()))
