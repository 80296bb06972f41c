"""A piece of work for the device's worker, and what a client is told of an error.

All work on the device passes here when it fails. So this is where the device is found lost, or short of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.logs import get_logger
from app.service.serving.deadline import Deadline
from app.service_errors import BusyError
from model.device_faults import is_device_lost, is_memory_short
from model.errors import DeviceMemoryError

Item = TypeVar("Item")
Out = TypeVar("Out")

_log = get_logger("app.service.serving.tickets")


@dataclass
class Ticket(Generic[Item, Out]):
    """One piece of work in the queue or on the device.

    Attributes:
        item: the work.
        deadline: of the request that waits for the result.
        told: what the request is told of an error.
        future: receives the result. Cancelling it drops the work, wherever it is.
    """

    item: Item
    deadline: Deadline
    told: Callable[[BaseException], BaseException]
    future: Future[Out] = field(default_factory=Future)

    @property
    def wanted(self) -> bool:
        """Whether anyone still waits for the result."""
        return not self.future.done() and not self.deadline.passed

    def resolve(self, result: Out) -> None:
        """Deliver the result, unless the work was dropped."""
        try:
            self.future.set_result(result)
        except InvalidStateError:
            return

    def fail(self, error: BaseException) -> None:
        """Deliver an error, unless the work was dropped."""
        try:
            self.future.set_exception(self.told(error))
        except InvalidStateError:
            return


class ToldErrors:
    """What clients are told where work on the device fails.

    Args:
        retry_after_s: after how many seconds a client is told to try again.

    Attributes:
        device_lost: whether this process can use its device no more. Only a restart helps.
    """

    def __init__(self, retry_after_s: int) -> None:
        self._retry_after_s = retry_after_s
        self.device_lost = False

    def told(self, error: BaseException) -> BaseException:
        """What is told of an error of the device; any other stays as it is."""
        if is_device_lost(error):
            if not self.device_lost:
                self.device_lost = True
                _log.critical("the GPU failed", exc_info=error)
            return self._busy("device_lost", "The device is lost; another replica may answer.")
        if isinstance(error, DeviceMemoryError) or is_memory_short(error):
            _log.error("the device's memory is too short", reason=str(error))
            return self._busy("device_memory", "The device's memory is too short at the moment; try again.")
        return error

    def queue_full(self) -> BusyError:
        """As much waits as may."""
        return self._busy("queue_full", "Too many searches are waiting; try again later.")

    def closing(self) -> BusyError:
        """The service ends."""
        return self._busy("closing", "The service is shutting down; try again.")

    def worker_died(self) -> BusyError:
        """The worker died of this work, or of what was done together with it."""
        return self._busy("worker_died", "The request was lost with its worker; try again.")

    def _busy(self, code: str, message: str) -> BusyError:
        return BusyError(code, message, self._retry_after_s)
