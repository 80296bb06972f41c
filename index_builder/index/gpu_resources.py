"""The cards as FAISS uses them: one set of resources per card and process, each under one lock.

FAISS ends the process where CUDA fails in its hands: on a card that it has no kernels for, on one that is lost, or
without memory for a handle. So a process of its own tries FAISS first (`gpu_trial.py`), and before each use torch is
asked whether the card answers and how much memory is free.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, get_args

import torch

from index_builder.index.faiss_search import load_faiss
from index_builder.index.gpu_choice import try_faiss
from index_builder.index.gpu_faults import SENTENCES, FaissUnfitError, Fault, GpuLostError, GpuShortError, Reason
from model.device_faults import free_cached_memory

FIRST_USE_BYTES = 1_000_000_000
"""Free memory before FAISS touches a card: what its trial, its handles and its kernels may take. Not measured."""
SEARCH_BYTES = 128_000_000
"""Free memory before each search, for kernels that CUDA loads when they are first needed. Not measured."""
_SAY_AGAIN_S = 600
_log = logging.getLogger(__name__)


class Card:
    """One GPU: FAISS's resources there, and the lock under which everything of FAISS happens on it.

    Args:
        number: as torch and FAISS count.
        scratch: bytes that searches share.
    """

    def __init__(self, number: int, scratch: int) -> None:
        self.number, self.lost = number, False
        self.lock = threading.RLock()  # the garbage collector may free an index while this thread holds it
        self._scratch = scratch
        self.resources = load_faiss().StandardGpuResources()
        self.resources.setTempMemory(scratch)
        self.resources.setPinnedMemory(0)  # only queries of 256 MB and more would be copied through it

    @property
    def scratch(self) -> int:
        """Bytes that searches share."""
        return self._scratch

    def resize(self, scratch: int) -> None:
        """Give searches another scratch memory."""
        if scratch != self._scratch:
            self.ask(scratch + SEARCH_BYTES)
            self.resources.setTempMemory(scratch)
            self._scratch = scratch

    def ask(self, wanted: int) -> None:
        """Make sure that the card answers and has `wanted` bytes free.

        Raises:
            GpuShortError: it has less, even without what torch keeps for later.
            GpuLostError, torch.AcceleratorError: it is lost.
        """
        if self.lost:
            raise GpuLostError(f"GPU {self.number} failed before")
        ask(self.number, wanted)

    def has_room(self, wanted: int) -> bool:
        """Whether `wanted` bytes are free."""
        try:
            self.ask(wanted)
        except Exception:  # it is found out again where the card is used
            return False
        return True

    def answers(self) -> bool:
        """Whether the card is not lost."""
        try:
            self.ask(0)
        except Exception:  # whatever it is, FAISS would not survive it
            self.lose()
        return not self.lost

    def lose(self) -> None:
        """Never use the card again. What FAISS has there stays, since freeing it would end the process."""
        if not self.lost:
            self.lost = True
            abandon([self.resources])


def ask(card: int, wanted: int) -> None:
    """As `Card.ask`, of a card that FAISS does not use yet."""
    if free_bytes(card) < wanted:
        free_cached_memory()
        if (free := free_bytes(card)) < wanted:
            raise GpuShortError(f"GPU {card} has {free / 1e6:.0f} MB free, {wanted / 1e6:.0f} MB are needed")


def free_bytes(card: int) -> int:
    """Free memory of a card, of all processes together."""
    return int(torch.cuda.mem_get_info(card)[0])


def lose_failed(cards: Sequence[Card]) -> None:
    """Lose those of `cards` that answer no more; all of them if an error on one cannot be told from the others'."""
    answers = [card.answers() for card in cards]
    if all(answers):
        for card in cards:
            card.lose()


def abandon(objects: Sequence[Any]) -> None:
    """Keep Python from freeing FAISS's objects."""
    for one in objects:
        if hasattr(one, "this"):
            one.this.disown()


@contextmanager
def held(cards: Sequence[Card]) -> Iterator[None]:
    """The locks of all `cards`, which are in the order of their numbers everywhere."""
    with ExitStack() as stack:
        stack.callback(free_unused)
        for card in cards:
            stack.enter_context(card.lock)
        yield


class _Unused:
    """FAISS's objects on `cards` that are to be freed."""

    def __init__(self, objects: list[Any], cards: Sequence[Card]) -> None:
        self.objects, self.cards = objects, cards


_unused: list[_Unused] = []


def give_back(objects: list[Any], cards: Sequence[Card]) -> None:
    """Free FAISS's objects on `cards`: now if nobody uses these, else after that use.

    Never waits, since the garbage collector may call it in a thread that holds any lock.
    """
    _unused.append(_Unused(objects, cards))
    free_unused()


def free_unused() -> None:
    """Free what was given back while its cards were in use, as far as they are not now."""
    for one in _unused[:]:
        taken = [card for card in one.cards if card.lock.acquire(blocking=False)]
        try:
            # It stays in the list until its cards are ours: whoever holds one looks there when he is done.
            if len(taken) == len(one.cards):
                try:
                    _unused.remove(one)
                except ValueError:  # another thread was faster
                    continue
                if not all(card.answers() for card in one.cards):
                    abandon(one.objects)
                one.objects.clear()
        finally:
            for card in taken:
                card.lock.release()


class Gpus:
    """The cards of this process, and what kept them from being used."""

    def __init__(self) -> None:
        self._beginning, self._counting = threading.Lock(), threading.Lock()
        self._cards: dict[int, Card] = {}
        self._unfit: dict[int, str] = {}
        self._fallbacks: Counter[Reason] = Counter()
        self._said: dict[str, float] = {}

    @property
    def fallbacks(self) -> dict[Reason, int]:
        """How many loads and searches went to the CPU although a GPU is there, by reason."""
        return {reason: self._fallbacks[reason] for reason in get_args(Reason)}

    @property
    def ready(self) -> list[Card]:
        """The cards that FAISS was told of so far."""
        return list(self._cards.values())

    def card(self, number: int, scratch: int) -> Card:
        """A card, ready to be used. The others are not touched.

        Raises:
            GpuShortError: it has too little free memory to begin with.
            FaissUnfitError: FAISS cannot use it, as `try_faiss` found, which is asked once.
            GpuLostError, torch.AcceleratorError: it is lost.
        """
        with self._beginning:
            if number not in self._cards:
                if number in self._unfit:
                    raise FaissUnfitError(self._unfit[number])
                ask(number, FIRST_USE_BYTES + scratch)
                try:
                    try_faiss(number)
                except FaissUnfitError as error:
                    self._unfit[number] = str(error)
                    raise
                self._cards[number] = Card(number, scratch)
            card = self._cards[number]
            with held([card]):
                card.resize(scratch)
            return card

    def report(self, reason: Reason, fault: Fault | None = None) -> None:
        """Count a load or a search that went to the CPU, and say why, at most once in ten minutes."""
        with self._counting:
            self._fallbacks[reason] += 1
        if fault is not None:
            self._say(SENTENCES[reason], fault)

    def leave_out(self, fault: Fault) -> None:
        """Say that others work while one of several cards cannot, at most once in ten minutes."""
        self._say("Recall leaves out one of its GPUs.", fault)

    def _say(self, sentence: str, fault: Fault) -> None:
        with self._counting:
            now = time.monotonic()
            if now - self._said.get(sentence, -_SAY_AGAIN_S) < _SAY_AGAIN_S:
                return
            self._said[sentence] = now
        _log.warning("%s (%s)", sentence, fault.says)


GPUS = Gpus()
atexit.register(lambda: [card.answers() for card in GPUS.ready])  # what FAISS has on a lost one is not freed
