"""Several processes that train together, as torchrun starts them: one GPU each, or CPU cores for tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

from model.errors import ConfigurationError, DeviceError

PATIENCE = timedelta(hours=2)  # the first process decodes and validates while the others wait


@dataclass(frozen=True)
class Process:
    """This process among those that train together.

    Attributes:
        rank: from 0; the first one validates, saves and reports.
        count: of processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this one validates, saves and reports."""
        return self.rank == 0

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process runs the block before the others, so that they find what it left in a cache."""
        if self.count > 1 and not self.first:
            distributed.barrier()
        yield
        if self.count > 1 and self.first:
            distributed.barrier()

    def any(self, *, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in any process; all must ask at the same point."""
        if self.count == 1:
            return flag
        shared = torch.tensor(int(flag), device=device)
        distributed.all_reduce(shared, op=distributed.ReduceOp.MAX)
        return bool(shared)


@contextmanager
def joined(device: torch.device) -> Iterator[tuple[Process, torch.device]]:
    """Join the processes that torchrun started; alone, where it did not.

    Args:
        device: "cuda" gives each process the GPU of its local rank; the CPU serves any number.

    Yields:
        this process and its device.

    Raises:
        DeviceError: there are more processes than GPUs.
        ConfigurationError: the environment that torchrun sets is incomplete.
    """
    try:
        count, rank, local = (int(os.environ.get(name, alone)) for name, alone in _VARIABLES.items())
    except ValueError as error:
        raise ConfigurationError(
            f"WORLD_SIZE, RANK and LOCAL_RANK must be numbers, as torchrun sets them: {error}"
        ) from error
    if count == 1:
        yield Process(), device
        return
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise DeviceError(f"{local + 1} processes need as many GPUs, but there are {torch.cuda.device_count()}")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    try:
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            timeout=PATIENCE,
            device_id=device if device.type == "cuda" else None,
        )
    except ValueError as error:
        raise ConfigurationError(f"these processes cannot meet ({error}); start them with torchrun") from error
    try:
        yield Process(rank, count), device
    finally:
        distributed.destroy_process_group()


_VARIABLES = {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}
