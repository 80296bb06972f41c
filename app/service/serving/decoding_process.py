"""What a process does that decodes pictures for the service. It imports neither torch nor the service."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from model.config import PreprocessConfig
from model.images.decoding_memory import UNSHARED
from model.images.limits import ImageLimits
from model.images.sent_picture import SentPicture

TASK = f"{__name__}:decoder"


Decoded = tuple[npt.NDArray[np.uint8], bool]


def decoder(config: PreprocessConfig, limits: dict[str, Any]) -> Callable[[SentPicture], Decoded]:
    """What answers a request of this process: a picture -> [S, S, 3] uint8, and whether a sketch has little ink.

    Args:
        config: how the network sees pictures.
        limits: of `ImageLimits`. One process decodes one picture at a time, so nobody waits for memory.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the service answers it, and needs this process until its end
    own = ImageLimits(**limits, together=UNSHARED)

    def decoded(picture: SentPicture) -> Decoded:
        if picture.kind == "photo":
            return np.asarray(picture.pixels(config, own)), False
        drawn = picture.drawn(config, own)
        return np.asarray(drawn.pixels), drawn.little_ink

    return decoded
