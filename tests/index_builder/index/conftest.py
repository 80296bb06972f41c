"""What the tests of this room share."""

from __future__ import annotations

import pytest

from tests.index_builder.index.fake_gpus import FakeGpus


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpus:
    """A machine with one GPU."""
    gpus = FakeGpus()
    gpus.install(monkeypatch)
    return gpus


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> FakeGpus:
    """A machine with two GPUs."""
    gpus = FakeGpus(2)
    gpus.install(monkeypatch)
    return gpus
