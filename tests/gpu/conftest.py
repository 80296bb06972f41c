"""Where a test runs: on the CPU, and on a CUDA device if there is one."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
import torch

from model.checkpoints.files import resolve_device

ON_BOTH = [pytest.param("cpu", id="cpu"), pytest.param("cuda", id="cuda", marks=pytest.mark.gpu)]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a device."""
    if item.get_closest_marker("gpu") is not None and resolve_device("auto").type != "cuda":
        pytest.skip("no CUDA device can be used here")


@pytest.fixture(params=ON_BOTH)
def place(request: pytest.FixtureRequest) -> torch.device:
    """The device under test."""
    return torch.device(request.param)


@pytest.fixture
def card() -> Iterator[torch.device]:
    """The CUDA device, for a test with `@pytest.mark.gpu`. What the test leaves on it is freed."""
    yield torch.device("cuda")
    gc.collect()
    torch.cuda.empty_cache()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of whoever runs the tests do not count."""
    for name in os.environ:
        if name.startswith("SKETCHSEEK_"):
            monkeypatch.delenv(name)
