"""The cards as FAISS uses them: one set of resources per card and process, each under one lock.

FAISS ends the process where CUDA fails in its hands: on a card that it has no kernels for, on one that is lost, or
without memory for a handle. So a process of its own tries FAISS first (`gpu_trial.py`), and before each use torch is
asked whether the card answers and how much memory is free.
"""

from __future__ import annotations

import atexit
import logging
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from index_builder.index.faiss_search import load_faiss
from index_builder.index.settings import RecallSettings
from model.device_faults import is_device_lost, is_memory_short
from model.errors import DeviceError

Reason = Literal["memory", "error", "lost"]
"""Why a search that belongs on a GPU runs on the CPU: no memory there, FAISS cannot use it, or the card is lost."""
SENTENCES: dict[Reason, str] = {
    "memory": "The GPU has too little free memory, so recall runs on the CPU.",
    "error": "FAISS cannot use the GPU, so recall runs on the CPU. The log says why.",
    "lost": "The GPU failed, so recall runs on the CPU until the service is restarted.",
}
FIRST_USE_BYTES = 1_000_000_000
"""Free memory before FAISS touches a card: what its trial, its handles and its kernels may take. Not measured."""
SEARCH_BYTES = 128_000_000
"""Free memory before each search, for kernels that CUDA loads when they are first needed. Not measured."""
_TRIAL_S = 180
_SAY_AGAIN_S = 600
_log = logging.getLogger(__name__)


class GpuShortError(RuntimeError):
    """A card has too little free memory for what was about to be done."""


class GpuLostError(RuntimeError):
    """A card failed before; nothing on it can be used or freed."""


class FaissUnfitError(RuntimeError):
    """FAISS cannot use the cards of this machine."""


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

    @property
    def free(self) -> int:
        """Free memory in bytes."""
        return free_bytes(self.number)

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
        torch.cuda.empty_cache()
        if (free := free_bytes(card)) < wanted:
            raise GpuShortError(f"GPU {card} has {free / 1e6:.0f} MB free, {wanted / 1e6:.0f} MB are needed")


def visible() -> int:
    """How many GPUs torch sees."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def free_bytes(card: int) -> int:
    """Free memory of a card, of all processes together."""
    return int(torch.cuda.mem_get_info(card)[0])


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


_unused: deque[tuple[list[Any], Sequence[Card]]] = deque()


def give_back(objects: list[Any], cards: Sequence[Card]) -> None:
    """Free FAISS's objects on `cards`: now if nobody uses these, else after that use.

    Never waits, since the garbage collector may call it in a thread that holds any lock.
    """
    _unused.append((objects, cards))
    free_unused()


def free_unused() -> None:
    """Free what was given back while its cards were in use, as far as they are not now."""
    for _ in range(len(_unused)):
        try:
            objects, cards = _unused.popleft()
        except IndexError:  # another thread was faster
            return
        taken = [card for card in cards if card.lock.acquire(blocking=False)]
        try:
            if len(taken) == len(cards):
                if not all(card.answers() for card in cards):
                    abandon(objects)
                objects.clear()
            else:
                _unused.append((objects, cards))
        finally:
            for card in taken:
                card.lock.release()


def reason_of(error: BaseException) -> Reason:
    """What an error on a GPU means."""
    if isinstance(error, FaissUnfitError):
        return "error"
    if isinstance(error, GpuShortError) or is_memory_short(error):
        return "memory"
    lost = isinstance(error, GpuLostError) or is_device_lost(error) or "cuda" in str(error).lower()
    return "lost" if lost else "error"


class Gpus:
    """The cards of this process, and what kept them from being used."""

    def __init__(self) -> None:
        self._beginning, self._counting = threading.Lock(), threading.Lock()
        self._cards: list[Card] = []
        self._unfit: str | None = None
        self._fallbacks: Counter[Reason] = Counter()
        self._said: dict[Reason, float] = {}

    @property
    def fallbacks(self) -> dict[Reason, int]:
        """How many loads and searches went to the CPU although a GPU is there, by reason."""
        return {reason: self._fallbacks[reason] for reason in get_args(Reason)}

    @property
    def ready(self) -> list[Card]:
        """The cards that FAISS was told of so far."""
        return list(self._cards)

    def cards(self, scratch: int) -> list[Card]:
        """All visible cards, ready to be used.

        Raises:
            GpuShortError: one has too little free memory to begin with.
            FaissUnfitError: FAISS cannot use them, as `try_faiss` found, which is asked once.
            GpuLostError, torch.AcceleratorError: one is lost.
        """
        with self._beginning:
            if self._unfit is not None:
                raise FaissUnfitError(self._unfit)
            if not self._cards:
                numbers = range(visible())
                for number in numbers:
                    ask(number, FIRST_USE_BYTES + scratch)
                try:
                    try_faiss()
                except FaissUnfitError as error:
                    self._unfit = str(error)
                    raise
                self._cards = [Card(number, scratch) for number in numbers]
            for card in self._cards:
                with card.lock:
                    card.resize(scratch)
            return self.ready

    def report(self, reason: Reason, error: BaseException | None = None) -> None:
        """Count a load or a search that went to the CPU, and say why, at most once in ten minutes."""
        with self._counting:
            self._fallbacks[reason] += 1
            now = time.monotonic()
            if error is None or now - self._said.get(reason, -_SAY_AGAIN_S) < _SAY_AGAIN_S:
                return
            self._said[reason] = now
        _log.warning("%s (%s)", SENTENCES[reason], str(error).strip() or type(error).__name__)


GPUS = Gpus()
atexit.register(lambda: [card.answers() for card in GPUS.ready])  # what FAISS has on a lost one is not freed


def why_no_gpu() -> str | None:
    """Why recall cannot have a GPU here, with what to do; None if there is one that FAISS was built for."""
    if not hasattr(load_faiss(), "StandardGpuResources"):
        return "this FAISS was built for the CPU: pip uninstall faiss-cpu and install 'sketchseek[gpu]'"
    if not visible():
        return "torch finds no GPU: run `sketchseek doctor`"
    return None


def check_recall_device(settings: RecallSettings) -> None:
    """Check that there is a GPU if recall must have one.

    Raises:
        DeviceError: there is none.
    """
    if settings.device == "gpu" and (missing := why_no_gpu()) is not None:
        raise DeviceError(f"SKETCHSEEK_RECALL_DEVICE=gpu cannot be followed, since {missing}; or use auto or cpu")


def try_faiss() -> None:
    """Let another process find out whether FAISS can use the cards of this machine.

    Raises:
        FaissUnfitError: it cannot.
        GpuShortError: it found too little free memory.
    """
    command = [sys.executable, "-P", str(Path(__file__).with_name("gpu_trial.py"))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TRIAL_S, check=False)  # noqa: S603 - our own file
    except (OSError, subprocess.SubprocessError) as error:
        raise FaissUnfitError(f"FAISS could not be tried on the GPU: {error}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        message = f"FAISS failed when it was tried: {said[-1] if said else f'exit status {done.returncode}'}"
        raise GpuShortError(message) if "out of memory" in done.stderr.lower() else FaissUnfitError(message)
