"""Recall on GPUs that are simulated: what FAISS is told, who answers when a GPU cannot, and what is freed when."""

from __future__ import annotations

import gc
import threading
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from index_builder.index import gpu_choice, gpu_faults, gpu_index, gpu_resources, on_gpus
from index_builder.index.candidate_index import Selection
from index_builder.index.flat_and_ivf import RecallIndex, build_index
from index_builder.index.gpu_faults import SENTENCES, FaissUnfitError
from index_builder.index.gpu_resources import GPUS
from index_builder.index.hash_codes import HashIndex, encode_all, fit_hasher
from index_builder.index.settings import RecallSettings
from model.errors import ConfigurationError, DeviceError
from tests.index_builder.index.caches import unit

PHOTOS, QUERIES = unit(400), unit(3, seed=1)
KINDS = ["flat", "ivf", "hash"]
SHORT = RuntimeError(
    "StandardGpuResources: alloc fail type TemporaryMemoryOverflow (cudaMalloc error out of memory [2])"
)
DEFECT = RuntimeError("Error in GpuIndex.cu: 'k <= 2048' failed")
LOST = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


def index_of(kind, photos=PHOTOS, **changes):
    settings = RecallSettings(kind=kind, probes=0.5, shortlist=40, **changes)
    if kind != "hash":
        return RecallIndex(build_index(photos, kind), settings)
    hasher = fit_hasher(photos, 16)
    return HashIndex(hasher, encode_all(hasher, photos), photos.astype(np.float16), settings)


def same(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], atol=2e-3)


@pytest.fixture
def expected():
    return {kind: index_of(kind, device="cpu").search(QUERIES, 5) for kind in KINDS}


def test_all_versions_and_kinds_share_one_resource_of_a_bounded_size(gpu, expected):
    indices = [(kind, index_of(kind)) for kind in KINDS * 2]
    assert [(one.scratch, one.pinned) for one in gpu.resources] == [(64_000_000, 0)]
    assert gpu.told[:3] == [("flat", 0, True, False), ("ivf", [0], False, False, 5), ("hash", 0)]
    for kind, index in indices:
        assert (index.device, index.gpu_problem) == ("1 gpu", None)
        same(index.search(QUERIES, 5), expected[kind])
    assert gpu.searched == [3] * 6
    index_of("flat", scratch_bytes=8_000_000)
    assert [one.scratch for one in gpu.resources] == [8_000_000]


def test_a_filter_or_a_deep_search_is_the_cpus(gpu):
    photos = unit(3000)
    for kind in KINDS:
        index, cpu = index_of(kind, photos), index_of(kind, photos, device="cpu")
        allowed = np.arange(3000) % 2 == 0
        for k, mask in ((5, Selection(allowed)), (2500, None)):
            np.testing.assert_array_equal(index.search(QUERIES, k, mask)[0], cpu.search(QUERIES, k, mask)[0])
        assert index.device == "1 gpu"
    assert not gpu.searched
    assert set(GPUS.fallbacks.values()) == {0}


def test_a_flat_search_takes_no_more_queries_than_the_scratch_holds(gpu):
    index = index_of("flat", scratch_bytes=40_000)
    many = unit(11, seed=2)
    same(index.search(many, 5), index_of("flat", device="cpu").search(many, 5))
    assert gpu.searched == [4, 4, 3]  # 8 * 400 + 64 * (5 + 16) bytes for each, of 20 000


def test_indices_of_one_card_are_searched_made_and_freed_one_at_a_time(gpu, expected):
    gpu.pause_s = 0.01
    indices = {kind: index_of(kind) for kind in KINDS}
    begin, found = threading.Barrier(2 * len(KINDS)), []

    def search(kind):
        begin.wait(10)
        found.append((kind, indices[kind].search(QUERIES, 5)))

    def make(kind):
        begin.wait(10)
        index_of(kind)

    threads = [threading.Thread(target=work, args=(kind,)) for kind in KINDS for work in (search, make)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert gpu.most == 1
    assert len(found) == len(KINDS)
    for kind, answer in found:
        same(answer, expected[kind])
    gpu_resources.free_unused()
    assert gpu.living == len(KINDS)


def parts(index):
    return [[part.ntotal for part in copy.parts] for copy in index._gpu._copies]


@pytest.mark.parametrize(("spread", "shard"), [("auto", False), ("replicate", False), ("shard", True)])
def test_several_cards_share_the_work(two_gpus, expected, spread, shard):
    flat, ivf, codes = (index_of(kind, device="gpu", spread=spread) for kind in KINDS)
    assert two_gpus.told == [
        ("flat", 0, True, False), ("flat", 1, True, False),
        *([("ivf", [0, 1], True, False, 5)] if shard else [("ivf", [card], False, False, 5) for card in (0, 1)]),
        ("hash", 0)
    ]  # fmt: skip
    assert parts(flat) == ([[200, 200, 400]] if shard else [[400], [400]])
    assert [one.device for one in (flat, ivf, codes)] == ["2 gpu", "2 gpu", "1 gpu"]
    for _ in range(2):
        for kind, index in zip(KINDS, (flat, ivf, codes), strict=True):
            same(index.search(QUERIES, 5), expected[kind])
    assert len(two_gpus.resources) == 2


def test_searches_at_once_use_several_cards(two_gpus):
    index = index_of("flat", device="gpu")
    two_gpus.pause_s = 0.3
    threads = [threading.Thread(target=index.search, args=(QUERIES, 5)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert two_gpus.most == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("busy", [0, 1])
def test_a_busy_card_leaves_recall_to_the_others(two_gpus, expected, caplog, kind, busy):
    two_gpus.free = [500_000_000 if card == busy else 70_000_000_000 for card in (0, 1)]
    index = index_of(kind, device="gpu")
    assert (index.device, index.gpu_problem) == ("1 gpu", None)
    for _ in range(2):
        same(index.search(QUERIES, 5), expected[kind])
    assert len(two_gpus.searched) == 2
    assert set(GPUS.fallbacks.values()) == {0}
    touched = 2 if kind != "hash" or busy == 0 else 1
    assert (two_gpus.tried, caplog.text.count(f"GPU {busy} has 500 MB free")) == ([1 - busy], touched - 1)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
@pytest.mark.parametrize("trouble", ["short", "defect", "lost"])
def test_a_card_in_trouble_at_search_leaves_it_to_the_others(two_gpus, expected, caplog, kind, trouble):
    index, beside = index_of(kind, device="gpu"), index_of("flat", device="gpu")
    if trouble == "short":
        two_gpus.free = [two_gpus.free[0], 100_000_000]
    elif trouble == "defect":
        two_gpus.failing, two_gpus.troubled = DEFECT, {1}
    else:
        two_gpus.lost, two_gpus.troubled = LOST, {1}
    for _ in range(4):
        same(index.search(QUERIES, 5), expected[kind])
        same(beside.search(QUERIES, 5), expected["flat"])
    assert (index.gpu_problem, set(GPUS.fallbacks.values())) == (None, {0})
    assert caplog.text.count("Recall leaves out one of its GPUs.") == 1
    assert index.device == ("2 gpu" if trouble == "short" else "1 gpu")
    assert [one.disowned for one in two_gpus.resources] == [0, int(trouble == "lost")]


@pytest.mark.parametrize("told", ["by the card", "by FAISS"])
def test_a_lost_card_with_a_part_does_not_lose_the_others(two_gpus, expected, told):
    index, codes = index_of("flat", device="gpu", spread="shard"), index_of("hash", device="gpu")
    if told == "by the card":
        two_gpus.lost, two_gpus.troubled = LOST, {1}
    else:
        whole = Mock()
        whole.search.side_effect = LOST
        index._gpu._copies[0].parts[-1] = whole
    for _ in range(2):
        same(index.search(QUERIES, 5), expected["flat"])
    assert index.gpu_problem == SENTENCES["lost"]
    if told == "by the card":
        assert [card.lost for card in GPUS.ready] == [False, True]
        same(codes.search(QUERIES, 5), expected["hash"])
        assert codes.device == "1 gpu"
    else:
        assert all(card.lost for card in GPUS.ready), "which one it was cannot be told"


@pytest.mark.parametrize(
    ("device", "network", "cards"),
    [("auto", "cpu", []), ("auto", "cuda", [0]), ("auto", "cuda:1", [1]), ("gpu", "cpu", [0, 1]), ("cpu", "cuda", [])],
)
def test_recall_follows_the_network(two_gpus, device, network, cards):
    index = index_of("flat", device=device, network_device=network)
    assert (two_gpus.tried, [card.number for card in GPUS.ready]) == (cards, cards)
    assert index.device == (f"{len(cards)} gpu" if cards else "cpu")


def test_what_does_not_fit_on_each_card_is_cut_in_parts(two_gpus, monkeypatch):
    monkeypatch.setattr(gpu_resources, "FIRST_USE_BYTES", 0)
    photos = unit(60_000)
    block, whole = 6 * 32 * on_gpus._BLOCK, 60_000 * (2 * 32 + 4)
    part = gpu_resources.SEARCH_BYTES + block + whole
    two_gpus.free = [part + 1_000_000, part]
    assert parts(index_of("flat", photos, device="gpu", scratch_bytes=1)) == [[30_000, 30_000, 60_000]]
    two_gpus.free = [10_000_000_000, part]
    assert parts(index_of("flat", photos, device="gpu", scratch_bytes=1)) == [[60_000]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("error", "reason"), [(SHORT, "memory"), (MemoryError(), "memory"), (DEFECT, "error"), (LOST, "lost")]
)
def test_an_error_at_load_means_the_cpu(gpu, caplog, kind, error, reason):
    expected = {kind: index_of(kind, device="cpu").search(QUERIES, 5)}
    gpu.failing = error
    index = index_of(kind)
    assert (index.device, index.gpu_problem) == ("cpu", SENTENCES[reason])
    gpu.failing = None
    for _ in range(3):
        np.testing.assert_array_equal(index.search(QUERIES, 5)[0], expected[kind][0])
    assert not gpu.searched
    assert len(caplog.records) == 1, "one warning, however many searches"
    assert SENTENCES[reason] in caplog.text
    assert GPUS.fallbacks == {"memory": 0, "error": 0, "lost": 0, reason: 4}
    again = index_of(kind)
    assert again.device == ("cpu" if reason == "lost" else "1 gpu"), (
        "the next version tries again, on a card that lives"
    )


def test_nothing_is_tried_that_does_not_fit(gpu, expected):
    for short in (500_000_000, 1_000_000_000):  # for the first use at all
        gpu.free = [short]
        assert index_of("flat").device == "cpu"
        assert not gpu.resources
    gpu.free = [10_000_000_000]
    first = index_of("flat")
    gpu.free = [128_000_000]
    for kind in KINDS:  # for another index beside the first
        assert index_of(kind).device == "cpu"
    assert len(gpu.told) == 1
    gpu.free = [127_000_000]
    same(first.search(QUERIES, 5), expected["flat"])  # for a search
    assert (first.device, gpu.searched) == ("cpu", [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_without_memory_is_answered_by_the_cpu_and_the_gpu_asked_again_later(
    gpu, expected, caplog, monkeypatch, kind
):
    now = [1000.0]
    monkeypatch.setattr(gpu_index, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}))
    index = index_of(kind)
    gpu.failing = SHORT
    for _ in range(3):
        np.testing.assert_array_equal(index.search(QUERIES, 5)[0], expected[kind][0])
    assert len(gpu.searched) == 1, "it rests after a shortage"
    assert (index.device, index.gpu_problem) == ("cpu", SENTENCES["memory"])
    now[0] += 6
    index.search(QUERIES, 5)
    assert len(gpu.searched) == 2
    assert len(caplog.records) == 1
    assert GPUS.fallbacks["memory"] == 4
    now[0] += 6
    gpu.failing = None
    same(index.search(QUERIES, 5), expected[kind])
    assert (index.device, index.gpu_problem) == ("1 gpu", None)


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_that_did_not_fit_is_put_on_the_gpu_later_beside_the_searches(gpu, expected, monkeypatch, kind):
    now = [1000.0]
    monkeypatch.setattr(gpu_index, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}))

    def search(index):
        found = index.search(QUERIES, 5)
        for thread in threading.enumerate():
            if thread.name == "recall-on-gpu":
                thread.join(10)
        return found

    gpu.free = [500_000_000]
    index = index_of(kind)
    search(index)
    now[0] += 61
    search(index)
    assert (index.device, GPUS.fallbacks["memory"]) == ("cpu", 4), "loaded twice, searched twice"
    gpu.free = [10_000_000_000]
    search(index)
    assert not gpu.told, "the last attempt was just now"
    now[0] += 61
    np.testing.assert_array_equal(search(index)[0], expected[kind][0])
    assert (index.device, gpu.searched) == ("1 gpu", [])
    same(search(index), expected[kind])
    assert gpu.searched == [3]
    del index
    assert gpu.living == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [DEFECT, LOST])
def test_after_another_error_the_gpu_is_not_asked_again(gpu, expected, caplog, kind, error):
    index, beside = index_of(kind), index_of("flat")
    gpu.failing = error
    for _ in range(3):
        np.testing.assert_array_equal(index.search(QUERIES, 5)[0], expected[kind][0])
    assert len(gpu.searched) == 1
    assert len(caplog.records) == 1
    gpu.failing = None
    same(beside.search(QUERIES, 5), expected["flat"])
    lost = error is LOST
    assert beside.device == ("cpu" if lost else "1 gpu"), "a lost card is lost for all its indices"
    assert gpu.resources[0].disowned == lost, "freeing anything there would end the process"


def test_a_card_that_torch_lost_is_never_handed_to_faiss(gpu, expected):
    index = index_of("flat")
    gpu.lost = LOST
    np.testing.assert_array_equal(index.search(QUERIES, 5)[0], expected["flat"][0])
    assert (gpu.searched, index.gpu_problem) == ([], SENTENCES["lost"])
    gpu.lost = None
    assert index_of("ivf").device == "cpu"


def test_nothing_is_freed_on_a_card_that_was_lost_meanwhile(gpu):
    index, freed = index_of("flat"), index_of("hash")
    del freed
    assert not gpu.resources[0].disowned
    gpu.lost = LOST
    del index  # a version that was swapped out after torch lost the card
    assert GPUS.ready[0].lost
    assert gpu.resources[0].disowned == 1


def test_torch_gives_back_what_it_keeps_before_memory_counts_as_short(gpu, monkeypatch):
    gpu.free = [1_000]
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: setattr(gpu, "free", [10_000_000_000]))
    assert index_of("flat").device == "1 gpu"


def test_memory_is_freed_as_soon_as_a_version_is_gone(gpu):
    gc.disable()  # nothing waits for the collector
    try:
        old = [index_of(kind) for kind in KINDS]
        new = [index_of(kind) for kind in KINDS]
        for index in (*old, *new):
            index.search(QUERIES, 5)
        assert gpu.living == 6
        del index, old
        assert gpu.living == 3
        gpu.failing = DEFECT
        new[0].search(QUERIES, 5)
        assert gpu.living == 2, "an index that is given up"
    finally:
        gc.enable()


def test_an_index_given_up_during_a_search_is_freed_after_it(gpu):
    index, other = index_of("flat"), index_of("hash")
    card = GPUS.card(0, 64_000_000)
    entered, leave = threading.Event(), threading.Event()

    def use():
        with gpu_resources.held([card]):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=use)
    thread.start()
    entered.wait(10)
    del index  # does not wait for the search
    assert gpu.living == 2
    leave.set()
    thread.join()
    assert gpu.living == 1
    assert other.device == "1 gpu"


def test_the_cpu_is_the_cpu(gpu):
    for kind in KINDS:
        index = index_of(kind, device="cpu")
        assert (index.device, index.gpu_problem) == ("cpu", None)
    assert not index_of("flat", unit(400)[:0]).search(QUERIES, 5)[0].max() >= 0
    assert not gpu.resources


def test_scratch_memory_is_at_least_something():
    with pytest.raises(ConfigurationError, match="scratch_bytes of at least 1"):
        index_of("flat", scratch_bytes=0)


def test_a_problem_is_told_although_it_passes_meanwhile(gpu):
    gpu.failing = SHORT
    index = index_of("flat")._gpu
    reasons: list[str] = []

    class Passing(gpu_index.GpuIndex):
        """Another thread finds memory again as soon as the reason was read."""

        @property
        def reason(self):  # type: ignore[override]
            return reasons.pop() if reasons else None

    index.__class__ = Passing
    reasons.append("memory")
    assert index.problem == SENTENCES["memory"]
    reasons.append("memory")
    assert index.search(QUERIES, 5) is None
    assert GPUS.fallbacks == {"memory": 2, "error": 0, "lost": 0}


def test_what_is_given_back_while_its_card_becomes_free_is_freed(gpu):
    index = index_of("flat")
    (card,) = GPUS.ready
    lock = card.lock

    class Leaving:
        """The lock as it is held by somebody who leaves just after another one did not get it."""

        def acquire(self, blocking):
            assert not blocking
            card.lock = lock
            gpu_resources.free_unused()  # as `held` does in the end
            return False

    card.lock = Leaving()  # type: ignore[assignment]
    del index
    assert gpu.living == 0


def test_the_end_of_the_process_waits_for_a_load(gpu):
    gpu.free = [0]
    index = index_of("flat")
    gpu.free = [10**10]
    index._gpu._again_at = 0.0
    gpu.pause_s = 0.2
    index.search(QUERIES, 5)
    (thread,) = (one for one in threading.enumerate() if one.name == "recall-on-gpu")
    gpu_index.wait_for_loads()
    assert not thread.is_alive()
    assert index.device == "1 gpu"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            RuntimeError('captures_underway.empty() INTERNAL ASSERT FAILED at "c10/cuda/CUDACachingAllocator.cpp"'),
            "error",
        ),
        (RuntimeError("CUDA error: device-side assert triggered"), "lost"),
        (RuntimeError("CUDA driver error: unknown error"), "lost"),
        (RuntimeError("alloc fail (cudaMalloc error an illegal memory access was encountered [700])"), "lost"),
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), "lost"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory"),
    ],
)
def test_a_file_name_does_not_lose_a_card(error, reason):
    assert gpu_faults.reason_of(error) == reason


def test_memory_that_torch_cannot_give_back_is_a_shortage(gpu, monkeypatch):
    def fails():
        raise RuntimeError('captures_underway.empty() INTERNAL ASSERT FAILED at "CUDACachingAllocator.cpp"')

    gpu.free = [1_000]
    monkeypatch.setattr(torch.cuda, "empty_cache", fails)
    assert index_of("flat").gpu_problem == SENTENCES["memory"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_that_must_be_there_and_is_not(gpu, kind):
    index_of(kind, device="gpu")
    gpu.count = 0
    with pytest.raises(DeviceError, match="SKETCHSEEK_RECALL_DEVICE=gpu cannot be followed, since torch finds no GPU"):
        index_of(kind, device="gpu")
    assert index_of(kind).device == "cpu"


def test_more_lists_than_a_gpu_looks_at_are_the_cpus(gpu, monkeypatch):
    monkeypatch.setattr(on_gpus, "GPU_MOST", 4)
    assert index_of("ivf").device == "cpu"
    assert not gpu.told


def test_faiss_is_tried_in_a_process_of_its_own_and_once(gpu, monkeypatch, caplog):
    tried = []

    def fails(card):
        tried.append(card)
        raise FaissUnfitError("CUDA error 209 no kernel image is available")

    monkeypatch.setattr(gpu_resources, "try_faiss", fails)
    for _ in range(2):
        assert index_of("flat").gpu_problem == SENTENCES["error"]
    assert (tried, len(caplog.records)) == ([0], 1)
    assert not gpu.resources


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("", None),
        ("import os; os.abort()", "exit status -6"),
        ("raise RuntimeError('no kernel image')", "RuntimeError: no kernel image"),
        ("raise RuntimeError('out of memory')", "out of memory"),
        ("raise RuntimeError('CUDA error 46 all CUDA-capable devices are busy or unavailable')", "compute-mode"),
    ],
)
def test_what_the_other_process_found_out(tmp_path, monkeypatch, code, expected):
    (tmp_path / "gpu_trial.py").write_text(code)
    monkeypatch.setattr(gpu_choice, "__file__", str(tmp_path / "gpu_choice.py"))
    if expected is None:
        gpu_choice.try_faiss(0)
        return
    with pytest.raises(RuntimeError, match=expected) as raised:
        gpu_choice.try_faiss(0)
    assert gpu_faults.reason_of(raised.value) == ("memory" if "memory" in expected else "error")
