"""Values as bytes, so that what Ray does with rows never splits them."""

from __future__ import annotations

import io
from typing import Any

from model.pickled_messages import Buffers, packed, unpacked


def sent(value: Any) -> bytes:
    """A value for another process of the same build."""
    return b"".join(packed(value))


def received(data: bytes) -> Any:
    """What such a process has sent."""
    file = io.BytesIO(data)

    def read_into(buffers: Buffers) -> None:
        for buffer in buffers:
            file.readinto(buffer)

    return unpacked(read_into)
