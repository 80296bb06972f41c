"""Messages between processes: what is none is refused before anything is read or reserved."""

import io
import struct
from typing import Any

import numpy as np
import pytest

from model.pickled_messages import NotAMessageError, packed, packed_error, unpacked


class TwoPartsError(Exception):
    """Can be written, and not be read again."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def read(data):
    source = io.BytesIO(data)

    def read_into(buffers):
        if any(source.readinto(buffer) != len(buffer) for buffer in buffers):
            raise EOFError

    return unpacked(read_into)


def test_a_value_arrives_with_its_arrays():
    value: dict[str, Any] = {"rows": np.arange(6).reshape(2, 3), "words": ["a", None]}
    again = read(b"".join(packed(value)))
    assert np.array_equal(again["rows"], value["rows"])
    assert again["words"] == value["words"]


def test_what_is_no_message_is_refused():
    message = b"".join(packed([1, 2]))
    for data in (
        b"hello from a site\n",
        b"SkM0" + message[4:],
        message[:4] + struct.pack("<I", 1 << 31) + message[8:],
        message[:8] + struct.pack("<Q", 1 << 60) + message[16:],
        message[:-2] + b"??",
    ):
        with pytest.raises(NotAMessageError):
            read(data)
    with pytest.raises(EOFError):
        read(message[:-1])


def test_an_error_that_cannot_be_read_again_becomes_one_that_can():
    worked, error = read(b"".join(packed_error(TwoPartsError("no", "way"))))
    assert not worked
    assert str(error) == "TwoPartsError: no way"
    worked, error = read(b"".join(packed_error(ValueError("plain"))))
    assert repr(error) == "ValueError('plain')"
