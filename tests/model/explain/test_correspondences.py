"""Planted matches are found, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.explain import CLEAR, PairMaps, correspondences, pair_maps, strongest_correspondences
from tests.model.explain.conftest import Planted

MATCHES = {0: 15, 5: 10, 6: 9, 12: 3}
SKETCH, PHOTO = [0, 1, 5, 6, 12, 13], [2, 3, 8, 9, 10, 15]


def test_planted_matches_come_first_and_are_mutual(planted: Planted) -> None:
    found = correspondences(pair_maps(*planted(MATCHES, SKETCH, PHOTO)))
    first = found[: len(MATCHES)]
    assert [(pair.sketch_patch, pair.photo_patch) for pair in first] == list(MATCHES.items())
    assert all(pair.mutual for pair in first)
    assert not any(pair.mutual and pair not in first and pair.weight > 0.3 for pair in found)
    assert [pair.weight for pair in first] == sorted((pair.weight for pair in first), reverse=True)


def test_what_weighs_much_more_than_most_is_clear(planted: Planted) -> None:
    maps = pair_maps(*planted(MATCHES, SKETCH, PHOTO))
    weights = np.full_like(maps.weights, 0.1)
    weights[0, 5], weights[3, 2] = 1.01 * CLEAR * 0.1, 0.99 * CLEAR * 0.1
    found = correspondences(replace(maps, weights=weights))
    assert [(pair.sketch_patch, pair.photo_patch) for pair in found if pair.clear] == [(SKETCH[0], PHOTO[5])]
    assert len(found) > 1


def test_positions_are_those_of_the_original_grid_in_any_order(planted: Planted) -> None:
    shuffled = [6, 13, 0, 12, 5, 1], [15, 9, 2, 10, 3, 8]
    expected = {
        (p.sketch_patch, p.photo_patch) for p in correspondences(pair_maps(*planted(MATCHES, SKETCH, PHOTO)))[:4]
    }
    found = {(p.sketch_patch, p.photo_patch) for p in correspondences(pair_maps(*planted(MATCHES, *shuffled)))[:4]}
    assert found == expected == set(MATCHES.items())


def test_patches_without_ink_do_not_take_part(planted: Planted) -> None:
    ink = np.ones(16, dtype=bool)
    ink[[5, 13]] = False
    maps = pair_maps(*planted(MATCHES, SKETCH, PHOTO), ink)
    assert list(maps.sketch_positions) == [0, 1, 6, 12]
    assert list(maps.sketch_rows) == [0, 1, 3, 4]
    assert not {5, 13} & {pair.sketch_patch for pair in correspondences(maps)}


def test_padding_does_not_take_part(planted: Planted) -> None:
    plain = correspondences(pair_maps(*planted(MATCHES, SKETCH, PHOTO)))
    padded = correspondences(pair_maps(*planted(MATCHES, SKETCH, PHOTO, padding=3)))
    assert [(p.sketch_patch, p.photo_patch, p.mutual) for p in padded] == [
        (p.sketch_patch, p.photo_patch, p.mutual) for p in plain
    ]


@pytest.mark.parametrize("padding", [0, 3])
def test_matches_are_read_off_the_kernel_where_it_is_one_of_real_patches(planted: Planted, padding: int) -> None:
    sketch, photos, attention = planted(MATCHES, SKETCH, PHOTO, photos=2, padding=padding)
    kernel = torch.zeros(1, 2, len(SKETCH), len(PHOTO) + padding)
    for row, column in ((0, 2), (3, 1), (5, 4)):
        kernel[0, 1, row, column] = 0.9
    kernel[..., len(PHOTO) :] = 1.0  # padding: it may hold anything
    attention = replace(attention, kernel=kernel)
    ink = np.ones(16, dtype=bool)
    ink[SKETCH[3]] = False
    maps = pair_maps(sketch, photos, attention, ink, photo_index=1)
    found = correspondences(maps)
    assert {(p.sketch_patch, p.photo_patch) for p in found if p.weight > 0.9} == {
        (SKETCH[0], PHOTO[2]),
        (SKETCH[5], PHOTO[4]),
    }
    assert strongest_correspondences(sketch, photos, attention, ink, limit=3)[1] == found[:3]
    rows = [0, 1, 2, 4, 5]
    over = np.exp(10 * kernel[0, 1, rows, : len(PHOTO)].numpy())
    back = np.exp(10 * kernel[0, 1, :, : len(PHOTO)].numpy())
    forward = over / over.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(maps.weights, np.sqrt(forward * (back / back.sum(axis=0))[rows]), rtol=1e-5)
    np.testing.assert_allclose(maps.photo_weights, forward.mean(axis=0), rtol=1e-5)


def test_a_sketch_without_ink_has_no_correspondences(planted: Planted) -> None:
    assert correspondences(pair_maps(*planted(MATCHES, SKETCH, PHOTO), np.zeros(16, dtype=bool))) == []


def test_the_strongest_of_several_photos(planted: Planted) -> None:
    sketch, photos, attention = planted(MATCHES, SKETCH, PHOTO, photos=3)
    found = strongest_correspondences(sketch, photos, attention, limit=2)
    assert [len(pairs) for pairs in found] == [2, 2, 2]
    assert {(p.sketch_patch, p.photo_patch) for p in found[2]} == {(0, 15), (5, 10)}


def maps_of(weights: np.ndarray) -> PairMaps:
    n, m = weights.shape
    weights = weights.astype(np.float32)
    return PairMaps(np.arange(n), np.arange(m), weights, np.arange(n), np.arange(m), weights.mean(axis=0))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_against_a_naive_loop(n: int, m: int, seed: int) -> None:
    numbers = np.random.default_rng(seed)
    weights = numbers.random((n, m))
    importance = numbers.normal(size=m).astype(np.float32)
    found = correspondences(maps_of(weights), importance)
    expected = {}
    for i in range(n):
        for j in range(m):
            best_for_i = all(weights[i, j] >= weights[i, k] for k in range(m))
            best_for_j = all(weights[i, j] >= weights[k, j] for k in range(n))
            if best_for_i or best_for_j:
                share = importance[j] * weights[i, j] / sum(weights[k, j] for k in range(n))
                expected[i, j] = (best_for_i and best_for_j, share)
    assert {(p.sketch_patch, p.photo_patch) for p in found} == set(expected)
    for pair in found:
        mutual, share = expected[pair.sketch_patch, pair.photo_patch]
        assert pair.mutual == mutual
        assert pair.contribution == pytest.approx(share, abs=1e-5)
    keys = [(not p.mutual, -p.weight) for p in found]
    assert keys == sorted(keys)
    assert any(pair.mutual for pair in found), "the largest weight of all is always mutual"


def test_contributions_of_a_column_add_up_to_the_patch_importance() -> None:
    weights = np.array([[0.5, 0.2], [0.5, 0.1], [0.1, 0.9]])
    found = correspondences(maps_of(weights), np.array([2.0, -1.0], dtype=np.float32))
    by_pair = {(p.sketch_patch, p.photo_patch): p.contribution for p in found}
    assert by_pair[0, 0] == pytest.approx(2.0 * 0.5 / 1.1)
    assert by_pair[2, 1] == pytest.approx(-0.9 / 1.2)
