"""Answers arrive whole, however the pipe cuts them."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from model.helper_pipes import exchange, make_room
from model.pickled_messages import packed


def pipes():
    """Who asks writes to the first and reads from the second; the other ends follow."""
    (requests, to), (answers_from, answers) = os.pipe(), os.pipe()
    for end in (to, answers_from):
        os.set_blocking(end, False)
    return to, answers_from, requests, answers


@pytest.mark.parametrize("piece", [7, 5000, 1 << 20])
def test_many_arrays_arrive_in_pieces_of_any_size(piece):
    sent = [np.arange(number % 50, dtype=np.int16) for number in range(200)] + [np.ones((40, 40), dtype=np.uint8)]
    to, answers_from, requests, answers = ends = pipes()
    make_room(answers_from)
    message = b"".join(packed(sent))

    def answer():
        assert os.read(requests, 1 << 16)
        for start in range(0, len(message), piece):
            os.write(answers, message[start : start + piece])

    with ThreadPoolExecutor(1) as thread:
        answered = thread.submit(answer)
        got = exchange(to, answers_from, packed("go"), time.monotonic() + 60)
        answered.result()
    assert len(got) == len(sent)
    assert all(np.array_equal(one, other) and one.dtype == other.dtype for one, other in zip(got, sent, strict=True))
    for end in ends:
        os.close(end)


def test_an_answer_that_ends_too_early_is_none():
    to, answers_from, requests, answers = pipes()
    os.write(answers, b"".join(packed([np.arange(9)]))[:-1])
    os.close(answers)
    with pytest.raises(EOFError):
        exchange(to, answers_from, packed("go"), time.monotonic() + 60)
    for end in (to, answers_from, requests):
        os.close(end)
