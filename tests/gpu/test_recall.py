"""Recall on a GPU finds what recall on the CPU finds, also while versions change and while memory is short.

Each test also runs with GPUs that are simulated, which shows that it would pass where there are some.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from index_builder.index import gpu_index
from index_builder.index.candidate_index import Selection
from index_builder.index.faiss_search import FaissIndex
from index_builder.index.flat_and_ivf import RecallIndex, build_index
from index_builder.index.gpu_choice import why_no_gpu
from index_builder.index.gpu_faults import SENTENCES
from index_builder.index.gpu_resources import GPUS
from index_builder.index.hash_codes import Hasher, HashIndex, encode_all, fit_hasher
from index_builder.index.settings import RecallSettings
from tests.gpu import shortage
from tests.index_builder.index.fake_gpus import FakeGpus
from tests.paths import ROOT

KINDS = ["flat", "ivf", "hash"]
CLOSE = 1e-3  # a GPU rounds queries to half precision as well
NEEDS_GPU = pytest.mark.skipif(why_no_gpu() is not None, reason=f"needs a GPU: {why_no_gpu()}")
BOTH = [pytest.param(False, id="simulated"), pytest.param(True, id="gpu", marks=[pytest.mark.gpu, NEEDS_GPU])]
DEPTHS = (1, 10, 100, 1000, 2000, 4096)


@pytest.fixture(params=BOTH)
def gpus(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpus | None]:
    """Simulated ones, or None for those of this machine."""
    simulated = None if request.param else FakeGpus()
    if simulated is not None:
        simulated.install(monkeypatch)
    yield simulated
    if simulated is None:
        gc.collect()


def photos_for(gpus: FakeGpus | None, seed: int = 0) -> Any:
    """Descriptors, every tenth of which is there twice: 0 and 5, 10 and 15."""
    return made(*((3000, 32) if gpus is not None else (8000, 256)), seed)


def made(count: int, size: int, seed: int) -> Any:
    values = np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)
    values[5::10] = values[::10]
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@functools.cache
def hasher_for(size: int) -> Hasher:
    """Fitted to few photos, and once: it takes longer than all else here."""
    return fit_hasher(made(1000, size, 0), size)


def index_of(kind: str, photos: Any, *, device: Any = "auto", shortlist: int = 1000) -> FaissIndex:
    settings = RecallSettings(kind=kind, device=device, probes=1.0, shortlist=shortlist)  # type: ignore[arg-type]
    if kind != "hash":
        return RecallIndex(build_index(photos, kind), settings)  # type: ignore[arg-type]
    hasher = hasher_for(photos.shape[1])
    return HashIndex(hasher, encode_all(hasher, photos), photos.astype(np.float16), settings)


def assert_same(found: Any, expected: Any, exact: Any, ties: Any) -> None:
    """The same scores within rounding, of photos that have them; exact ties in their order.

    Args:
        found, expected: rows and scores of Q queries, as indices give them.
        exact: [Q, n] scores of all photos.
        ties: [n], their order.
    """
    for number, there in enumerate(found[0] >= 0):
        np.testing.assert_array_equal(there, expected[0][number] >= 0)
        rows, scores, every = found[0][number][there], found[1][number][there], exact[number]
        assert len(set(rows.tolist())) == len(rows)
        np.testing.assert_allclose(scores, expected[1][number][there], atol=CLOSE)
        np.testing.assert_allclose(every[rows], scores, atol=CLOSE)
        tied = scores[1:] == scores[:-1]
        assert (ties[rows][1:][tied] > ties[rows][:-1][tied]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_finds_what_the_cpu_finds(gpus, kind):
    photos = photos_for(gpus)
    index, cpu = (index_of(kind, photos, device=device) for device in ("auto", "cpu"))
    rng = np.random.default_rng(1)
    queries = photos[rng.choice(len(photos), 40)] + rng.normal(scale=0.02, size=(40, photos.shape[1])).astype(
        np.float32
    )
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    exact, ties = queries @ photos.T, rng.permutation(len(photos))
    some = rng.random(len(photos)) < 0.3
    for k in DEPTHS:
        for allowed in (None, some, np.arange(len(photos)) >= len(photos) - 3):  # without those that were deleted
            few = queries if k == 10 else queries[:3]
            found, expected = (
                one.search(few, k, None if allowed is None else Selection(allowed), ties) for one in (index, cpu)
            )
            assert_same(found, expected, exact, ties)
            if allowed is not None:
                assert allowed[found[0][found[0] >= 0]].all()
    assert (index.device, index.gpu_problem, cpu.device) == ("1 gpu", None, "cpu")


def test_all_gpus_are_used_where_that_is_asked_for(gpus):
    index = index_of("flat", photos_for(gpus), device="gpu")
    assert index.device == f"{torch.cuda.device_count() if gpus is None else gpus.count} gpu"


def test_codes_differ_in_as_many_bits_on_a_gpu(gpus):
    photos = photos_for(gpus)
    index, cpu = (index_of("hash", photos, device=device, shortlist=0) for device in ("auto", "cpu"))
    for k in (1, 100, 900):
        np.testing.assert_array_equal(index.search(photos[:5], k)[1], cpu.search(photos[:5], k)[1])
    assert index.device == "1 gpu"


def test_threads_search_while_versions_are_swapped(gpus):
    versions = [photos_for(gpus, seed) for seed in range(3)]
    queries = versions[0][:4]
    expected = {
        (kind, seed): index_of(kind, photos, device="cpu").search(queries, 20)[1]
        for kind in KINDS
        for seed, photos in enumerate(versions)
    }
    served = {kind: (0, index_of(kind, versions[0])) for kind in KINDS}
    before, wrong, done = dict(GPUS.fallbacks), [], threading.Event()

    def search() -> None:
        while not done.is_set():
            for kind in KINDS:
                seed, index = served[kind]
                if not np.allclose(index.search(queries, 20)[1], expected[kind, seed], atol=CLOSE):
                    wrong.append((kind, seed))
                del index

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for swap in range(1, 7):
            for kind in KINDS:
                served[kind] = (swap % 3, index_of(kind, versions[swap % 3]))
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
    assert not wrong
    assert GPUS.fallbacks == before, "every load and every search was the GPU's"
    if gpus is not None:
        assert gpus.living == len(KINDS)


@contextlib.contextmanager
def leaving(gpus: FakeGpus | None, free: int) -> Iterator[None]:
    """Only `free` bytes of the GPU are free; a tensor beside it holds the others."""
    if gpus is not None:
        before, gpus.free = gpus.free, [free]
        yield
        gpus.free = before
        return
    with shortage.leaving(torch.device("cuda:0"), free):
        yield


def short_at_first_use(gpus: FakeGpus | None = None) -> None:
    """No memory for FAISS to begin with; once there is some, the next version is on the GPU."""
    photos = photos_for(gpus)
    for free in (600_000_000, 100_000_000, 10_000_000):
        with leaving(gpus, free):
            index = index_of("flat", photos)
            assert (index.device, index.gpu_problem) == ("cpu", SENTENCES["memory"])
            assert index.search(photos[1:4], 1)[0][:, 0].tolist() == [1, 2, 3]
    assert index_of("flat", photos).gpu_problem is None


def short_at_load(gpus: FakeGpus | None = None) -> None:
    """No memory for a second version, of any kind; the first one goes on."""
    photos = photos_for(gpus)
    first = index_of("flat", photos)
    for kind in KINDS:
        for free in (128_000_000, 20_000_000):
            with leaving(gpus, free):
                index = index_of(kind, photos)
                assert (index.device, index.gpu_problem) == ("cpu", SENTENCES["memory"])
                assert index.search(photos[1:4], 1)[0][:, 0].tolist() == [1, 2, 3]
        assert index_of(kind, photos).gpu_problem is None
    first.search(photos[:3], 1)
    assert first.gpu_problem is None


def short_at_search(gpus: FakeGpus | None = None) -> None:
    """Searches with less and less memory free: the GPU's while it is enough, and then the CPU's."""
    gpu_index._REST_S = 0.0
    photos = photos_for(gpus)
    indices = {kind: index_of(kind, photos) for kind in KINDS}
    asked = ((photos[1:4], 10), (photos[1:33], 900))
    cpu = {kind: [index_of(kind, photos, device="cpu").search(*one) for one in asked] for kind in KINDS}
    ties = np.arange(len(photos))
    for free in (1_000_000_000, 300_000_000, 150_000_000, 100_000_000, 20_000_000, 1_000_000_000):
        with leaving(gpus, free):
            for kind, index in indices.items():
                for (queries, k), expected in zip(asked, cpu[kind], strict=True):
                    found = index.search(queries, k)
                    assert_same(found, expected, queries @ photos.T, ties)
                    assert (found[0][:3, 0] == expected[0][:3, 0]).all()
                assert index.gpu_problem == (None if free > 130_000_000 else SENTENCES["memory"])


@pytest.mark.parametrize("case", [short_at_first_use, short_at_load, short_at_search])
def test_short_memory_means_the_cpu_and_never_the_end(gpus, case, monkeypatch, caplog):
    """In a process of its own on a GPU, where FAISS would end it."""
    if gpus is not None:
        monkeypatch.setattr(gpu_index, "_REST_S", 0.0)
        case(gpus)
        assert len([one for one in caplog.records if one.levelno == logging.WARNING]) == 1
        return
    work = f"from tests.gpu import test_recall; test_recall.{case.__name__}()"
    done = subprocess.run(
        [sys.executable, "-c", work], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(SENTENCES["memory"]) == 1
