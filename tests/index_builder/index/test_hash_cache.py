"""Hash codes on disk: kept, taken over by later versions, and made again where they are not what was written."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from index_builder.index.flat_and_ivf import RecallIndex
from index_builder.index.hash_codes import HashIndex, fit_hasher, learnt_hasher
from index_builder.index.recall_cache import FOLDER
from index_builder.index.settings import RecallSettings
from index_builder.store.checksums import read_json, write_json
from model.errors import ConfigurationError
from tests.index_builder.index.caches import HASH, IVF, digest_of, opened, unit


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


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells how a file is mapped")
def test_exact_descriptors_are_not_read_ahead(tmp_path):
    for cached_before in (False, True):
        index, cached = opened(tmp_path, "1", unit(300))
        assert cached == cached_before
        told = Path("/proc/self/smaps").read_text().split(".exact.npy\n", 1)[1]
        flags = next(line for line in told.splitlines() if line.startswith("VmFlags:"))
        assert " rr" in flags
        del index


def test_another_version_takes_the_fitted_matrix_over(tmp_path):
    first = digest_of(tmp_path, "1.1", unit(300))
    assert digest_of(tmp_path, "1.2", unit(310, seed=3)) == first
    assert not list((tmp_path / FOLDER).glob("1.1-*")), "the earlier version's files are gone"
    other, _ = opened(tmp_path, "1.3", unit(310, seed=3), RecallSettings(kind="hash", hash_bits=16))
    assert isinstance(other, HashIndex)
    assert other.hasher.bits == 16
    ivf, _ = opened(tmp_path, "1.3", unit(310, seed=3), IVF)
    assert isinstance(ivf, RecallIndex)


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


def test_a_fitted_matrix_outlives_another_kind_of_the_next_version(tmp_path):
    first = digest_of(tmp_path, "1.1", unit(300))
    opened(tmp_path, "1.2", unit(310, seed=3), IVF)
    assert digest_of(tmp_path, "1.2", unit(310, seed=3)) == first
    assert not list((tmp_path / FOLDER).glob("1.1-*"))


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

    monkeypatch.setattr("index_builder.index.hash_cache.save_file", full)
    index, cached = opened(tmp_path, "1", unit(300))
    assert not cached
    assert (index.search(unit(1), 3)[0] >= 0).all()
    assert "could not be written" in caplog.text
    assert not list((tmp_path / FOLDER).iterdir())
