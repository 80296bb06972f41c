"""The thread on which a build encodes. For a GPU it is the same for one build after another.

PyTorch keeps what cuDNN chose for each thread by itself, and on a GPU choosing takes seconds for each size of a batch.
A thread of its own would let every build choose again, and every photo that is added while a gallery is served.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

_in_use = threading.Lock()
_kept: list[ThreadPoolExecutor] = []


@contextmanager
def encoding_thread(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """A thread that encodes on this device. It has ended its work when the block ends.

    A build beside another one gets a thread of its own, and so does each build on a CPU.
    """
    if device.type != "cuda" or not _in_use.acquire(blocking=False):
        with _thread() as thread:
            yield thread
        return
    try:
        if not _kept:
            _kept.append(_thread())
        try:
            yield _kept[0]
        finally:
            _kept[0].submit(int).result()  # it takes one after another: what was asked for before is done
    finally:
        _in_use.release()


def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="encode")
