"""Messages between processes of ours: a pickle, and beside it the memory of arrays, which is not copied into it."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any

_COUNT = struct.Struct("<I")
_SIZE = struct.Struct("<Q")


def packed(value: Any) -> list[memoryview]:
    """A value as the parts of a message: how many bytes belong to what, the pickle, then the arrays."""
    buffers: list[pickle.PickleBuffer] = []
    plain = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    sizes = b"".join(_SIZE.pack(size) for size in (len(plain), *(view.nbytes for view in views)))
    return [memoryview(_COUNT.pack(len(views)) + sizes + plain), *views]


def unpacked(read_into: Callable[[bytearray], None]) -> Any:
    """The value of a message, of which `read_into` fills one buffer after another. Only of a process that we trust."""

    def read(size: int) -> bytearray:
        buffer = bytearray(size)
        read_into(buffer)
        return buffer

    (count,) = _COUNT.unpack(read(_COUNT.size))
    sizes = [_SIZE.unpack(read(_SIZE.size))[0] for _ in range(count + 1)]
    plain, *buffers = [read(size) for size in sizes]
    return pickle.loads(plain, buffers=buffers)  # noqa: S301 - see above
