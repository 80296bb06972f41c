"""A device is named, or refused by name."""

import pytest
import torch

from model.checkpoints.files import load_checkpoint, resolve_device, resolve_dtype
from model.errors import DeviceError


def missing() -> str:
    """The first CUDA device that this machine does not have."""
    return f"cuda:{torch.cuda.device_count() if torch.cuda.is_available() else 0}"


def test_a_device_that_is_not_there_is_refused_by_its_name():
    with pytest.raises(DeviceError, match=f"{missing()!r} is not available here"):
        load_checkpoint("zse-lite", missing())


@pytest.mark.gpu
def test_a_network_is_put_on_the_device_by_itself(card):
    network = load_checkpoint("zse-lite", "auto")
    assert network.device.type == "cuda"
    assert network.dtype == resolve_dtype("auto", card)
    assert {value.device.type for value in network.buffers()} == {"cuda"}


@pytest.mark.gpu
def test_every_device_has_a_name_of_its_own():
    for number in range(torch.cuda.device_count()):
        assert resolve_device(f"cuda:{number}") == torch.device("cuda", number)
