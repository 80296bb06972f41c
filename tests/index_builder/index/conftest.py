"""What the tests of this room share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.index_builder.index.fake_gpus import FakeGpus

if TYPE_CHECKING:
    from tests.index_builder.index.milvus_process import MilvusProcess
    from tests.index_builder.index.milvus_versions import Made


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


@pytest.fixture(scope="module")
def made(milvus: MilvusProcess) -> Made:
    """3 000 photos on that server, forty of which are alike."""
    from tests.index_builder.index.milvus_versions import TOKEN, Made

    made = Made(milvus.url, "gallery", count=3000, token=TOKEN)
    made.descriptors[100:140] = made.descriptors[100]
    return made


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of an embedded Milvus."""
    return str(tmp_path_factory.mktemp("milvus") / "lite.db")


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusProcess]:
    """The real Milvus server, one for all tests."""
    from tests.index_builder.index.milvus_process import MilvusProcess

    process = MilvusProcess(tmp_path_factory.mktemp("milvus"))
    process.begin()
    try:
        process.wait()
        yield process
    finally:
        process.stop()
