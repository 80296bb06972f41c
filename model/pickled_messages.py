"""Messages between processes of ours: a pickle, and beside it the memory of arrays, which is not copied into it."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

Buffers = list[memoryview]

_HEAD = struct.Struct("<4sI")
_MARK = b"SkM1"
_SIZE = struct.Struct("<Q")
_MOST_ARRAYS = 1 << 16
_MOST_BYTES = 1 << 33


class NotAMessageError(Exception):
    """What arrived is no message of ours, or cannot be read."""


def packed(value: Any) -> list[memoryview]:
    """A value as the parts of a message: how many bytes belong to what, the pickle, then the arrays."""
    buffers: list[pickle.PickleBuffer] = []
    plain = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    sizes = b"".join(_SIZE.pack(size) for size in (len(plain), *(view.nbytes for view in views)))
    return [memoryview(_HEAD.pack(_MARK, len(views)) + sizes + plain), *views]


def packed_error(error: Exception) -> list[memoryview]:
    """The message `(False, error)`. An error that does not survive it becomes a RuntimeError with the same text."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own; some can be written and not be read
        return packed((False, error))
    except Exception:
        return packed((False, RuntimeError(f"{type(error).__name__}: {error}")))


def unpacked(read_into: Callable[[Buffers], None]) -> Any:
    """The value of a message, of which `read_into` fills several buffers at a time, one after another. Only of a
    process that we trust.

    Raises:
        NotAMessageError: see there.
        Exception: what `read_into` raises.
    """

    def read(sizes: list[int]) -> Buffers:
        buffers = [np.empty(size, dtype=np.uint8).data for size in sizes]  # a bytearray would be zeroed first
        read_into(buffers)
        return buffers

    mark, count = _HEAD.unpack(read([_HEAD.size])[0])
    if mark != _MARK or count > _MOST_ARRAYS:
        raise NotAMessageError("not the beginning of a message")
    sizes = [size for (size,) in _SIZE.iter_unpack(read([_SIZE.size * (count + 1)])[0])]
    if sum(sizes) > _MOST_BYTES:
        raise NotAMessageError(f"a message of {sum(sizes)} bytes")
    plain, *buffers = read(sizes)
    try:
        return pickle.loads(plain, buffers=buffers)  # noqa: S301 - see above
    except Exception as error:
        raise NotAMessageError(f"it cannot be read ({type(error).__name__})") from error
