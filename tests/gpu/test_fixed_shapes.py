"""What a device recorded as CUDA graphs computes what it computes step by step. The CPU records nothing."""

from __future__ import annotations

import copy
import threading

import pytest
import torch

from model.checkpoints.files import resolve_dtype
from model.networks.encoder_network import EncoderNetwork
from model.networks.recorded_sizes import BATCHES
from model.networks.registry import PRESETS
from model.types import Encoding
from tests.gpu.comparing import distance
from tests.gpu.shortage import MEBIBYTE, leaving
from tests.gpu.test_networks import CASES, CONFIGS, FAST, Tolerance
from tests.model.tiny_networks import build_any, images


def assert_near(reference: Encoding, found: Encoding, tolerance: Tolerance = FAST) -> None:
    """Within what rounding does."""
    off, most = distance(reference, found), tolerance.encoding
    assert off.descriptor <= most.descriptor
    assert off.kept >= most.kept
    assert off.tokens <= most.tokens


class Pair:
    """The same network twice: computing step by step, and warmed up."""

    def __init__(self, device: str, name: str) -> None:
        place = torch.device(device)
        self.plain: EncoderNetwork = build_any(CONFIGS[name]).fold().cast(place, resolve_dtype("auto", place))
        self.warm = copy.deepcopy(self.plain)
        self.warm.warm_up()
        self.records = place.type == "cuda"
        self.size = self.plain.preprocess.image_size


KINDS = [
    pytest.param(case.values, id=case.id, marks=case.marks)
    for case in CASES
    if case.values[0] == "cpu" or case.values[1] in PRESETS
]


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest) -> Pair:
    """Of each preset on each device, recorded once."""
    device, name = request.param
    if device != "cpu":
        free, total = torch.cuda.mem_get_info(device)
        if free < total // 8 + 4096 * MEBIBYTE:
            pytest.skip("other programs leave no memory for recordings")
    return Pair(device, name)


@torch.inference_mode()
def test_recordings_encode_as_single_steps_do_whatever_was_encoded_before(pair):
    assert pair.warm.fixed_shapes.sizes("photo") == (sorted(BATCHES) if pair.records else [])
    for number, count in enumerate((32, 3, 1, 8, 33) if pair.records else (3, 1)):
        pictures = images(count, pair.size, seed=number)
        before = pair.warm.fixed_shapes.replays
        assert_near(pair.plain.encode_sketch(pictures), pair.warm.encode_sketch(pictures))
        assert_near(pair.plain.encode_photo(pictures), pair.warm.encode_photo(pictures))
        assert pair.warm.fixed_shapes.replays - before == (2 if pair.records and count <= max(BATCHES) else 0)


@torch.inference_mode()
def test_batches_of_a_build_encode_as_single_steps_do(pair):
    network = copy.deepcopy(pair.plain)
    network.prepare_batches(16)
    for number, count in enumerate((16, 9)):
        pictures = images(count, pair.size, seed=number)
        assert_near(pair.plain.encode_photo(pictures), network.encode_photo(pictures))
    assert network.batch_shapes.replays == (2 if pair.records else 0)


@torch.inference_mode()
def test_recordings_relate_as_single_steps_do(pair):
    sketches = pair.plain.encode_sketch(images(3, pair.size, seed=1))
    photos = pair.plain.encode_photo(images(9, pair.size, seed=2))
    every = pair.plain.relate(sketches, photos).logit
    recorded = pair.warm.fixed_shapes.sizes("relate")
    assert bool(recorded) == pair.records
    for counts in ([9, 0, 4], [1, 2, 3], [9, 9, 9]):
        rows = torch.cat([torch.arange(count) for count in counts]).to(pair.plain.device)
        expected = torch.cat([every[number, :count] for number, count in enumerate(counts)])
        before = pair.warm.fixed_shapes.replays
        found = pair.warm.relate_each(sketches, photos[rows], counts)
        assert pair.warm.fixed_shapes.replays - before == (1 if pair.records else 0)
        spread = float(every.double().std())
        assert float((found.double() - expected.double()).abs().max()) <= FAST.logits * spread


def test_another_thread_computes_the_same_without_recordings(pair):
    pictures, found = images(4, pair.size, seed=3), list[Encoding]()

    def encode() -> None:
        with torch.inference_mode():
            found.append(pair.warm.encode_photo(pictures))

    before = pair.warm.fixed_shapes.replays
    thread = threading.Thread(target=encode)
    thread.start()
    thread.join()
    with torch.inference_mode():
        assert_near(pair.plain.encode_photo(pictures), found[0])
    assert pair.warm.fixed_shapes.replays == before


@pytest.mark.gpu
@torch.inference_mode()
def test_without_memory_for_recordings_a_network_works_all_the_same(card, caplog):
    pair = Pair("cuda", "zse-lite")
    cold = copy.deepcopy(pair.plain)
    with leaving(card, 512 * MEBIBYTE):
        cold.warm_up()
        pictures = images(2, pair.size)
        assert_near(pair.plain.encode_photo(pictures), cold.encode_photo(pictures))
    assert "CUDA graphs" in caplog.text
