"""What errors of a device mean, and what is done about them."""

import logging

import torch

from model import device_faults
from model.device_faults import free_cached_memory

POISONED = 'captures_underway.empty() INTERNAL ASSERT FAILED at "CUDACachingAllocator.cpp":1, please report a bug'


def test_memory_that_cannot_be_given_back_is_said_once_and_raises_nothing(monkeypatch, caplog):
    calls = []

    def fail():
        calls.append(1)
        raise RuntimeError(POISONED)

    monkeypatch.setattr(torch.cuda, "empty_cache", fail)
    monkeypatch.setattr(device_faults, "_said", False)
    with caplog.at_level(logging.WARNING):
        free_cached_memory()
        free_cached_memory()
    assert len(calls) == 2
    (record,) = caplog.records
    assert "only a restart" in record.message
    assert "captures_underway" in record.message
