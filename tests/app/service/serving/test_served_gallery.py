"""Versions that cannot be loaded: how soon one is tried again, and when never."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from app.metrics import Metrics
from app.service.serving.search_batches import Worker
from app.service.serving.served_gallery import ServedGallery
from app.service_errors import BusyError
from model.errors import DeviceMemoryError
from tests.app.conftest import settings_for

LOST = torch.AcceleratorError("CUDA error: unspecified launch failure", 719)
TAKES_S = 0.05


@pytest.fixture(autouse=True)
def _unlogged() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.fixture
def failing(shared_gallery: Any, network: Any) -> Callable[..., tuple[ServedGallery, Worker, list[int]]]:
    """A gallery whose loading fails with an error, its worker, and a list that grows with each attempt."""

    def made(error: Exception) -> tuple[ServedGallery, Worker, list[int]]:
        metrics = Metrics()
        worker = Worker(lambda _: None, queue_limit=1, batch_limit=1, retry_after_s=3, metrics=metrics)
        gallery = ServedGallery(settings_for(shared_gallery), network, worker, metrics)
        tried: list[int] = []

        def load() -> Any:
            tried.append(1)
            time.sleep(TAKES_S)
            raise error

        gallery._load = load  # type: ignore[method-assign]
        return gallery, worker, tried

    return made


def test_the_pause_heeds_a_load_that_failed(failing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, _, _ = failing(DeviceMemoryError("short"))
    object.__setattr__(gallery._settings, "follow_interval_s", 0.001)
    pauses: list[float] = []
    sleeps, here = asyncio.sleep, threading.get_ident()

    async def sleep(seconds: float) -> None:
        if threading.get_ident() != here:  # services of other tests run in threads of their own
            return await sleeps(seconds)
        pauses.append(seconds)
        raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(gallery.follow())
    assert pauses[0] >= 3 * TAKES_S


@pytest.mark.parametrize("error", [DeviceMemoryError("short"), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_shortage_passes_so_the_version_is_tried_again(failing: Any, error: Exception) -> None:
    gallery, worker, tried = failing(error)
    for _ in range(2):
        with pytest.raises((BusyError, DeviceMemoryError)):
            asyncio.run(gallery.refresh())
    assert len(tried) == 2
    assert not worker.device_lost


def test_a_lost_device_does_not_pass_so_nothing_is_read_again(failing: Any) -> None:
    gallery, worker, tried = failing(LOST)
    with pytest.raises(BusyError) as caught:
        asyncio.run(gallery.refresh())
    assert caught.value.code == "device_lost"
    assert worker.device_lost
    assert not asyncio.run(gallery.refresh())
    assert len(tried) == 1
