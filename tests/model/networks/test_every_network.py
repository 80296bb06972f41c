"""What every network promises behind the one interface; what is a network's own is tested in its own file."""

import copy

import pytest
import torch

from model.checkpoints.files import load_checkpoint, save_checkpoint
from model.networks.crossatnet import CrossAtNet
from model.networks.registry import build_network
from model.presets import PRESETS
from model.types import Encoding, Relation
from tests.model.tiny_networks import EVERY_CONFIG, build_any, encodings, images, silent

EVERY_NETWORK = pytest.mark.parametrize("config", list(EVERY_CONFIG.values()), ids=list(EVERY_CONFIG))
# Upstream's relation has a layer over a fixed number of tokens.
READS_ANY_LENGTH = [config for name, config in EVERY_CONFIG.items() if name != "upstream-tiny"]
ANY_LENGTH = pytest.mark.parametrize("config", READS_ANY_LENGTH, ids=lambda c: c.preset)
# CrossATNet's logit is ten times a cosine and so multiplies rounding; a matching relation's is sixty times one here.
TOLERANCES = {"crossatnet-tiny": 2.0, "crossatnet-plain": 2.0, "matching-tiny": 10.0}
# Of what every patch gets alike, a softmax sees nothing: such a gradient is zero up to rounding.
# A matching relation starts from its linear part alone: the last hidden layer is zero.
SILENT = {
    "matching-tiny": {"relation.hidden.0.weight", "relation.hidden.0.bias"},
    "zse-lite": {"relation.hidden.0.weight", "relation.hidden.0.bias"},
    "crossatnet-tiny": {"attention.own.2.bias", "attention.key.bias", "encoder.norm.bias"},
}


def chunk_of(network):
    """Photos of a chunk of CrossATNet with two sketches; pairs of a chunk of the others."""
    count = network.photo_tokens
    return (
        network.photos_per_chunk(2, count) if isinstance(network, CrossAtNet) else network.pairs_per_chunk(count, count)
    )


def compare(one: Relation, other: Relation) -> None:
    torch.testing.assert_close(one.logit, other.logit, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(one.score, other.score, rtol=1e-5, atol=1e-5)
    assert (one.photo_map is None) == (other.photo_map is None)
    if one.photo_map is not None and other.photo_map is not None:
        torch.testing.assert_close(one.photo_map, other.photo_map)
    assert (one.attention is None) == (other.attention is None)
    if one.attention is not None and other.attention is not None:
        for name in ("sketch_to_photo", "photo_to_sketch", "kernel"):
            a, b = getattr(one.attention, name), getattr(other.attention, name)
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@EVERY_NETWORK
@pytest.mark.parametrize("attention", [False, True])
def test_chunked_equals_whole(config, attention):
    network = build_any(config)
    sketches, photos = encodings(network, 2, seed=1), encodings(network, 7, seed=2)
    with torch.inference_mode():
        whole = network.relate(sketches, photos, attention=attention)
        each = network.pair_budget // chunk_of(network)
        for budget, chunk in ((1, 1), (3 * each + each // 2, 3)):
            network.pair_budget = budget
            assert chunk_of(network) == chunk
            compare(network.relate(sketches, photos, attention=attention), whole)
    assert float(whole.logit.std()) > 1e-3, "the pairs differ, so the agreement means something"
    assert whole.logit.dtype == whole.score.dtype == torch.float32


@EVERY_NETWORK
def test_batched_equals_single(config):
    network = build_any(config)
    sketches, photos = encodings(network, 2, seed=1), encodings(network, 3, seed=2)
    with torch.inference_mode():
        whole = network.relate(sketches, photos)
        for s in range(2):
            for p in range(3):
                alone = network.relate(sketches[s : s + 1], photos[p : p + 1])
                torch.testing.assert_close(alone.logit[0, 0], whole.logit[s, p], rtol=1e-5, atol=1e-5)


@EVERY_NETWORK
def test_aligned_pairs_are_the_diagonal(config):
    network = build_any(config)
    sketches, photos = encodings(network, 4, seed=1), encodings(network, 4, seed=2)
    with torch.inference_mode():
        logit, sketch, photo = network.relate_aligned(sketches, photos)
        torch.testing.assert_close(logit, network.relate(sketches, photos).logit.diagonal(), rtol=1e-5, atol=1e-5)
    width = network.descriptor_size if isinstance(network, CrossAtNet) else network.token_width
    assert sketch.shape == photo.shape == (4, width)


@pytest.mark.parametrize(
    ("config", "extra"),
    [*((config, 0) for config in EVERY_CONFIG.values()), *((config, 3) for config in READS_ANY_LENGTH)],
    ids=lambda value: str(getattr(value, "preset", value)),
)
def test_each_sketch_with_its_own_photos_gets_the_logits_of_relate(config, extra):
    network, counts = build_any(config), [2, 0, 5, 1, 0]
    sketches, photos = encodings(network, 5, seed=1), encodings(network, 8, seed=2)
    sketches, photos = (one.padded(network.photo_tokens + extra) for one in (sketches, photos))
    own = torch.arange(5).repeat_interleave(torch.tensor(counts))
    with torch.inference_mode():
        whole = network.relate(sketches, photos).logit
        expected = [network.relate(sketches[n : n + 1], photos[own == n]).logit[0] for n in range(5)]
        assert torch.equal(network.relate_each(sketches, photos, counts), torch.cat(expected))
        each = network.pair_budget // network.pairs_per_chunk(
            network.photo_tokens + extra, network.photo_tokens + extra
        )
        for budget in (network.pair_budget, 3 * each + each // 2, 1):  # as on a GPU, where sketches share the steps
            network.pair_budget = budget
            gathered = network.relate_gathered(sketches, photos, own)
            assert gathered.dtype == torch.float32
            torch.testing.assert_close(gathered, whole[own, torch.arange(8)], rtol=1e-5, atol=1e-5)


@EVERY_NETWORK
def test_explaining_changes_no_score(config):
    network = build_any(config)
    sketches, photos = encodings(network, 2, seed=1), encodings(network, 3, seed=2)
    with torch.inference_mode():
        plain, explained = network.relate(sketches, photos), network.relate(sketches, photos, attention=True)
    torch.testing.assert_close(explained.logit, plain.logit, rtol=1e-5, atol=1e-5)
    assert plain.attention is None
    assert plain.photo_map is None
    assert (explained.photo_map is not None) == (config.preset == "crossatnet-tiny")
    assert (explained.attention is not None) == (not isinstance(network, CrossAtNet))


@ANY_LENGTH
def test_masked_padding_changes_nothing(config):
    network = build_any(config)
    sketches, photos = encodings(network, 2, seed=1), encodings(network, 3, seed=2)
    count = network.photo_tokens
    with torch.inference_mode():
        plain = network.relate(sketches, photos, attention=True)
        padded = network.relate(sketches.padded(count + 3), photos.padded(count + 5), attention=True)
    torch.testing.assert_close(padded.logit, plain.logit, rtol=1e-5, atol=1e-5)
    assert (padded.attention is None, padded.photo_map is None) == (plain.attention is None, plain.photo_map is None)
    if plain.attention is not None and padded.attention is not None:
        shown, expected = padded.attention.sketch_to_photo, plain.attention.sketch_to_photo
        torch.testing.assert_close(shown[:, :, :count, :count], expected, rtol=1e-5, atol=1e-6)
        assert float(shown[..., count:].abs().max()) == 0
    if plain.photo_map is not None and padded.photo_map is not None:
        torch.testing.assert_close(padded.photo_map[..., : count - 1], plain.photo_map)
        assert float(padded.photo_map[..., count - 1 :].abs().max()) == 0


@ANY_LENGTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_batch_of_unequal_lengths_is_related_as_if_each_were_alone(config, dtype):
    network = build_any(config).cast("cpu", dtype)
    sketch = encodings(network, 1, seed=1, tokens=6)
    short, long = encodings(network, 2, seed=2, tokens=5), encodings(network, 2, seed=3, tokens=8)
    with torch.inference_mode():
        together = network.relate(sketch, Encoding.concatenate([short, long]))
        apart = torch.cat([network.relate(sketch, short).logit, network.relate(sketch, long).logit], dim=1)
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2  # bfloat16 sums the same terms in another order
    torch.testing.assert_close(together.logit, apart, rtol=tolerance, atol=tolerance)


@EVERY_NETWORK
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.08), (torch.float16, 0.01)])
def test_half_precision_scores_stay_close(config, dtype, tolerance):
    """A logit sums similarities whose error is that of bfloat16 tokens, about 0.5 %; the weights after them (here of
    order 1 and more) carry it on. float16 has three more bits."""
    network = build_any(config)
    half = copy.deepcopy(network).cast("cpu", dtype)
    assert half.dtype == dtype
    for part in half.exact_parts:
        assert all(weight.dtype == torch.float32 for weight in part.parameters()), "what decides stays exact"
    with torch.inference_mode():
        sketch_images, photo_images = images(2, seed=1), images(4, seed=2)
        exact = network.relate(network.encode_sketch(sketch_images), network.encode_photo(photo_images)).logit
        sketches = half.encode_sketch(sketch_images)
        assert sketches.tokens.dtype == dtype
        assert sketches.descriptor.dtype == torch.float32
        rounded = half.relate(sketches, half.encode_photo(photo_images)).logit
    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - exact).abs().max()) < tolerance * TOLERANCES.get(config.preset, 1.0)


LARGE = {name: config for name, config in PRESETS.items() if name not in EVERY_CONFIG}


@pytest.mark.parametrize(
    "config",
    [
        *EVERY_CONFIG.values(),
        *(pytest.param(config, marks=[pytest.mark.slow] * (config.encoder.kind == "vit")) for config in LARGE.values()),
    ],
    ids=lambda c: c.preset,
)
def test_gradients_reach_every_trainable_parameter(config):
    """Both modalities in; out come the logit, both descriptors, what pairs are compared by, and a code."""
    network = build_network(config, seed=0).train()
    size = config.preprocess.image_size
    count = 1 if config.encoder.kind == "vit" else 2  # batch norms want more than one
    sketches, photos = network.encode_sketch(images(count, size, 1)), network.encode_photo(images(count, size, 2))
    logit, a, b = network.relate_aligned(sketches, photos)
    torch.manual_seed(0)
    parts = [logit, a, b, sketches.descriptor, photos.descriptor]
    if isinstance(network, CrossAtNet) and network.hash is not None:
        parts.append(network.hash(photos.descriptor))
    torch.stack([(part * torch.randn_like(part)).sum() for part in parts]).sum().backward()
    assert silent(network) <= SILENT.get(config.preset, set())


@EVERY_NETWORK
def test_what_is_saved_comes_back(tmp_path, config):
    network = build_any(config)
    digest = save_checkpoint(network, tmp_path / "network.safetensors")
    loaded = load_checkpoint(tmp_path / "network.safetensors", "cpu", "float32")
    assert type(loaded) is type(network)
    assert loaded.config == network.config
    assert loaded.identity.sha256 == digest
    with torch.inference_mode():
        shown, drawn = images(2, seed=2), images(2, seed=1)
        one, other = ((n.encode_sketch(drawn), n.encode_photo(shown)) for n in (network, loaded))
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a.descriptor, b.descriptor, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(a.tokens, b.tokens, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(network.relate(*one).logit, loaded.relate(*other).logit, rtol=1e-3, atol=1e-3)


@EVERY_NETWORK
def test_nothing_related_to_nothing(config):
    network = build_any(config)
    none, some = encodings(network, 1)[:0], encodings(network, 2)
    with torch.inference_mode():
        assert network.relate(none, some).logit.shape == (0, 2)
        assert network.relate(some, none, attention=True).score.shape == (2, 0)
        assert network.relate_each(none, none, []).shape == network.relate_each(some, none, [0, 0]).shape == (0,)
        assert network.relate_gathered(some, none, torch.zeros(0, dtype=torch.int64)).shape == (0,)


@pytest.mark.parametrize("counts", [[2], [2, 0, 0], [1, 2], [3, -1], []])
def test_counts_that_do_not_fit_are_refused(counts):
    network = build_any(EVERY_CONFIG["matching-tiny"])
    with pytest.raises(ValueError, match="cannot be related by the counts"):
        network.relate_each(encodings(network, 2), encodings(network, 2), counts)
