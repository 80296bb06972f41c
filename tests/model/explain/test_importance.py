"""The closed form equals the masked forward pass, and the cheap measure agrees with the exact one."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.config import RelationConfig
from model.explain import explain_pair, explain_pairs, inked_patches, occlusion, photo_patch_box, relate_with_importance
from model.explain.importance import logits_without_patches
from model.layers.relation import PooledRelation
from model.networks.registry import build_network
from model.networks.zse_sbir import ZseNetwork
from model.presets import ZSE_TINY
from model.types import Encoding
from tests.model.tiny_networks import encodings

Pair = tuple[torch.Tensor, Encoding, Encoding]


def masked(encoding: Encoding, hidden: list[int]) -> Encoding:
    mask = torch.ones(encoding.tokens.shape[:2], dtype=torch.bool)
    mask[:, hidden] = False
    return replace(encoding, mask=mask)


@pytest.mark.parametrize("hidden", [[], [3], [2, 7]], ids=["no padding", "one masked", "two masked"])
def test_leaving_a_patch_out_equals_masking_its_column(network: ZseNetwork, pair: Pair, hidden: list[int]) -> None:
    _, sketch, photo = pair
    sketch, photo = masked(sketch, hidden[:1]), masked(photo, hidden)
    relation = network.relation
    assert isinstance(relation, PooledRelation)
    project = network.cross_attention.project
    with torch.no_grad():
        left, right, _, _ = network.cross_attention(
            project(sketch.tokens, sketch.mask, "sketch"), project(photo.tokens, photo.mask, "photo")
        )
        _, kernel = relation(left, right, sketch.mask, photo.mask)
        fast = logits_without_patches(relation, left, right, kernel, sketch_mask=sketch.mask, photo_mask=photo.mask)
        for patch in range(len(fast)):
            if patch + 1 in hidden:
                continue
            without = photo.mask.clone() if photo.mask is not None else None
            assert without is not None
            without[0, patch + 1] = False
            slow, _ = relation(left, right, sketch.mask, without)
            assert float(fast[patch]) == pytest.approx(float(slow[0]), abs=1e-5)


def test_it_relates_as_relate_does(network: ZseNetwork, pair: Pair) -> None:
    _, sketch, photo = pair
    relation, importance = relate_with_importance(network, sketch, photo)
    with torch.no_grad():
        expected = network.relate(sketch, photo, attention=True)
    assert torch.equal(relation.logit, expected.logit)
    assert relation.attention is not None
    assert expected.attention is not None
    assert torch.equal(relation.attention.sketch_to_photo, expected.attention.sketch_to_photo)
    assert torch.equal(relation.attention.photo_to_sketch, expected.attention.photo_to_sketch)
    assert importance is not None
    assert importance.shape == (1, photo.positions.shape[1])
    assert np.abs(importance).max() > 1e-4


def test_half_precision_explains_as_well(pair: Pair) -> None:
    network = build_network(ZSE_TINY, seed=3).eval().to(torch.bfloat16)
    with torch.no_grad():
        explained = explain_pair(
            network, pair[0], network.encode_sketch(pair[0][None]), network.encode_photo(pair[0][None])
        )
        whole = build_network(ZSE_TINY, seed=3).eval()
        exact = explain_pair(whole, pair[0], whole.encode_sketch(pair[0][None]), whole.encode_photo(pair[0][None]))
    assert explained.logit == pytest.approx(exact.logit, abs=0.05)
    assert explained.importance is not None
    assert explained.correspondences


def test_masked_patches_have_no_importance(network: ZseNetwork, pair: Pair) -> None:
    _, sketch, photo = pair
    _, importance = relate_with_importance(network, sketch, masked(photo, [2, 5]))
    assert importance is not None
    assert importance[0, 1] == importance[0, 4] == 0.0
    assert (occlusion(network, sketch, masked(photo, [2, 5]))[[1, 4]] == 0.0).all()


def test_photos_explained_together_equal_each_alone(network: ZseNetwork, pair: Pair) -> None:
    image, sketch, photo = pair
    photos = Encoding.concatenate([photo, masked(photo, [2, 5]), masked(photo, [1])])
    for number, together in enumerate(explain_pairs(network, image, sketch, photos)):
        alone = explain_pair(network, image, sketch, photos[number : number + 1])
        assert together.logit == pytest.approx(alone.logit, abs=1e-5)
        assert together.attention == pytest.approx(alone.attention, abs=1e-5)
        assert together.importance == pytest.approx(alone.importance, abs=1e-5)
        assert {(p.sketch_patch, p.photo_patch) for p in together.correspondences} == {
            (p.sketch_patch, p.photo_patch) for p in alone.correspondences
        }


def test_the_cheap_measure_agrees_with_masking_every_patch(network: ZseNetwork, pair: Pair) -> None:
    _, sketch, photo = pair
    _, importance = relate_with_importance(network, sketch, photo)
    exact = occlusion(network, sketch, photo)
    assert importance is not None
    assert np.corrcoef(importance[0], exact)[0, 1] > 0.8


def test_occlusion_equals_a_naive_loop(network: ZseNetwork, pair: Pair) -> None:
    _, sketch, photo = pair
    with torch.no_grad():
        whole = float(network.relate(sketch, photo).logit)
        naive = [
            whole - float(network.relate(sketch, masked(photo, [patch])).logit)
            for patch in range(1, photo.tokens.shape[1])
        ]
    assert occlusion(network, sketch, photo) == pytest.approx(naive, abs=1e-5)


def test_explaining_speaks_of_inked_and_kept_patches_only(network: ZseNetwork, pair: Pair) -> None:
    image, sketch, photo = pair
    explained = explain_pair(network, image, sketch, photo)
    with torch.no_grad():
        assert explained.logit == pytest.approx(float(network.relate(sketch, photo).logit), abs=1e-5)
    kept = set(photo.positions[0].tolist())
    inked = set(np.flatnonzero(explained.ink))
    assert explained.correspondences
    assert {p.photo_patch for p in explained.correspondences} <= kept
    assert {p.sketch_patch for p in explained.correspondences} <= inked & set(sketch.positions[0].tolist())
    assert set(np.flatnonzero(explained.attention)) <= kept
    assert explained.importance is not None
    assert set(np.flatnonzero(explained.importance)) <= kept


def test_ink_is_found_where_it_is(network: ZseNetwork, pair: Pair) -> None:
    ink = inked_patches(pair[0], network.preprocess, 4).reshape(4, 4)
    expected = np.zeros((4, 4), dtype=bool)
    expected[0, :2] = expected[:2, 0] = True
    assert (ink == expected).all()
    faint = torch.ones(3, 64, 64)
    faint[:, 40, 40] = 0.9  # a grain of paper
    assert not inked_patches(faint, network.preprocess, 4).any()
    assert inked_patches(pair[0], network.preprocess, 7).sum() > 0, "a grid that does not divide the side"


def test_boxes_in_squashed_and_padded_photos(network: ZseNetwork) -> None:
    squash = replace(network.preprocess, photo_fit="squash")
    assert photo_patch_box(5, 4, squash, width=400, height=100) == (0.25, 0.25, 0.25, 0.25)
    pad = replace(network.preprocess, photo_fit="pad")
    x, y, width, height = photo_patch_box(5, 4, pad, width=400, height=200)
    assert (x, width) == (0.25, 0.25)
    assert (y, height) == (0.0, 0.5)
    assert photo_patch_box(0, 4, pad, width=400, height=200)[3] == 0.0, "wholly in the padding"


def test_explaining_costs_little_more_than_relating(network: ZseNetwork, pair: Pair) -> None:
    """A guard against a slip of an order of magnitude only; benchmarks/faithfulness.py prints the ratio."""
    image, sketch, photo = pair

    def fastest(action: object) -> float:
        assert callable(action)
        times = []
        for _ in range(20):
            start = time.perf_counter()
            action()
            times.append(time.perf_counter() - start)
        return min(times)

    with torch.no_grad():
        relating = fastest(lambda: network.relate(sketch, photo))
        explaining = fastest(lambda: explain_pair(network, image, sketch, photo))
    assert explaining < 10 * relating


def matching_pair() -> tuple[ZseNetwork, Encoding, Encoding]:
    """A network that matches patches, a sketch and three photos, one of them with masked patches."""
    config = replace(
        ZSE_TINY,
        cross_attention=replace(ZSE_TINY.cross_attention, values="none"),
        relation=RelationConfig(kind="matching", width=16, hidden=(8,), radii=(2.0, 0.0)),
    )
    network = build_network(config, seed=3).eval()
    assert isinstance(network, ZseNetwork)
    with torch.no_grad():
        for parameter in network.relation.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    photos = encodings(network, 3, seed=2)
    photos = Encoding.concatenate([photos[:2], masked(photos[2:], [2, 5])])
    return network, masked(encodings(network, 1, seed=1), [4]), photos


def test_importance_of_matches_equals_relating_without_each_patch() -> None:
    network, sketch, photos = matching_pair()
    relation, importance = relate_with_importance(network, sketch, photos)
    with torch.no_grad():
        expected = network.relate(sketch, photos, attention=True)
    assert torch.equal(relation.logit, expected.logit)
    assert relation.attention is not None
    assert importance is not None
    assert importance.shape == (3, photos.positions.shape[1])
    assert importance.dtype == np.float32
    for number in range(3):
        photo = photos[number : number + 1]
        assert photo.mask is not None
        hidden = (~photo.mask[0]).nonzero().flatten().tolist()
        assert occlusion(network, sketch, photo) == pytest.approx(importance[number], abs=1e-4)
        for patch in range(1, photo.tokens.shape[1]):
            if patch in hidden:
                assert importance[number, patch - 1] == 0.0
                continue
            with torch.no_grad():
                less = float(network.relate(sketch, masked(photo, [*hidden, patch])).logit)
            assert importance[number, patch - 1] == pytest.approx(float(expected.logit[0, number]) - less, abs=1e-4)
    assert np.abs(importance).max() > 1e-2


def test_importance_of_matches_needs_no_masks() -> None:
    network, sketch, photos = matching_pair()
    whole = replace(photos[:2], mask=None)
    _, importance = relate_with_importance(network, replace(sketch, mask=None), whole)
    assert importance is not None
    for number in range(2):
        one = whole[number : number + 1]
        assert occlusion(network, replace(sketch, mask=None), one) == pytest.approx(importance[number], abs=1e-4)


def test_a_photos_only_patch_has_finite_importance() -> None:
    network, sketch, photos = matching_pair()
    lonely = masked(photos[:1], list(range(2, photos.tokens.shape[1])))
    _, importance = relate_with_importance(network, sketch, lonely)
    assert importance is not None
    assert np.isfinite(importance).all()
    assert np.isfinite(occlusion(network, sketch, lonely)).all()
