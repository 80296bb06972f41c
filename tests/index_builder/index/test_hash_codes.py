"""Recall by hash codes against a naive search over the same codes and half-precision descriptors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index_builder.index.candidate_index import Selection
from index_builder.index.hash_codes import HashIndex, encode_all, fit_hasher
from index_builder.index.settings import RecallSettings
from model.errors import ConfigurationError
from tests.index_builder.index.caches import unit


def index_of(descriptors, bits=32, **changes):
    hasher = fit_hasher(descriptors, bits)
    return HashIndex(
        hasher, encode_all(hasher, descriptors), descriptors.astype(np.float16), RecallSettings(kind="hash", **changes)
    )


def naive(index, descriptors, query, *, k, shortlist, allowed=None):
    """Rows by falling exact cosine among the photos whose codes differ least; None where too many tie at the cut."""
    code = np.unpackbits(index.hasher.codes(query[None]))
    codes = np.unpackbits(index.hasher.codes(descriptors), axis=1)
    rows = np.arange(len(descriptors)) if allowed is None else np.flatnonzero(allowed)
    differing = [int((codes[row] != code).sum()) for row in rows]
    wanted = max(k, shortlist)
    order = np.argsort(differing, kind="stable")
    beyond = wanted + max(wanted // 4, 16)
    if len(rows) > beyond and differing[order[wanted - 1]] == differing[order[beyond - 1]]:
        return None
    near = rows[order[:wanted]]
    exact = descriptors.astype(np.float16).astype(np.float32)[near] @ query
    return near[np.lexsort((near, -exact))][:k]


@settings(max_examples=25, deadline=None)
@given(st.integers(50, 300), st.integers(1, 30), st.integers(1, 60), st.integers(0, 5), st.booleans())
def test_search_is_the_naive_search(count, k, shortlist, seed, filtered):
    descriptors, queries = unit(count, seed=seed), unit(6, seed=seed + 100)
    allowed = np.random.default_rng(seed).random(count) < 0.4 if filtered else None
    index = index_of(descriptors, shortlist=shortlist)
    rows, scores = index.search(queries, k, None if allowed is None else Selection(allowed))
    assert rows.shape == scores.shape == (6, k)
    possible = count if allowed is None else int(allowed.sum())
    for query, found, values in zip(queries, rows, scores, strict=True):
        expected = naive(index, descriptors, query, k=k, shortlist=shortlist, allowed=allowed)
        real = found[found >= 0]
        assert len(real) == min(k, possible)
        if expected is not None:
            np.testing.assert_array_equal(real, expected)
        exact = descriptors.astype(np.float16).astype(np.float32)[real] @ query
        np.testing.assert_allclose(values[: len(real)], np.minimum(exact, 1), atol=1e-5)
        assert (np.diff(values[: len(real)]) <= 0).all()
        assert np.isneginf(values[len(real) :]).all()
        if allowed is not None:
            assert allowed[real].all()


def test_codes_are_signs_of_the_matrix():
    descriptors = unit(100)
    hasher = fit_hasher(descriptors, 16)
    codes = hasher.codes(descriptors)
    assert codes.shape == (100, 2)
    for row in (0, 17):
        for bit in range(16):
            value = float(hasher.matrix[bit] @ (descriptors[row] - hasher.centre))
            assert ((codes[row, bit // 8] >> (bit % 8)) & 1) == (value >= 0)
    np.testing.assert_array_equal(encode_all(hasher, descriptors), codes)


def test_fitting_turns_leading_directions_and_is_reproducible():
    descriptors = unit(3000)
    hasher, again = fit_hasher(descriptors, 16), fit_hasher(descriptors, 16)
    np.testing.assert_allclose(hasher.matrix @ hasher.matrix.T, np.eye(16), atol=1e-4)
    assert hasher.digest == again.digest
    assert hasher.origin == "itq"
    # It quantises better than the leading directions without the rotation do.
    centred = descriptors - hasher.centre
    _, directions = np.linalg.eigh(centred.T @ centred)
    plain = centred @ directions[:, ::-1][:, :16]
    turned = centred @ hasher.matrix.T

    def error(values):
        scale = np.abs(values).mean()
        return float(((values - scale * np.sign(values)) ** 2).mean())

    assert error(turned) < error(plain)


def test_more_bits_find_more():
    descriptors, queries = unit(3000), unit(40, seed=7)
    exact = np.argsort(-(queries @ descriptors.T), axis=1)[:, :20]
    shares = []
    for bits in (8, 16, 32):
        rows, _ = index_of(descriptors, bits, shortlist=100).search(queries, 100)
        shares.append(np.mean([len(set(a) & set(b)) / 20 for a, b in zip(exact, rows, strict=True)]))
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.65


def test_no_more_bits_than_numbers():
    assert fit_hasher(unit(100, 20), 256).bits == 16
    with pytest.raises(ConfigurationError, match="too short for hash codes"):
        fit_hasher(unit(50, 6), 256)


def test_without_a_shortlist_the_codes_alone_decide():
    descriptors = unit(200)
    index = index_of(descriptors, shortlist=0)
    rows, scores = index.search(unit(1, seed=4), 20)
    assert len(set(rows[0].tolist())) == 20
    code = np.unpackbits(index.hasher.codes(unit(1, seed=4)))
    differing = (np.unpackbits(index.hasher.codes(descriptors), axis=1) != code).sum(axis=1)
    assert sorted(differing)[:20] == sorted(differing[rows[0]])
    np.testing.assert_allclose(scores[0], np.cos(np.pi * differing[rows[0]] / 32), atol=1e-6)
    for one, other in zip(rows[0], rows[0][1:], strict=False):
        assert (differing[one], one) < (differing[other], other), "ties in the order of rows"


def test_codes_that_tie_at_the_end_of_the_shortlist_are_taken_in_order(monkeypatch):
    """Whatever the order in which FAISS gives them."""
    descriptors, queries = unit(3000), unit(20, seed=5)
    index = index_of(descriptors, 16, shortlist=200)
    ties = np.random.default_rng(3).permutation(3000)
    expected = index.search(queries, 30, ties=ties)
    nearest = index._nearest

    def turned(codes, k, asked):
        differing, rows = nearest(codes, 3000, asked)
        order = np.lexsort((-rows, differing), axis=1)[:, :k]
        return np.take_along_axis(differing, order, axis=1), np.take_along_axis(rows, order, axis=1)

    monkeypatch.setattr(index, "_nearest", turned)
    for found, wanted in zip(index.search(queries, 30, ties=ties), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_equal_photos_are_in_the_order_of_rows():
    descriptors = np.repeat(unit(1), 60, axis=0)
    rows, _ = index_of(descriptors).search(descriptors[:1], 10)
    assert rows[0].tolist() == list(range(10))


def test_nothing_to_find():
    index = index_of(unit(50))
    rows, scores = index.search(unit(2), 3, Selection(np.zeros(50, dtype=bool)))
    assert (rows == -1).all()
    assert np.isneginf(scores).all()
    assert index.search(unit(2), 0)[0].shape == (2, 0)
    with pytest.raises(ValueError, match="one entry per photo"):
        index.search(unit(1), 3, Selection(np.ones(51, dtype=bool)))
    hasher = index.hasher
    empty = HashIndex(hasher, encode_all(hasher, unit(0)), unit(0).astype(np.float16), RecallSettings())
    assert len(empty) == 0
    assert (empty.search(unit(1), 2)[0] == -1).all()


def test_small_galleries_are_searched_flat():
    assert RecallSettings(kind="hash").kind_for(39) == "flat"
    assert RecallSettings(kind="hash").kind_for(40) == "hash"
    assert RecallSettings().kind_for(10**9) == "ivf", "hash is chosen by hand"


@pytest.mark.parametrize("changes", [{"hash_bits": 12}, {"hash_bits": 0}, {"shortlist": -1}])
def test_settings_that_cannot_work_are_refused(changes):
    with pytest.raises(ConfigurationError, match="hash codes"):
        RecallSettings(**changes)
