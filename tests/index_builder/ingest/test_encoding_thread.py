"""Builds on a GPU encode on one thread after another's, so that nothing is chosen again for each of them."""

import threading
import time

import pytest
import torch

from index_builder.ingest.encoding_thread import encoding_thread

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def test_builds_on_a_gpu_share_a_thread_one_after_another():
    idents = []
    for _ in range(2):
        with encoding_thread(CUDA) as thread:
            idents.append(thread.submit(threading.get_ident).result())
    assert idents[0] == idents[1]


@pytest.mark.parametrize("device", [CUDA, CPU])
def test_builds_beside_each_other_have_a_thread_each(device):
    with encoding_thread(device) as one, encoding_thread(device) as other:
        first, second = (thread.submit(threading.get_ident).result() for thread in (one, other))
    assert first != second


@pytest.mark.parametrize("device", [CUDA, CPU])
def test_a_build_that_fails_leaves_nothing_at_work(device):
    done = []

    def work():
        time.sleep(0.05)
        done.append(True)

    def fail():
        with encoding_thread(device) as thread:
            thread.submit(work)
            raise ValueError("it failed")

    with pytest.raises(ValueError, match="it failed"):
        fail()
    assert done == [True]
    with encoding_thread(device) as thread:
        assert thread.submit(len, "ab").result() == 2
