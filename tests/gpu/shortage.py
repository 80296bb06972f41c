"""Makes memory short: by a large tensor held beside the test on a device, by an injected error on the CPU."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from model.device_faults import is_memory_short
from model.networks.network import Network

MEBIBYTE = 2**20


@contextlib.contextmanager
def leaving(place: torch.device, free: int) -> Iterator[None]:
    """All but `free` bytes of the device are held by a tensor, as if by another program. The CPU's stay as they are."""
    if place.type == "cpu":
        yield
        return
    gc.collect()
    torch.cuda.empty_cache()
    held = torch.empty(max(0, torch.cuda.mem_get_info(place)[0] - free), dtype=torch.uint8, device=place)
    try:
        yield
    finally:
        del held
        torch.cuda.empty_cache()


def needs(place: torch.device, work: Callable[[], object]) -> int:
    """Bytes of the device that torch asks the driver for to do `work`; 0 on the CPU."""
    if place.type == "cpu":
        return 0
    work()  # loads kernels and whatever stays
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(place)
    before = torch.cuda.memory_reserved(place)
    work()
    return torch.cuda.max_memory_reserved(place) - before


@dataclass
class Sizes:
    """How many images or pairs a network was given at once: in calls that failed for memory, and in the others."""

    failed: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)

    def assert_smaller_than(self, whole: int) -> None:
        """It was done in parts, because the whole did not fit; some may have failed before the network was called."""
        assert self.done
        assert max(self.done) < min([whole, *self.failed])


@contextlib.contextmanager
def too_little_for(
    work: Callable[[], object], network: Network, method: str, most: int, count: Callable[..., int]
) -> Iterator[Sizes]:
    """Memory for about a third of `work`, which calls a method of the network.

    Args:
        work: what does not fit.
        network: where it runs.
        method: what is called with the images or the encodings.
        most: on the CPU, a call with more of them fails.
        count: how many a call has, from its arguments.

    Yields:
        how many each call had, as it goes.
    """
    place, original, sizes = network.device, getattr(network, method), Sizes()

    def counted(*arguments: Any, **options: Any) -> Any:
        size = count(*arguments)
        try:
            if place.type == "cpu" and size > most:
                raise torch.OutOfMemoryError("injected")
            found = original(*arguments, **options)
        except (RuntimeError, MemoryError) as error:
            if is_memory_short(error):
                sizes.failed.append(size)
            raise
        sizes.done.append(size)
        return found

    needed = needs(place, work)
    setattr(network, method, counted)
    try:
        with leaving(place, needed // 3):
            yield sizes
    finally:
        delattr(network, method)
