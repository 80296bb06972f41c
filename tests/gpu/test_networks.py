"""Each preset encodes and relates on a device as on the CPU, within a stated tolerance."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import pytest
import torch

from model.checkpoints.files import load_checkpoint, resolve_dtype
from model.networks.network import Network
from model.networks.registry import PRESETS
from tests.gpu.comparing import Distance, distance, logit_error
from tests.model.tiny_networks import EVERY_CONFIG, build_any, images

CONFIGS = {**PRESETS, **EVERY_CONFIG}
CASES = [
    *(pytest.param("cpu", name, id=f"cpu-{name}") for name in EVERY_CONFIG),
    *(pytest.param("cuda", name, id=f"cuda-{name}", marks=pytest.mark.gpu) for name in CONFIGS),
]
BUNDLED = [pytest.param("cuda", id="cuda", marks=pytest.mark.gpu)]


@dataclass(frozen=True)
class Tolerance:
    """The largest `Distance` of encodings, and the largest error of logits."""

    encoding: Distance
    logits: float


# A device rounds what goes into the convolutions of float32 to eleven bits (TF32); its fast arithmetic has eight
# throughout. Simulated on a CPU for every preset, the errors were at most a third of these. On an H100, descriptors of
# zse-lite and text-aligned were off by .00001 and .0004, those of crossatnet by .0007 and .0021.
EXACT = Tolerance(Distance(descriptor=1.5e-3, kept=0.88, tokens=0.015), logits=0.02)
FAST = Tolerance(Distance(descriptor=2e-3, kept=0.82, tokens=0.12), logits=0.5)
_LOOSER = Tolerance(replace(FAST.encoding, descriptor=4e-3), FAST.logits)


def fast_tolerance(name: str) -> Tolerance:
    """Of a preset in a device's fast arithmetic."""
    return _LOOSER if name == "crossatnet" else FAST


def assert_close(reference: Network, network: Network, tolerance: Tolerance) -> None:
    """The same images give the same encodings, and the same encodings the same logits."""
    size, place = reference.preprocess.image_size, network.device
    drawn, taken = images(4, size, seed=1), images(6, size, seed=2)
    with torch.inference_mode():
        sketches, photos = reference.encode_sketch(drawn), reference.encode_photo(taken)
        logits = reference.relate(sketches, photos).logit
        found = (network.encode_sketch(drawn), network.encode_photo(taken))
        related = network.relate(sketches.to(place, network.dtype), photos.to(place, network.dtype)).logit
    for expected, given in zip((sketches, photos), found, strict=True):
        assert given.tokens.device.type == place.type
        off, most = distance(expected, given), tolerance.encoding
        assert off.descriptor <= most.descriptor
        assert off.kept >= most.kept
        assert off.tokens <= most.tokens
    assert logit_error(logits, related) <= tolerance.logits


@pytest.mark.parametrize(("device", "name"), CASES)
def test_a_preset_encodes_and_relates_as_in_float32_on_the_cpu(device, name):
    place = torch.device(device)
    reference = build_any(CONFIGS[name]).fold()
    assert_close(reference, copy.deepcopy(reference).cast(place, torch.float32), EXACT)
    fast = resolve_dtype("auto", place)
    assert_close(
        reference, copy.deepcopy(reference).cast(place, fast), EXACT if fast == torch.float32 else fast_tolerance(name)
    )


@pytest.mark.parametrize("device", BUNDLED)
def test_the_bundled_checkpoint_encodes_and_relates_as_on_the_cpu(device):
    reference = load_checkpoint("zse-lite", "cpu", "float32")
    assert_close(reference, load_checkpoint("zse-lite", device, "float32"), EXACT)
    assert_close(reference, load_checkpoint("zse-lite", device), FAST)


@pytest.mark.parametrize(("device", "name"), CASES)
def test_a_batch_encodes_as_its_images_do_one_by_one(device, name):
    network = build_any(CONFIGS[name]).fold().cast(torch.device(device), torch.float32)
    taken = images(5, network.preprocess.image_size, seed=3)
    with torch.inference_mode():
        together = network.encode_photo(taken)
        for row in range(len(taken)):
            off = distance(network.encode_photo(taken[row : row + 1]).to("cpu"), together[row : row + 1])
            assert off.descriptor <= EXACT.encoding.descriptor
            assert off.kept >= EXACT.encoding.kept
            assert off.tokens <= EXACT.encoding.tokens
