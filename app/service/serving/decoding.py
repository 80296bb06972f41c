"""Decodes what searches send: in processes of their own, or where there are none, on the thread that asks."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from app.logs import get_logger
from app.service.serving.deadline import Deadline
from app.service.serving.decoding_process import TASK
from app.service_errors import BusyError
from app.settings import Settings
from model.config import PreprocessConfig
from model.helper_processes import HelperLostError, HelperNeverBeganError, HelperProcesses, HelpersClosedError
from model.images.limits import ImageLimits
from model.images.sent_picture import DrawnSketch, SentPicture

_log = get_logger("app.service.serving.decoding")
_TRIES = 2  # a picture that costs two processes their lives is to blame
_PAUSE_S = 60.0  # before processes are tried again that could not begin
_LINE = SentPicture("sketch", strokes=([[0.0, 9.0], [0.0, 9.0]],))


class Decoding:
    """Pictures for the network, out of what clients send.

    Where no process can begin, threads decode. Now and then processes are tried again, beside the requests.

    Args:
        processes: that decode; 0 decodes on the calling thread.
        settings: how long a request may take, and what a client is told whose picture was lost with its process.
        config: how the network sees pictures.
        limits: what a picture may cost.

    Attributes:
        warm: whether all processes have started, or threads decode in their place.
    """

    def __init__(self, processes: int, settings: Settings, config: PreprocessConfig, limits: ImageLimits) -> None:
        self._count, self._config, self._limits = processes, config, limits
        self._retry_after_s = settings.retry_after_s
        self._helpers: HelperProcesses | None = None
        self._again_at: float | None = None  # while threads decode: when to try processes again
        self._lock = threading.Lock()
        self.warm = not processes
        if processes:
            plain = {name: getattr(limits, name) for name in ("max_pixels", "max_bytes", "max_memory", "formats")}
            self._helpers = HelperProcesses(processes, TASK, config, plain, patience_s=settings.request_timeout_s)

    def start(self) -> None:
        """Start the processes and wait until each has decoded something. Where none can start, threads decode."""
        if self._helpers is None:
            return
        try:
            with ThreadPoolExecutor(self._count) as threads:
                for _ in threads.map(self._helpers.ask, [_LINE] * self._count):
                    pass
        except HelpersClosedError:  # the service ends before it began
            return
        except Exception as error:  # whatever it is, threads can do it
            self._leave_to_threads(error)
        self.warm = True

    def pixels(self, picture: SentPicture, deadline: Deadline) -> Image.Image:
        """The picture as the network sees it, RGB, S x S. Waits, so not for an event loop.

        Raises:
            BusyError: `decoder_lost`, `deadline_exceeded`.
            BlankSketchError, StrokesError, ImageError and its kinds: see `SentPicture.pixels`.
        """
        in_process = self._in_process(picture, deadline)
        return picture.pixels(self._config, self._limits) if in_process is None else in_process.pixels

    def drawn(self, sketch: SentPicture, deadline: Deadline) -> DrawnSketch:
        """A sketch as the network sees it, and whether it says anything. Waits, and raises as `pixels`."""
        in_process = self._in_process(sketch, deadline)
        return sketch.drawn(self._config, self._limits) if in_process is None else in_process

    def _in_process(self, picture: SentPicture, deadline: Deadline) -> DrawnSketch | None:
        """What a process makes of the picture; None where threads decode."""
        for tries_left in reversed(range(_TRIES)):
            deadline.raise_if_passed()
            if self._helpers is None or self._threads_decode():
                return None
            try:
                pixels, little_ink = self._helpers.ask(picture, deadline.at)
                return DrawnSketch(Image.fromarray(pixels), little_ink)
            except HelperLostError:
                _log.warning("a decoding process was lost with its picture", tries_left=tries_left)
            except HelperNeverBeganError as error:
                self._leave_to_threads(error)  # not a picture that has just cost a process its life
            except TimeoutError:
                raise deadline.exceeded() from None
        raise BusyError("decoder_lost", "The picture was lost while it was decoded; try again.", self._retry_after_s)

    def _threads_decode(self) -> bool:
        """Whether processes cannot be had at the moment; has them tried again if it is time."""
        with self._lock:
            if self._again_at is None:
                return False
            if time.monotonic() >= self._again_at:
                self._again_at = math.inf
                threading.Thread(target=self._try_again, name="start_decoding", daemon=True).start()
            return True

    def _try_again(self) -> None:
        if self._helpers is None:
            return
        try:
            self._helpers.ask(_LINE)
        except HelpersClosedError:
            return
        except Exception as error:
            self._leave_to_threads(error)
            return
        with self._lock:
            self._again_at = None
        _log.info("pictures are decoded in processes again")

    def _leave_to_threads(self, error: Exception) -> None:
        """Threads decode from now on; one warning says so, however often processes are tried."""
        with self._lock:
            known, self._again_at = self._again_at is not None, time.monotonic() + _PAUSE_S
        if not known:
            _log.warning("pictures are decoded on threads, because processes cannot be started", exc_info=error)

    def close(self) -> None:
        """End the processes. Nobody waits any more for what they are at work on."""
        if self._helpers is not None:
            self._helpers.close()
