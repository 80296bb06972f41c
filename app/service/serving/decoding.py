"""Decodes what searches send: in processes of their own, or where there are none, on the thread that asks."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from app.logs import get_logger
from app.service.serving.deadline import Deadline
from app.service.serving.decoding_process import TASK
from app.service_errors import BusyError
from app.settings import Settings
from model.config import PreprocessConfig
from model.helper_processes import HelperLostError, HelperProcesses
from model.images.limits import ImageLimits
from model.images.sent_picture import SentPicture

_log = get_logger("app.service.serving.decoding")
_TRIES = 2  # a picture that costs two processes their lives is to blame
_LINE = SentPicture("sketch", strokes=([[0.0, 9.0], [0.0, 9.0]],))


class Decoding:
    """Pictures for the network, out of what clients send.

    Args:
        processes: that decode; 0 decodes on the calling thread.
        settings: how long a request may take, and what a client is told whose picture was lost with its process.
        config: how the network sees pictures.
        limits: what a picture may cost.

    Attributes:
        warm: whether all processes have started.
    """

    def __init__(self, processes: int, settings: Settings, config: PreprocessConfig, limits: ImageLimits) -> None:
        self._count, self._config, self._limits = processes, config, limits
        self._retry_after_s = settings.retry_after_s
        self._helpers: HelperProcesses | None = None
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
        except Exception as error:  # whatever it is, threads can do it
            _log.error("pictures are decoded on threads, because processes cannot be started", exc_info=error)
            helpers, self._helpers = self._helpers, None
            helpers.close()
        self.warm = True

    def pixels(self, picture: SentPicture, deadline: Deadline) -> Image.Image:
        """The picture as the network sees it, RGB, S x S. Waits, so not for an event loop.

        Raises:
            BusyError: `decoder_lost`, `deadline_exceeded`.
            BlankSketchError, StrokesError, ImageError and its kinds: see `SentPicture.pixels`.
        """
        if self._helpers is None:
            return picture.pixels(self._config, self._limits)
        for _ in range(_TRIES):
            deadline.raise_if_passed()
            with contextlib.suppress(HelperLostError, OSError):
                return Image.fromarray(self._helpers.ask(picture))
            _log.warning("a process that decodes pictures was lost")
        raise BusyError("decoder_lost", "The picture was lost while it was decoded; try again.", self._retry_after_s)

    def close(self) -> None:
        """End the processes."""
        if self._helpers is not None:
            self._helpers.close()
