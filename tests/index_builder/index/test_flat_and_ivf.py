"""The recall stage against a naive search over the same half-precision values."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from index_builder.index import flat_and_ivf
from index_builder.index.cache_note import Origin
from index_builder.index.candidate_index import Selection
from index_builder.index.flat_and_ivf import RecallIndex, build_index, lists_for
from index_builder.index.opening import open_recall
from index_builder.index.recall_cache import FOLDER
from index_builder.index.settings import RecallSettings
from model.errors import ConfigurationError


def unit(count, size=16, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


ALL_LISTS = RecallSettings(kind="ivf", probes=1.0)


def flat(descriptors):
    return RecallIndex(build_index(descriptors, "flat"), RecallSettings())


def naive(descriptors, query, k, allowed=None):
    """Rows by falling cosine of half-precision descriptors, exact ties by row."""
    scores = descriptors.astype(np.float16).astype(np.float32) @ query
    rows = np.arange(len(descriptors)) if allowed is None else np.flatnonzero(allowed)
    return sorted(rows, key=lambda row: (-scores[row], row))[:k], scores


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 5), st.booleans())
def test_flat_search_is_the_naive_search(count, k, seed, filtered):
    descriptors, queries = unit(count, seed=seed), unit(3, seed=seed + 100)
    allowed = np.random.default_rng(seed).random(count) < 0.3 if filtered else None
    rows, scores = flat(descriptors).search(queries, k, None if allowed is None else Selection(allowed))
    assert rows.shape == scores.shape == (3, k)
    for query, listed, values in zip(queries, rows, scores, strict=True):
        expected, exact = naive(descriptors, query, k, allowed)
        found = listed[: len(expected)]
        np.testing.assert_allclose(values[: len(expected)], exact[expected], atol=1e-5)
        # Two scores may differ only by the order of additions, so rows may swap where scores are as good as equal.
        np.testing.assert_allclose(exact[found], exact[expected], atol=1e-5)
        assert len(set(found.tolist())) == len(expected)
        if allowed is not None:
            assert allowed[found].all()
    possible = count if allowed is None else int(allowed.sum())
    assert (rows[:, possible:] == -1).all()
    assert np.isneginf(scores[:, possible:]).all()
    assert (rows[:, : min(k, possible)] >= 0).all()


@pytest.mark.parametrize("copies", [2, 40, 500])
@pytest.mark.parametrize("k", [1, 7, 60])
def test_exact_ties_are_in_the_order_of_rows(copies, k):
    """Also where the tie is larger than what a search looks at beyond k."""
    different = unit(20)
    descriptors = np.concatenate([different[:10], np.repeat(different[10:11], copies, axis=0), different[11:]])
    rows, scores = flat(descriptors).search(different[10:11], k)
    assert rows[0][: min(k, copies)].tolist() == list(range(10, 10 + min(k, copies)))
    assert (np.diff(scores[0][np.isfinite(scores[0])]) <= 0).all()


@pytest.mark.parametrize("copies", [2, 40, 500])
@pytest.mark.parametrize("k", [1, 7, 60])
def test_exact_ties_are_in_the_order_that_is_asked_for(copies, k):
    different = unit(20)
    descriptors = np.concatenate([different[:10], np.repeat(different[10:11], copies, axis=0), different[11:]])
    ties = np.random.default_rng(copies).permutation(len(descriptors))
    rows, _ = flat(descriptors).search(different[10:11], k, ties=ties)
    tied = sorted(range(10, 10 + copies), key=lambda row: ties[row])
    assert rows[0][: min(k, copies)].tolist() == tied[:k]


def test_one_query_and_many_give_the_same():
    index, queries = flat(unit(500)), unit(8, seed=1)
    together = index.search(queries, 20)
    for number, query in enumerate(queries):
        alone = index.search(query, 20)
        assert alone[0].tolist() == together[0][number : number + 1].tolist()
        np.testing.assert_array_equal(alone[1][0], together[1][number])


def test_nothing_to_find():
    index = flat(np.empty((0, 16), dtype=np.float32))
    rows, scores = index.search(unit(2), 3)
    assert (rows == -1).all()
    assert np.isneginf(scores).all()
    some = flat(unit(4))
    assert (some.search(unit(1), 3, Selection(np.zeros(4, dtype=bool)))[0] == -1).all()
    assert some.search(unit(1), 0)[0].shape == (1, 0)
    with pytest.raises(ValueError, match="one entry per photo"):
        some.search(unit(1), 3, Selection(np.ones(5, dtype=bool)))


def test_scores_never_exceed_one():
    descriptors = unit(200, seed=3)
    _, scores = flat(descriptors).search(descriptors, 1)
    assert scores.max() <= 1.0
    assert scores.min() > 0.99


def clustered(count, seed=0):
    centres = unit(30, seed=seed)
    rng = np.random.default_rng(seed)
    values = centres[rng.integers(0, 30, count)] + 0.3 * unit(count, seed=seed + 1)
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def test_ivf_finds_nearly_what_flat_finds_and_all_of_it_with_all_lists():
    descriptors, queries = clustered(4000), clustered(50, seed=0)
    exact, _ = flat(descriptors).search(queries, 20)
    index = build_index(descriptors, "ivf")
    assert index.nlist == lists_for(4000) > 10
    some, _ = RecallIndex(index, RecallSettings(probes=0.2)).search(queries, 20)
    shared = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(exact, some, strict=True)])
    assert shared > 0.9
    every, _ = RecallIndex(index, RecallSettings(probes=1.0)).search(queries, 20)
    assert np.mean([len(set(a) & set(b)) / 20 for a, b in zip(exact, every, strict=True)]) > 0.99


def test_a_filter_finds_as_many_with_ivf():
    descriptors = clustered(4000)
    allowed = np.zeros(4000, dtype=bool)
    allowed[::97] = True
    index = RecallIndex(build_index(descriptors, "ivf"), RecallSettings(probes=0.05))
    rows, _ = index.search(clustered(10, seed=5), 30, Selection(allowed))
    assert (rows >= 0).all()
    assert allowed[rows].all()


def test_which_kind_is_taken():
    settings = RecallSettings(ivf_from=100)
    assert settings.kind_for(99) == "flat"
    assert settings.kind_for(100) == "ivf"
    assert RecallSettings(kind="flat", ivf_from=1).kind_for(500) == "flat"
    assert RecallSettings(kind="ivf").kind_for(500) == "ivf"
    assert RecallSettings(kind="ivf").kind_for(0) == "flat"
    with pytest.raises(ConfigurationError):
        RecallSettings(threads=0)
    with pytest.raises(ConfigurationError):
        RecallSettings(probes=0)


def test_threads_share_one_index():
    index, queries = flat(unit(2000)), unit(16, seed=9)
    expected = index.search(queries, 10)[0].tolist()
    masks = [np.arange(2000) % 3 == i for i in range(3)]
    wrong = []

    def work(number):
        for _ in range(20):
            if index.search(queries, 10)[0].tolist() != expected:
                wrong.append("rows")
            if not masks[number % 3][index.search(queries, 10, Selection(masks[number % 3]))[0]].all():
                wrong.append("filter")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_cache_is_used_when_sound_and_rebuilt_when_stale(tmp_path):
    descriptors, reads = unit(300), []

    def read():
        reads.append(1)
        return descriptors

    def get(version, source):
        return open_recall(tmp_path, Origin(version, source), settings=ALL_LISTS, photos=300, read=read)

    _, cached = get("1.1", "a")
    assert not cached
    index, cached = get("1.1", "a")
    assert cached
    assert index.search(descriptors[:5], 1)[0][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert not get("1.1", "b")[1]  # another manifest under the same name: a gallery that was made anew
    assert not get("1.2", "c")[1]
    assert len(reads) == 3
    assert sorted(p.suffix for p in (tmp_path / FOLDER).iterdir()) == [".faiss", ".json"]  # older versions are dropped


def test_a_flat_index_is_made_and_never_stored(tmp_path):
    index, cached = open_recall(
        tmp_path, Origin("1.1", "a"), settings=RecallSettings(), photos=300, read=lambda: unit(300)
    )
    assert (index.kind, len(index), cached) == ("flat", 300, False)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, caplog):
    (tmp_path / FOLDER).write_text("in the way")
    index, cached = open_recall(tmp_path, Origin("1.1", "a"), settings=ALL_LISTS, photos=40, read=lambda: unit(40))
    assert not cached
    assert len(index) == 40
    assert "could not be written" in caplog.text


def test_torch_keeps_its_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        flat(unit(100)).search(unit(2), 5)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_ivf_lists_are_taken_over_from_an_earlier_version(tmp_path, monkeypatch):
    """Training takes minutes for millions of photos; a commit of a few must not."""
    trainings = []
    real = flat_and_ivf._trained

    def train(*arguments):
        trainings.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(flat_and_ivf, "_trained", train)
    descriptors = clustered(3000)

    def get(version, count, checkpoint="c"):
        origin = Origin(version, version, checkpoint)
        return open_recall(tmp_path, origin, settings=ALL_LISTS, photos=count, read=lambda: descriptors[:count])[0]

    for version, count in (("1.1", 2900), ("1.2", 3000), ("1.3", 2000)):
        index = get(version, count)
        assert len(index) == count
        rows, _ = index.search(descriptors[5:6], 1)
        assert rows.tolist() == [[5]]
    assert len(trainings) == 1
    get("1.4", 300)  # too few for so many lists
    assert len(trainings) == 2
    get("1.5", 310)
    assert len(trainings) == 2
    get("2.1", 310)  # encoded anew
    get("2.2", 310, "d")  # by another checkpoint
    assert len(trainings) == 4
