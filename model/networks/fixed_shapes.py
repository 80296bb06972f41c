"""Steps of a network at fixed batch sizes, recorded once as a CUDA graph each and launched as a whole.

With a few images a GPU computes for less time than Python needs to launch its hundreds of kernels one by one. A graph
launches them together, but always the same ones on the same memory. So a batch is copied into the inputs of the
smallest recorded size that holds it, and the rows it asked for are copied out. A recorded step must compute each row by
itself: the rows beside the batch hold what an earlier one left there. Even so, 32 images take a GPU less time than
launching the kernels of one takes Python, and no kernels have to be chosen for another size.

Only the thread that recorded the steps runs them, because their inputs are shared memory: in a service that is the
thread of the `DeviceWorker`. Everyone else is told to compute plainly, and so is whoever brings a shape that was not
recorded or wants gradients. Where memory is too short for the copies, so is that batch. When a graph fails for any
other reason, all of them are given up with one warning.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from model.device_faults import free_cached_memory, is_memory_short

Tensors = tuple[Tensor, ...]

_STAYS_FREE = 8  # the part of the device's memory that recordings leave alone
_WARM_UPS = 3  # as PyTorch's documentation of CUDA graphs has it
_log = logging.getLogger(__name__)


class Recorder(Protocol):
    """Records what runs on a device; `CudaRecorder` is the real one."""

    def has_room(self) -> bool:
        """Whether the device has memory for another recording."""
        ...

    def record(self, run: Callable[[], Tensors]) -> tuple[Tensors, Callable[[], None]]:
        """Run once and record it: the tensors it returned, and what computes them anew in the same memory."""
        ...


class CudaRecorder:
    """Records CUDA graphs, which share one pool of memory for what lies between their inputs and outputs.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None
        self._stream: Any = None

    def has_room(self) -> bool:
        """See `Recorder.has_room`."""
        free, total = torch.cuda.mem_get_info(self._device)
        return free > total // _STAYS_FREE

    def record(self, run: Callable[[], Tensors]) -> tuple[Tensors, Callable[[], None]]:
        """See `Recorder.record`."""
        with torch.cuda.device(self._device):
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
                self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # one: a pool serves one stream
            current, aside = torch.cuda.current_stream(), self._stream
            aside.wait_stream(current)
            with torch.cuda.stream(aside):  # libraries choose their kernels and take their memory before
                for _ in range(_WARM_UPS):
                    run()
            current.wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            try:
                # Other threads may go on using the device meanwhile: their calls are none of the graph's.
                mode = "thread_local"
                with (
                    _without_garbage_collection(),
                    torch.cuda.graph(graph, pool=self._pool, stream=aside, capture_error_mode=mode),
                ):
                    outputs = run()
            finally:
                torch.cuda.set_stream(current)  # a recording that fails leaves its own stream behind

        def replay() -> None:
            with torch.cuda.device(self._device):
                graph.replay()

        return outputs, replay


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Nothing that has memory of the device is found dead by this thread, where freeing it would end a recording."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(frozen=True)
class _Recorded:
    """One step at one size: its own inputs and outputs, and what computes the ones from the others."""

    inputs: tuple[Tensors, ...]
    outputs: Tensors
    replay: Callable[[], None]

    @property
    def size(self) -> int:
        """Rows of the last group."""
        return len(self.inputs[-1][0])

    def holds(self, groups: Sequence[Tensors]) -> bool:
        """Whether tensors of these shapes fit into the inputs."""
        return all(
            len(own) == len(given)
            and all(a.shape[1:] == b.shape[1:] and len(a) >= len(b) for a, b in zip(own, given, strict=True))
            for own, given in zip(self.inputs, groups, strict=True)
        )

    def run(self, groups: Sequence[Tensors]) -> Tensors:
        """The outputs' rows that belong to the last group, copied."""
        for one, other in zip(self.inputs, groups, strict=True):
            for own, given in zip(one, other, strict=True):
                own[: len(given)].copy_(given, non_blocking=True)
        self.replay()
        return tuple(output[: len(groups[-1][0])].clone() for output in self.outputs)


class FixedShapes:
    """Steps recorded at fixed sizes: after `network.warm_up()` on a GPU, `network.fixed_shapes` has them.

    A step takes groups of tensors and returns tensors. The tensors of a group have as many rows as each other, and
    those that are returned have as many as the last group.

    Attributes:
        replays: how many times a recording answered; it grows where a batch did not run plainly.
        tried: whether anything was to be recorded, and so will not be again.
    """

    def __init__(self) -> None:
        self._steps: dict[str, list[_Recorded]] = {}
        self._owner: int | None = None
        self._full = False
        self.replays = 0
        self.tried = False

    def sizes(self, name: str) -> list[int]:
        """Rows of the last group that each recording of a step holds, ascending."""
        return [one.size for one in self._steps.get(name, ())]

    def record(
        self, recorder: Recorder, name: str, step: Callable[..., Tensors], examples: Iterable[Sequence[Tensors]]
    ) -> None:
        """Record a step at several sizes, for this thread to run, as far as there is memory.

        Any other failure gives up all recordings.

        Args:
            recorder: of the device.
            name: by which it is run.
            step: computes from groups of tensors.
            examples: groups of the wanted sizes. The largest comes first, so that the others fit into its memory.
        """
        if self.tried and self._owner != threading.get_ident():
            return  # given up, or of another thread
        self._owner, self.tried = threading.get_ident(), True
        own, gave_up = self._steps.setdefault(name, []), False
        try:
            with torch.inference_mode(mode=False), torch.no_grad():  # in any mode, inputs can be written again
                for groups in examples:
                    if self._full or not recorder.has_room():
                        self._say_full()
                        return
                    own.insert(0, _recorded(recorder, step, groups))
        except Exception as error:
            gave_up = not is_memory_short(error)
            if gave_up:
                self._give_up(error)
            else:
                self._say_full()
        if gave_up and not free_cached_memory():  # outside the handler, whose traceback holds tensors
            _log.warning("restart soon: after that recording failed, unused GPU memory stays taken")

    def run(self, name: str, *groups: Tensors) -> Tensors | None:
        """What the step gives for these tensors, or None: then compute it plainly."""
        if self._owner != threading.get_ident() or torch.is_grad_enabled():
            return None
        recorded = next((one for one in self._steps.get(name, ()) if one.holds(groups)), None)
        if recorded is None:
            return None
        try:
            outputs = recorded.run(groups)
        except Exception as error:
            if not is_memory_short(error):
                self._give_up(error)
            return None
        self.replays += 1
        return outputs

    def _say_full(self) -> None:
        if not self._full:
            _log.warning("the device has too little memory for CUDA graphs of all batch sizes; the others run without")
        self._full = True

    def _give_up(self, error: Exception) -> None:
        """Free the memory of all recordings."""
        self._steps.clear()
        self._owner = None
        said = (str(error).splitlines() or [""])[0]
        _log.warning("batches run without CUDA graphs from now on (%s: %s)", type(error).__name__, said)

    def __reduce__(self) -> tuple[type[FixedShapes], tuple[()]]:
        """A copy of a network has weights of its own, and so nothing recorded."""
        return FixedShapes, ()


def _recorded(recorder: Recorder, step: Callable[..., Tensors], groups: Sequence[Tensors]) -> _Recorded:
    inputs = tuple(tuple(tensor.clone() for tensor in group) for group in groups)
    outputs, replay = recorder.record(lambda: step(*inputs))
    return _Recorded(inputs, outputs, replay)
