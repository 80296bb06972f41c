"""Groups of near-identical photos against a plain loop, and duplicates of a gallery."""

from __future__ import annotations

import shutil
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index_builder import build_gallery
from index_builder.near_identical import leaders_of
from index_builder.reading.duplicates import find_duplicates
from tests.index_builder.pictures import write_photo


def naive(descriptors, threshold):
    """Each photo joins the earlier leader that it is most like, or leads."""
    units = [one / np.linalg.norm(one) for one in descriptors.astype(np.float64)]
    leaders: list[int] = []
    found: list[int | None] = []
    for place, unit in enumerate(units):
        likest = max(leaders, key=lambda other: (units[other] @ unit, -other), default=None)
        joins = likest is not None and units[likest] @ unit >= threshold
        if not joins:
            leaders.append(place)
        found.append(likest if joins else place)
    return found


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 40),
    kinds=st.integers(1, 8),
    spread=st.floats(0, 0.5),
    block=st.integers(1, 50),
)
def test_groups_are_those_of_a_plain_loop_whatever_the_blocks(seed, count, kinds, spread, block):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(kinds, 6))
    vectors = centres[rng.integers(0, kinds, count)] + spread * rng.normal(size=(count, 6))
    vectors = (vectors * rng.uniform(0.3, 2, (count, 1))).astype(np.float32)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units.T
    threshold = 0.9
    while count and np.abs(cosines - threshold).min() < 1e-5:  # where rounding would decide
        threshold += 3e-5
    with patch("index_builder.near_identical._BLOCK", block):
        assert leaders_of(vectors, threshold).tolist() == naive(vectors, threshold)


def test_every_member_is_near_its_leader_and_chains_do_not_join():
    angles = np.radians(np.arange(0, 60, 8))
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    leaders = leaders_of(vectors, float(np.cos(np.radians(9))))
    assert leaders.tolist() == [0, 0, 2, 2, 4, 4, 6, 6]


def test_many_leaders_are_compared_in_parts(monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    whole = leaders_of(vectors, 0.95)
    monkeypatch.setattr("index_builder.near_identical._LEADERS_AT_ONCE", 7)
    monkeypatch.setattr("index_builder.near_identical._BLOCK", 11)
    assert leaders_of(vectors, 0.95).tolist() == whole.tolist()
    assert 7 < len(set(whole.tolist())) < 60


@pytest.fixture
def twice(photos, tmp_path, network, options):
    """A gallery in which one photo lies three times: a copy in another folder, and one saved at half its size."""
    write_photo(photos / "one.png", seed=50, kind="PNG", size=(96, 64))
    shutil.copy(photos / "one.png", photos / "cat" / "copy.png")
    write_photo(photos / "dog" / "small.png", seed=50, kind="PNG", size=(48, 32))
    build_gallery(photos, tmp_path / "g", network, options=options)
    return tmp_path / "g"


def test_duplicates_of_a_gallery_are_led_by_the_largest(twice):
    count, groups = find_duplicates(twice, threshold=0.999)
    paths = {tuple(photo.path for photo in group.photos): group.same_content for group in groups}
    assert count == 13
    assert any({"one.png", "cat/copy.png"} <= set(found) for found in paths)
    for group in groups:
        pixels = [photo.width * photo.height for photo in group.photos]
        assert pixels == sorted(pixels, reverse=True)
    assert find_duplicates(twice, threshold=1.1) == (13, [])
