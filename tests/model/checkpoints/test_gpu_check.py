"""A GPU is believed in once a kernel ran on it; every other case is simulated."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from model.checkpoints import files, gpu_check
from model.checkpoints.files import resolve_device
from model.checkpoints.gpu_check import NO_GPU, why_unusable
from model.errors import DeviceError

NO_KERNEL = torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device\nCompile with")
CASES = [
    (NO_KERNEL, "this torch has no kernels for Tesla K80 (compute capability 3.7): install a torch that has"),
    (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        "cuda has no memory free: stop what else uses it and start again",
    ),
    (
        RuntimeError("CUDA driver error: unknown\nmore"),
        "cuda does not compute (CUDA driver error: unknown): update its",
    ),
]


@pytest.fixture
def card(monkeypatch):
    """A machine with one GPU; what its kernels raise, and how often one ran."""
    state: dict[str, Any] = {"error": None, "runs": 0, "free": 10**10}

    def kernel(_device):
        state["runs"] += 1
        if state["error"] is not None:
            raise state["error"]

    monkeypatch.setattr(gpu_check, "_run_kernel", kernel)
    for name, answer in {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "mem_get_info": lambda _: (state["free"], 10**11),
        "get_device_name": lambda _: "Tesla K80",
        "get_device_capability": lambda _: (3, 7),
    }.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    for kept in (why_unusable, files._warn_once):
        kept.cache_clear()
    yield state
    for kept in (why_unusable, files._warn_once):
        kept.cache_clear()


def test_a_gpu_that_computes_is_taken_and_tried_once(card, caplog):
    for _ in range(3):
        assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda")
    assert card["runs"] == 1
    assert not caplog.records
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(DeviceError, match="'cuda:1' is not available here"):
        resolve_device("cuda:1")


@pytest.mark.parametrize(("error", "says"), CASES)
def test_one_that_does_not_is_left_with_a_sentence_and_refused_by_name(card, caplog, error, says):
    card["error"] = error
    for _ in range(2):
        assert resolve_device("auto") == torch.device("cpu")
    assert [record.getMessage() for record in caplog.records] == [
        f"The network runs on the CPU: {why_unusable('cuda')}"
    ], "one warning"
    assert says in caplog.text
    with pytest.raises(DeviceError, match="'cuda' cannot be used: ") as raised:
        resolve_device("cuda")
    assert says in str(raised.value)
    assert card["runs"] == 1


def test_one_without_free_memory_is_left(card, caplog):
    card["free"] = 200_000_000
    assert resolve_device("auto") == torch.device("cpu")
    card["free"] = 10**10
    assert resolve_device("auto") == torch.device("cpu"), "the answer is kept"
    assert "cuda has only 200 MB of memory free: stop what else uses it and start again, or" in caplog.text


@pytest.mark.usefixtures("card")
def test_a_broken_driver_is_told_and_no_gpu_is_no_trouble(caplog, monkeypatch):
    def without_driver():
        warnings.warn(
            "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040).", stacklevel=1
        )
        return False

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    assert why_unusable("cuda") == NO_GPU
    assert not caplog.records
    why_unusable.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", without_driver)
    assert resolve_device("auto") == torch.device("cpu")
    assert "driver does not work with this torch (CUDA initialization: The NVIDIA driver" in caplog.text
    assert "update it" in caplog.text
    with pytest.raises(DeviceError, match="'cuda' cannot be used: the GPU's driver does not work with this torch"):
        resolve_device("cuda")


def test_processes_of_torchrun_agree(card, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    card["error"] = NO_KERNEL
    assert resolve_device("auto") == torch.device("cuda")
    assert card["runs"] == 0


def test_the_kernel_itself_is_right():
    gpu_check._run_kernel("cpu")
