"""Recall by hash codes against a naive search over the same codes and half-precision descriptors."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index_builder.index import hash_codes
from index_builder.index.hash_cache import open_recall
from index_builder.index.hash_codes import HashIndex, encode_all, fit_hasher, learnt_hasher
from index_builder.index.recall import RecallIndex, RecallSettings, load_faiss
from index_builder.index.recall_cache import FOLDER, Origin, store
from index_builder.store.checksums import read_json, write_json
from index_builder.store.locks import STORING_NAME
from model.errors import ConfigurationError


def unit(count, size=32, seed=0):
    """Unit vectors around a few centres, most of their spread in few directions."""
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(99)
    centres = fixed.normal(size=(12, size)) @ np.diag(1 / np.sqrt(1 + np.arange(size)))
    values = centres[rng.integers(0, 12, count)] + 0.3 * rng.normal(size=(count, size)) + 0.2
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def index_of(descriptors, bits=32, **changes):
    hasher = fit_hasher(descriptors, bits)
    return HashIndex(
        hasher, encode_all(hasher, descriptors), descriptors.astype(np.float16), RecallSettings(kind="hash", **changes)
    )


def naive(index, descriptors, query, *, k, shortlist, allowed=None):
    """Rows by falling exact cosine among the photos whose codes differ least; None where the cut is a tie."""
    code = np.unpackbits(index.hasher.codes(query[None]))
    codes = np.unpackbits(index.hasher.codes(descriptors), axis=1)
    rows = np.arange(len(descriptors)) if allowed is None else np.flatnonzero(allowed)
    differing = [int((codes[row] != code).sum()) for row in rows]
    wanted = max(k, shortlist)
    order = np.argsort(differing, kind="stable")
    if len(rows) > wanted and differing[order[wanted - 1]] == differing[order[wanted]]:
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
    rows, scores = index.search(queries, k, allowed)
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


def test_equal_photos_are_in_the_order_of_rows():
    descriptors = np.repeat(unit(1), 60, axis=0)
    rows, _ = index_of(descriptors).search(descriptors[:1], 10)
    assert rows[0].tolist() == list(range(10))


def test_nothing_to_find():
    index = index_of(unit(50))
    rows, scores = index.search(unit(2), 3, np.zeros(50, dtype=bool))
    assert (rows == -1).all()
    assert np.isneginf(scores).all()
    assert index.search(unit(2), 0)[0].shape == (2, 0)
    with pytest.raises(ValueError, match="one entry per photo"):
        index.search(unit(1), 3, np.ones(51, dtype=bool))
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


# --- on disk


HASH = RecallSettings(kind="hash", hash_bits=32, shortlist=50)


def opened(folder, version, descriptors, settings=HASH, learnt=None, *, source="s", checkpoint="c"):
    asked = []

    def read():
        asked.append(version)
        return descriptors

    index, cached = open_recall(
        folder,
        Origin(version, source, checkpoint),
        settings=settings,
        photos=len(descriptors),
        read=read,
        learnt=learnt,
    )
    assert cached == (not asked)
    return index, cached


def test_codes_are_kept_and_exact_descriptors_stay_on_disk(tmp_path):
    descriptors = unit(300)
    first, cached = opened(tmp_path, "1", descriptors)
    assert not cached
    again, cached = opened(tmp_path, "1", descriptors)
    assert cached
    for index in (first, again):
        assert isinstance(index, HashIndex)
        assert isinstance(index._exact, np.memmap)
        assert (index.kind, index.device, len(index)) == ("hash of 32 bits (itq)", "cpu", 300)
    queries = unit(3, seed=5)
    np.testing.assert_array_equal(first.search(queries, 9)[0], again.search(queries, 9)[0])
    np.testing.assert_array_equal(again.descriptors(np.array([5, 2])), descriptors[[5, 2]].astype(np.float16))
    assert {path.suffix for path in (tmp_path / FOLDER).iterdir()} == {".json", ".safetensors", ".npy"}


def digest_of(*arguments, **changes):
    index, cached = opened(*arguments, **changes)
    assert not cached
    assert isinstance(index, HashIndex)
    return index.hasher.digest


def test_another_version_takes_the_fitted_matrix_over(tmp_path):
    first = digest_of(tmp_path, "1.1", unit(300))
    assert digest_of(tmp_path, "1.2", unit(310, seed=3)) == first
    assert not list((tmp_path / FOLDER).glob("1.1-*")), "the earlier version's files are gone"
    other, _ = opened(tmp_path, "1.3", unit(310, seed=3), RecallSettings(kind="hash", hash_bits=16))
    assert isinstance(other, HashIndex)
    assert other.hasher.bits == 16
    flat, _ = opened(tmp_path, "1.3", unit(310, seed=3), RecallSettings(kind="flat"))
    assert isinstance(flat, RecallIndex)


@pytest.mark.parametrize(("photos", "taken"), [(151, True), (599, True), (600, False), (150, False)])
def test_a_matrix_is_fitted_anew_where_the_gallery_has_outgrown_it(tmp_path, photos, taken):
    first = digest_of(tmp_path, "1.1", unit(300))
    second = digest_of(tmp_path, "1.2", unit(photos, seed=3))
    assert (second == first) == taken
    if not taken:
        assert second == fit_hasher(unit(photos, seed=3), 32).digest


def test_small_steps_outgrow_it_as_one_large_one_does(tmp_path):
    """What counts is what it was fitted on, however many versions have taken it over."""
    digests = [digest_of(tmp_path, f"1.{count}", unit(count, seed=count)) for count in (100, 140, 180, 220, 260)]
    assert digests[0] == digests[1] == digests[2]
    assert digests[3] == digests[4] != digests[0]
    (note,) = (tmp_path / FOLDER).glob("*.json")
    fit = json.loads(note.read_text())["more"]["fit"]
    assert fit == {"photos": 220, "version": "1.220", "checkpoint": "c"}
    assert opened(tmp_path, "1.260", unit(260, seed=260))[1]


@pytest.mark.parametrize(
    ("version", "checkpoint"), [("1.2", "d"), ("2.1", "c"), ("1.2", "")], ids=["checkpoint", "generation", "unsaved"]
)
def test_a_matrix_of_other_descriptors_is_not_taken_over(tmp_path, version, checkpoint):
    """A rebuild encodes everything anew, and weights that were never saved cannot be told apart."""
    first = digest_of(tmp_path, "1.1", unit(300), checkpoint=checkpoint and "c")
    assert digest_of(tmp_path, version, unit(300, seed=3), checkpoint=checkpoint) != first


@pytest.mark.parametrize("version", ["1.1", "1.2"])
@pytest.mark.parametrize("fit", [{"photos": 300}, {"photos": 300, "version": "1.1", "checkpoint": "c", "new": 1}, []])
def test_a_cache_that_does_not_say_what_it_was_fitted_on_is_built_again(tmp_path, version, fit):
    opened(tmp_path, "1.1", unit(300))
    (path,) = (tmp_path / FOLDER).glob("*.json")
    values = read_json(path)
    write_json(path, {**values, "more": {**values["more"], "fit": fit}})
    assert digest_of(tmp_path, version, unit(300, seed=3)) == fit_hasher(unit(300, seed=3), 32).digest


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_a_note_of_another_format_is_replaced(tmp_path, version):
    opened(tmp_path, "1.1", unit(300))
    (path,) = (tmp_path / FOLDER).glob("*.json")
    values = read_json(path)
    write_json(path, {"files": list(values["files"]), "sha256": list(values["files"].values()), "source": "s",
                      "hasher": "itq 32"})  # fmt: skip
    assert digest_of(tmp_path, version, unit(300, seed=3)) == fit_hasher(unit(300, seed=3), 32).digest


def test_kinds_of_one_version_do_not_delete_each_other(tmp_path):
    """A service may search by codes what a command searches flat."""
    descriptors, flat = unit(300), RecallSettings(kind="flat")
    opened(tmp_path, "1.1", descriptors)
    opened(tmp_path, "1.1", descriptors, flat)
    assert opened(tmp_path, "1.1", descriptors)[1]
    assert opened(tmp_path, "1.1", descriptors, flat)[1]
    opened(tmp_path, "1.1", descriptors, RecallSettings(kind="hash", hash_bits=16))
    assert opened(tmp_path, "1.1", descriptors, flat)[1]
    assert len(list((tmp_path / FOLDER).iterdir())) == 5, "two notes and three files: other codes replace the first"
    other = unit(300, seed=3)
    opened(tmp_path, "1.2", other, flat)
    names = {path.name.split("-")[0] for path in (tmp_path / FOLDER).glob("*.faiss")}
    assert names == {"1.2"}, "nothing is taken over from a flat index"
    opened(tmp_path, "2.1", other, flat)
    assert {path.name.split("-")[0] for path in (tmp_path / FOLDER).iterdir()} == {"2.1"}


def test_a_fitted_matrix_outlives_another_kind_of_the_next_version(tmp_path):
    first = digest_of(tmp_path, "1.1", unit(300))
    opened(tmp_path, "1.2", unit(310, seed=3), RecallSettings(kind="flat"))
    assert digest_of(tmp_path, "1.2", unit(310, seed=3)) == first
    assert not list((tmp_path / FOLDER).glob("1.1-*"))


def test_two_who_store_at_once_leave_each_other_s_files(tmp_path):
    """One has written its files and not yet their note when the other tidies."""
    flat, folder = RecallSettings(kind="flat"), tmp_path / FOLDER
    inside = []

    def beside(path):
        path.write_bytes(b"codes")
        inside.append(opened(tmp_path, "1.1", unit(300), flat)[1])

    note = store(folder, Origin("1.1", "s", "c"), "hash", {".first": beside, ".second": beside})
    assert inside == [False, True]
    for suffix in (".first", ".second"):
        assert note.file(suffix).read_bytes() == b"codes"
    assert opened(tmp_path, "1.1", unit(300), flat)[1]


def test_leftovers_of_killed_writers_go_when_nobody_else_is_storing(tmp_path):
    folder = tmp_path / FOLDER
    folder.mkdir()
    names = ["1.1-flat-0.faiss", "1.1-flat-1.faiss.tmp", "1.1-flat.json.7.tmp"]
    for name in names:
        (folder / name).write_bytes(b"")

    def beside(path):
        path.write_bytes(b"codes")
        opened(tmp_path, "1.2", unit(300), RecallSettings(kind="flat"))
        assert all((folder / name).exists() for name in names), "any of them may be of whoever is storing"

    store(folder, Origin("1.2", "s", "c"), "hash", {".codes": beside})
    assert {path.name.split("-")[0] for path in folder.iterdir()} == {"1.2"}


def test_leftovers_go_also_where_nothing_has_to_be_stored(tmp_path):
    """A writer may be killed when its note is there and what it replaced is not gone yet."""
    flat, folder = RecallSettings(kind="flat"), tmp_path / FOLDER
    opened(tmp_path, "1.1", unit(300), flat)
    (folder / "1.1-flat-1.faiss.tmp").write_bytes(b"")
    (folder / "1.2-hash.json").write_text("of another release")
    (folder / "1.2-hash-1.npy").write_bytes(b"")
    (folder / "@eaDir").mkdir()
    assert opened(tmp_path, "1.1", unit(300), flat)[1]
    names = {path.name for path in folder.iterdir()}
    assert {"1.2-hash.json", "1.2-hash-1.npy", "@eaDir", "1.1-flat.json"} < names
    assert len(names) == 5
    opened(tmp_path, "1.1", unit(300), HASH)
    assert "1.2-hash.json" not in {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("lacking", ["lock", "upgrade", "file"])
def test_where_nothing_can_be_locked_the_cache_works_and_leftovers_stay(tmp_path, monkeypatch, caplog, lacking):
    def flock(_handle, operation):
        if lacking == "lock" or operation & fcntl.LOCK_EX:
            raise OSError(errno.ENOLCK, "no locks")

    if lacking == "file":
        (tmp_path / STORING_NAME).mkdir()
    else:
        monkeypatch.setattr("fcntl.flock", flock)
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "1.1-flat-1.faiss.tmp").write_bytes(b"")
    for version in ("1.1", "1.2"):
        assert not opened(tmp_path, version, unit(300))[1]
        assert opened(tmp_path, version, unit(300))[1]
    assert {path.name.split("-")[0] for path in folder.iterdir()} == {"1.2", "1.1"}
    assert not list(folder.glob("1.1-hash*")), "what a note names is told apart without a lock"
    assert not caplog.records


def test_whoever_is_late_with_an_earlier_version_leaves_the_later_one(tmp_path):
    flat = RecallSettings(kind="flat")
    for one in (flat, HASH):
        opened(tmp_path, "1.10", unit(310), one, source="t")
    for one in (flat, HASH):
        opened(tmp_path, "1.9", unit(300), one)
    for one in (flat, HASH):
        assert opened(tmp_path, "1.10", unit(310), one, source="t")[1]
        opened(tmp_path, "1.11", unit(320), one, source="u")
    assert {path.name.split("-")[0] for path in (tmp_path / FOLDER).iterdir()} == {"1.11"}


def test_another_gallery_under_the_same_version_is_not_kept(tmp_path):
    opened(tmp_path, "1.1", unit(300), checkpoint="c")
    opened(tmp_path, "1.1", unit(300), RecallSettings(kind="flat"), source="t", checkpoint="d")
    assert not list((tmp_path / FOLDER).glob("*-hash*"))


@pytest.mark.parametrize("suffix", ["codes.safetensors", "exact.npy", "json"])
@pytest.mark.parametrize("harm", ["damaged", "gone"])
def test_what_is_damaged_or_gone_is_built_again(tmp_path, suffix, harm, caplog):
    opened(tmp_path, "1", unit(300))
    (path,) = (tmp_path / FOLDER).glob(f"*{suffix}")
    if harm == "gone":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[-2] ^= 255
        path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        index, cached = opened(tmp_path, "1", unit(300))
    assert not cached
    assert (index.search(unit(1), 3)[0] >= 0).all()
    assert opened(tmp_path, "1", unit(300))[1]


def test_another_user_may_serve_what_one_has_made(tmp_path):
    opened(tmp_path, "1", unit(300))
    plain = tmp_path / "plain"
    plain.touch()
    assert {path.stat().st_mode for path in (tmp_path / FOLDER).iterdir()} == {plain.stat().st_mode}


def test_another_manifest_makes_it_stale(tmp_path):
    opened(tmp_path, "1", unit(300))
    assert not opened(tmp_path, "1", unit(300), source="t")[1]


def test_learnt_codes_are_the_networks(tmp_path):
    matrix = np.random.default_rng(0).normal(size=(16, 32)).astype(np.float32)
    index, _ = opened(tmp_path, "1", unit(300), learnt=matrix)
    assert isinstance(index, HashIndex)
    assert index.kind == "hash of 16 bits (learnt)"
    np.testing.assert_array_equal(index.hasher.matrix, matrix)
    assert opened(tmp_path, "1", unit(300), learnt=matrix)[1]
    assert not opened(tmp_path, "1", unit(300), learnt=2 * matrix + 1)[1], "another network, other codes"
    itq, _ = opened(tmp_path, "1", unit(300), RecallSettings(kind="hash", hash_source="itq"), matrix)
    assert isinstance(itq, HashIndex)
    assert itq.hasher.origin == "itq"
    required = RecallSettings(kind="hash", hash_source="learnt", hash_bits=HASH.hash_bits)
    opened(tmp_path, "3", unit(300))
    with pytest.raises(ConfigurationError, match="no learnt hash codes"):
        opened(tmp_path, "3", unit(300), required)  # fitted ones are in the cache
    with pytest.raises(ConfigurationError, match="no learnt hash codes"):
        opened(tmp_path, "2", unit(300), RecallSettings(kind="hash", hash_source="learnt"))
    assert learnt_hasher(matrix).bits == 16


def test_a_full_disk_costs_the_cache_alone(tmp_path, monkeypatch, caplog):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("index_builder.index.hash_cache.save", full)
    index, cached = opened(tmp_path, "1", unit(300))
    assert not cached
    assert (index.search(unit(1), 3)[0] >= 0).all()
    assert "could not be written" in caplog.text
    assert not list((tmp_path / FOLDER).iterdir())


def test_a_gpu_is_asked_unless_a_filter_or_a_deep_search_needs_the_cpu(monkeypatch):
    real = load_faiss()
    asked = []

    class OnGpu:
        def __init__(self, resources, index):
            assert resources == "resources"
            self.index = index

        def search(self, codes, k):
            asked.append(k)
            return self.index.search(codes, k)

    fake = SimpleNamespace(
        **{name: getattr(real, name) for name in ("IndexBinaryFlat", "IDSelectorBitmap", "SearchParameters")},
        ITQMatrix=real.ITQMatrix,
        vector_to_array=real.vector_to_array,
        omp_get_max_threads=real.omp_get_max_threads,
        omp_set_num_threads=real.omp_set_num_threads,
        get_num_gpus=lambda: 1,
        StandardGpuResources=lambda: "resources",
        GpuIndexBinaryFlat=OnGpu,
    )
    monkeypatch.setattr(hash_codes, "load_faiss", lambda: fake)
    descriptors = unit(3000)
    index = index_of(descriptors, shortlist=50)
    assert index.device == "1 gpu"
    on_gpu = index.search(unit(2, seed=1), 5)[0]
    assert asked == [50]
    index.search(unit(1), 5, np.ones(3000, dtype=bool))
    index.search(unit(1), 2500)
    assert asked == [50]
    assert index_of(descriptors, gpu="off").device == "cpu"
    monkeypatch.setattr(hash_codes, "load_faiss", lambda: real)
    np.testing.assert_array_equal(index_of(descriptors, shortlist=50).search(unit(2, seed=1), 5)[0], on_gpu)
