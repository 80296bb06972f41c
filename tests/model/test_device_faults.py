"""What errors of a device mean, and what is done about them."""

import logging

import pytest
import torch

from model import device_faults
from model.device_faults import free_cached_memory, is_device_lost, is_memory_short

POISONED = 'captures_underway.empty() INTERNAL ASSERT FAILED at "CUDACachingAllocator.cpp":1, please report a bug'
SAY_IT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory", 2),
    MemoryError(),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] data. DefaultCPUAllocator: can't allocate memory"),
]
MAY_MEAN_IT = [
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("FIND was unable to find an engine to execute this computation"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
]


@pytest.fixture
def cards(monkeypatch):
    """Free bytes of two GPUs of 80 GB; this process uses the second one."""
    free = [70_000_000_000, 70_000_000_000]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda card: 10 * card)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda card: (free[card], 80_000_000_000))
    return free


@pytest.mark.parametrize("error", SAY_IT, ids=str)
def test_every_library_s_words_for_too_little_memory_are_known(error):
    assert is_memory_short(error)
    assert not is_device_lost(error)


@pytest.mark.parametrize("error", MAY_MEAN_IT, ids=str)
def test_words_with_several_causes_mean_a_shortage_where_little_memory_is_free(error, cards, monkeypatch):
    assert not is_memory_short(error)
    cards[0] = 0  # of others
    assert not is_memory_short(error)
    cards[1] = 500_000_000
    assert is_memory_short(error)

    def lost(_card):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered", 700)

    monkeypatch.setattr(torch.cuda, "mem_get_info", lost)
    assert not is_memory_short(error)


def test_other_errors_are_no_shortage_however_little_is_free(cards):
    cards[:] = 0, 0
    for error in (RuntimeError("shapes differ"), ValueError("out of memory"), RuntimeError(POISONED)):
        assert not is_memory_short(error)


def test_memory_that_cannot_be_given_back_is_said_once_and_raises_nothing(monkeypatch, caplog):
    calls = []

    def fail():
        calls.append(1)
        raise RuntimeError(POISONED)

    monkeypatch.setattr(torch.cuda, "empty_cache", fail)
    monkeypatch.setattr(device_faults, "_said", False)
    with caplog.at_level(logging.WARNING):
        assert not free_cached_memory()
        assert not free_cached_memory()
    assert len(calls) == 2
    (record,) = caplog.records
    assert "cannot give back" in record.message
    assert "captures_underway" in record.message
