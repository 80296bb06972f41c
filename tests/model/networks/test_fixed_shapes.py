"""Recordings of fixed batch sizes, with a recorder that remembers the function instead of a GPU that records kernels.

That real CUDA graphs agree is tested in tests/gpu.
"""

import copy
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from model.networks.recorded_sizes import record_sizes
from model.types import Encoding
from tests.model.tiny_networks import EVERY_CONFIG, build_any, encodings, images

EVERY_NETWORK = pytest.mark.parametrize("config", list(EVERY_CONFIG.values()), ids=list(EVERY_CONFIG))
EACH_BATCH = ("matching-tiny", "encode_sketch")
SOME_BATCHES = (3, 32, 33)
RECORDINGS = 18  # six sizes each of sketches, photos and pairs


class Remembers:
    """Computes anew, into the same memory, where a graph would be replayed."""

    def __init__(self, room=RECORDINGS, fails_at=None):
        self.recorded, self.room, self.fails_at = 0, room, fails_at
        self.broken = False

    def has_room(self):
        return self.recorded < self.room

    def record(self, run):
        if self.recorded == self.fails_at:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.recorded += 1
        outputs = tuple(one.clone() for one in run())  # one may be a view that repeats its rows

        def replay():
            if self.broken:
                raise RuntimeError("the graph is gone")
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
    recorder.broken = True
    expected = build_any(EVERY_CONFIG["matching-tiny"])
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        for _ in range(2):
            same(network.encode_photo(images(3)), expected.encode_photo(images(3)))
    assert len(caplog.records) == 1
    assert "the graph is gone" in caplog.records[0].message


def test_recordings_stop_where_the_memory_does(caplog):
    with caplog.at_level(logging.WARNING):
        network, recorder = recorded(EVERY_CONFIG["matching-tiny"], room=2)
    assert recorder.recorded == 2
    assert network.fixed_shapes.sizes("sketch") == [16, 32]
    assert network.fixed_shapes.sizes("relate") == []
    assert len(caplog.records) == 1
    with torch.inference_mode():
        network.encode_sketch(images(1))
        assert network.fixed_shapes.replays == 1
        network.encode_photo(images(1))
        assert network.fixed_shapes.replays == 1


def test_nothing_is_recorded_on_a_cpu():
    network = build_any(EVERY_CONFIG["matching-tiny"])
    network.warm_up()
    assert not network.fixed_shapes.tried
