"""Recordings of fixed batch sizes, with a recorder that remembers the function instead of a GPU that records kernels.

That real CUDA graphs agree is tested in tests/gpu.
"""

import contextlib
import copy
import gc
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from model.networks.fixed_shapes import CudaRecorder
from model.networks.recorded_sizes import padded_size, record_photos, record_sizes
from model.types import Encoding
from tests.model.tiny_networks import EVERY_CONFIG, build_any, encodings, images

EVERY_NETWORK = pytest.mark.parametrize("config", list(EVERY_CONFIG.values()), ids=list(EVERY_CONFIG))
EACH_BATCH = ("matching-tiny", "encode_sketch")
SOME_BATCHES = (3, 32, 33)
FAILED = RuntimeError("operation not permitted when stream is capturing")
SHORT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
RECORDINGS = 12  # three sizes of sketches, as many of photos, six of pairs


class Remembers:
    """Computes anew, into the same memory, where a graph would be replayed."""

    def __init__(self, room=RECORDINGS, fails_at=None, fails_with=FAILED):
        self.recorded, self.room, self.fails_at, self.fails_with = 0, room, fails_at, fails_with
        self.broken = None

    def has_room(self):
        return self.recorded < self.room

    def record(self, run):
        if self.recorded == self.fails_at:
            raise self.fails_with
        self.recorded += 1
        outputs = tuple(one.clone() for one in run())  # one may be a view that repeats its rows

        def replay():
            if self.broken is not None:
                raise self.broken
            for output, fresh in zip(outputs, run(), strict=True):
                output.copy_(fresh)

        return outputs, replay


def recorded(config, **options):
    network, recorder = build_any(config), Remembers(**options)
    length = network.photo_tokens
    network.pair_budget = 70 * network.pair_budget // network.pairs_per_chunk(length, length)  # 64 pairs at most
    record_sizes(network, recorder)
    return network, recorder


def same(one: Encoding, other: Encoding) -> None:
    torch.testing.assert_close(one.descriptor, other.descriptor, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(one.tokens, other.tokens, rtol=1e-4, atol=1e-4)
    assert torch.equal(one.positions, other.positions)
    assert one.mask is None


@EVERY_NETWORK
def test_batches_are_padded_and_cut_without_a_trace(config):
    network, recorder = recorded(config)
    assert recorder.recorded == RECORDINGS
    plain = build_any(config)
    everything = images(33, config.preprocess.image_size, seed=3)
    with torch.inference_mode():
        for name in ("encode_sketch", "encode_photo"):
            expected = getattr(plain, name)(everything)
            for count in range(1, 34) if (config.preset, name) == EACH_BATCH else SOME_BATCHES:
                before = network.fixed_shapes.replays
                some = everything[-count:]  # never the same rows twice in the same places
                same(getattr(network, name)(some), expected[slice(33 - count, 33)])
                assert network.fixed_shapes.replays - before == (count <= 32)


@EVERY_NETWORK
def test_pairs_are_padded_and_cut_without_a_trace(config, monkeypatch):
    monkeypatch.setattr(type(build_any(config)), "shares_steps", True)  # as on a GPU
    network, plain = recorded(config)[0], build_any(config)
    largest = network.fixed_shapes.sizes("relate")[-1]
    assert largest == 64
    sketches, photos = encodings(network, 33, seed=1), encodings(network, 45, seed=2)
    photos = photos[torch.arange(largest + 70) % 45]
    with torch.inference_mode():
        whole = plain.relate(sketches, photos[:45]).logit
        for counts in ([1], [0, 31, 2], [largest + 3, 60], [1] * 33, [0] * 33):
            before = network.fixed_shapes.replays
            given = photos[: sum(counts)]
            own = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
            logits = network.relate_each(sketches[: len(counts)], given, counts)
            torch.testing.assert_close(logits, whole[own, torch.arange(len(given)) % 45], rtol=1e-4, atol=1e-4)
            assert (network.fixed_shapes.replays > before) == (sum(counts) > 0)


def test_what_is_not_recorded_is_padded_to_few_sizes_on_a_gpu(monkeypatch):
    network = build_any(EVERY_CONFIG["matching-tiny"])
    everything, sizes, plainly = images(9), list[int](), network.encode_plainly
    with torch.inference_mode():
        expected = network.encode_photo(everything)

    def counted(pictures, modality):
        sizes.append(len(pictures))
        return plainly(pictures, modality)

    monkeypatch.setattr(network, "encode_plainly", counted)
    network.encode_photo(everything)
    monkeypatch.setattr(type(network), "pads_batches", True)
    with torch.inference_mode():
        for count in (9, 3, 2, 1):
            same(network.encode_photo(everything[:count]), expected[:count])
    assert sizes == [9, 16, 4, 2, 1]


def test_a_build_has_a_recording_of_its_own_which_is_forgotten_after_it():
    network, plain = recorded(EVERY_CONFIG["matching-tiny"])[0], build_any(EVERY_CONFIG["matching-tiny"])
    everything = images(40)

    def build():
        with torch.inference_mode():
            record_photos(network, Remembers(), 40)
            for count, small, large in ((40, 0, 1), (35, 0, 2), (3, 0, 3)):  # its thread did not record the small ones
                same(network.encode_photo(everything[:count]), plain.encode_photo(everything[:count]))
                assert (network.fixed_shapes.replays, network.batch_shapes.replays) == (small, large)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(build).result()
    with torch.inference_mode():
        network.encode_photo(everything[:8])
    assert (network.fixed_shapes.replays, network.batch_shapes.replays) == (1, 3)
    network.forget_batches()
    assert network.batch_shapes.sizes("photo") == []
    assert network.fixed_shapes.sizes("photo") == [1, 8, 32]


@pytest.mark.parametrize(("count", "size"), [(1, 1), (2, 2), (5, 8), (129, 256), (256, 256), (257, 512), (520, 768)])
def test_padded_sizes(count, size):
    assert padded_size(count) == size


def test_results_are_copies():
    network, _ = recorded(EVERY_CONFIG["matching-tiny"])
    with torch.inference_mode():
        first = network.encode_sketch(images(2, seed=1))
        before = first.tokens.clone()
        network.encode_sketch(images(2, seed=2))
        assert network.fixed_shapes.replays == 2
        assert torch.equal(first.tokens, before)


def test_what_no_recording_is_for_runs_plainly():
    network, _ = recorded(EVERY_CONFIG["matching-tiny"])
    some = images(2)
    network.encode_sketch(some)  # with gradients
    with torch.inference_mode():
        longer = encodings(network, 2, seed=1).padded(network.photo_tokens + 2)  # with a mask
        network.relate_gathered(longer, longer, torch.arange(2))
        with ThreadPoolExecutor(1) as other_thread:
            other_thread.submit(torch.inference_mode()(network.encode_sketch), some).result()
        assert network.fixed_shapes.replays == 0
        for other in (copy.deepcopy(network), network.cast("cpu", torch.float32)):  # weights at other places
            other.encode_sketch(some)
            assert other.fixed_shapes.replays == 0


def test_a_recording_that_fails_gives_up_all_of_them_and_says_so_once(caplog):
    with caplog.at_level(logging.WARNING):
        network, _ = recorded(EVERY_CONFIG["matching-tiny"], fails_at=7)
        record_sizes(network, Remembers())  # as for the next version of a gallery
        with torch.inference_mode():
            network.encode_sketch(images(1))
    assert network.fixed_shapes.replays == 0
    assert [record.message for record in caplog.records] == [
        "batches run without CUDA graphs from now on (RuntimeError: operation not permitted when stream is capturing)"
    ]


def test_a_replay_that_fails_is_computed_plainly(caplog):
    network, recorder = recorded(EVERY_CONFIG["matching-tiny"])
    recorder.broken = RuntimeError("the graph is gone")
    expected = build_any(EVERY_CONFIG["matching-tiny"])
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        for _ in range(2):
            same(network.encode_photo(images(3)), expected.encode_photo(images(3)))
    assert len(caplog.records) == 1
    assert "the graph is gone" in caplog.records[0].message


def test_a_shortage_at_a_replay_costs_that_batch_only(caplog):
    network, recorder = recorded(EVERY_CONFIG["matching-tiny"])
    expected, some = build_any(EVERY_CONFIG["matching-tiny"]), images(3)
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        recorder.broken = SHORT
        same(network.encode_photo(some), expected.encode_photo(some))
        assert network.fixed_shapes.replays == 0
        recorder.broken = None
        same(network.encode_photo(some), expected.encode_photo(some))
    assert network.fixed_shapes.replays == 1
    assert not caplog.records


@pytest.mark.parametrize("options", [{"room": 2}, {"fails_at": 2, "fails_with": SHORT}])
def test_recordings_stop_where_the_memory_does_and_the_others_serve_small_batches(caplog, options):
    with caplog.at_level(logging.WARNING):
        network, recorder = recorded(EVERY_CONFIG["matching-tiny"], **options)
    assert recorder.recorded == 2
    assert network.fixed_shapes.sizes("sketch") == [8, 32]
    assert network.fixed_shapes.sizes("relate") == []
    assert len(caplog.records) == 1
    assert "the others run without" in caplog.text
    with torch.inference_mode():
        for replays, count in enumerate((1, 8, 9, 32), start=1):
            network.encode_sketch(images(count))
            assert network.fixed_shapes.replays == replays
        network.encode_photo(images(8))
        network.encode_sketch(images(33))
        assert network.fixed_shapes.replays == replays, "of photos or of so many nothing is recorded"


def test_the_smallest_planned_size_serves_whatever_is_smaller():
    network, _ = recorded(EVERY_CONFIG["matching-tiny"])
    least = network.fixed_shapes.sizes("relate")[0]
    assert least == 2
    sketch, photo = encodings(network, 1, seed=1), encodings(network, 1, seed=2)
    with torch.inference_mode():
        network.relate_gathered(sketch, photo, torch.zeros(1, dtype=torch.int64))
    assert network.fixed_shapes.replays == 1


@pytest.mark.parametrize("poisoned", [False, True])
def test_a_recording_that_leaves_the_memory_taken_asks_for_a_restart(caplog, monkeypatch, poisoned):
    def give_back():
        if poisoned:  # as PyTorch 2.11 after a graph whose recording failed
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")
        given_back.append(len(network.fixed_shapes.sizes("sketch")))

    given_back, network = list[int](), build_any(EVERY_CONFIG["matching-tiny"])
    monkeypatch.setattr(torch.cuda, "empty_cache", give_back)
    with caplog.at_level(logging.WARNING):
        record_sizes(network, Remembers(fails_at=3))
    assert ("restart soon" in caplog.text) == poisoned
    assert given_back == ([] if poisoned else [0]), "the memory of all recordings"


class NoDevice(contextlib.AbstractContextManager[None]):
    """Stands for whatever CUDA has of streams and graphs."""

    def __init__(self, *_, **__):
        pass

    def __exit__(self, *_):
        return None

    def wait_stream(self, _other):
        return None

    replay = wait_stream


@pytest.mark.parametrize("fails", [False, True])
def test_no_garbage_is_collected_while_a_graph_is_recorded(monkeypatch, fails):
    enabled = []

    def run():
        enabled.append(gc.isenabled())
        if fails and len(enabled) == 4:
            raise FAILED
        return ()

    for name in ("device", "Stream", "stream", "current_stream", "CUDAGraph", "graph", "graph_pool_handle"):
        monkeypatch.setattr(torch.cuda, name, NoDevice)
    monkeypatch.setattr(torch.cuda, "set_stream", lambda _stream: None)
    with pytest.raises(RuntimeError, match="capturing") if fails else contextlib.nullcontext():
        CudaRecorder(torch.device("cuda")).record(run)
    assert enabled == [True, True, True, False], "three times to warm up, then the recording"
    assert gc.isenabled()


def test_nothing_is_recorded_on_a_cpu():
    network = build_any(EVERY_CONFIG["matching-tiny"])
    network.warm_up()
    assert not network.fixed_shapes.tried
