"""A flipped or missing byte anywhere in a gallery is found and its file named."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index_builder import (
    Gallery,
    GallerySnapshot,
    build_gallery,
    remove_photos,
    sync_gallery,
    verify_gallery,
)
from index_builder.gallery_errors import GalleryDamagedError
from index_builder.index.cache_note import Origin
from index_builder.index.opening import open_recall
from index_builder.index.settings import RecallSettings
from index_builder.store import checksums
from index_builder.store.checksums import HINT, read_json, write_json
from index_builder.store.layout import referenced_files
from index_builder.store.locks import CACHE_LOCK_NAME, LOCK_NAME
from tests.index_builder.pictures import write_photo


@pytest.fixture
def gallery(tmp_path, photos, network, options):
    """Several commits and a deletion file."""
    path = tmp_path / "gallery"
    build_gallery(photos, path, network, options=options)
    snapshot = GallerySnapshot.load(path, network.identity)
    remove_photos(path, [snapshot.photo(0).photo_id])
    write_photo(photos / "dog" / "0.jpg", seed=77)
    sync_gallery(path, network, options=options)
    assert verify_gallery(path).whole
    return path


def cached(gallery, network, kind):
    """Keep an index of a kind in the gallery's recall cache, of more photos than it has."""
    descriptors = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
    origin = Origin(GallerySnapshot.load(gallery, network.identity).version, "s", "c")
    return open_recall(
        gallery, origin, settings=RecallSettings(kind=kind, hash_bits=8), photos=60, read=lambda: descriptors
    )


def files_of(gallery):
    return sorted(p for p in gallery.rglob("*") if p.is_file() and p.name not in (LOCK_NAME, CACHE_LOCK_NAME))


def flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]


def opened(gallery, network):
    """The snapshot, or None and the files that the error names."""
    try:
        return GallerySnapshot.load(gallery, network.identity), []
    except GalleryDamagedError as error:
        return None, list(error.files)


DAMAGE = {
    "first byte": lambda data: flip(data, 0),
    "middle byte": lambda data: flip(data, len(data) // 2),
    "last byte": lambda data: flip(data, len(data) - 1),
    "half": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_of_any_file_is_found_and_named(gallery, tmp_path, network, kind):
    kinds = {path.parent.name for path in files_of(gallery)}
    assert kinds == {"gallery", "data", "_versions", "_transactions", "_deletions"}
    expected = GallerySnapshot.load(gallery, network.identity)
    query = expected.descriptors([3])
    for path in files_of(gallery):
        name = path.relative_to(gallery).as_posix()
        damaged = tmp_path / "damaged"
        shutil.copytree(gallery, damaged)
        (damaged / name).write_bytes(DAMAGE[kind](path.read_bytes()))
        named = [problem.where for problem in verify_gallery(damaged, sample=0).problems]
        assert any(name in where for where in named), (name, named)
        if path.parent.name in ("gallery", "_versions", "_deletions", "data"):
            # Checked at every opening: the right answer or a typed error that names the file, never a wrong answer.
            snapshot, named = opened(damaged, network)
            if snapshot is None:
                assert any(name in file for file in named)
            else:
                assert snapshot.version == expected.version
                assert snapshot.recall(query, 5)[0].tolist() == expected.recall(query, 5)[0].tolist()
        shutil.rmtree(damaged)


@pytest.mark.parametrize(("kind", "count"), [("ivf", 2), ("hash", 3)])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_of_the_recall_cache_is_found_named_and_mended(gallery, network, kind, count, damage):
    made, _ = cached(gallery, network, kind)
    assert made.kind.startswith(kind)
    assert verify_gallery(gallery, sample=0).whole
    files = sorted((gallery / "recall").glob(f"*-{kind}*"))
    assert len(files) == count
    for path in files:
        content = path.read_bytes()
        path.write_bytes(DAMAGE[damage](content))
        report = verify_gallery(gallery, sample=0)
        assert [problem.where for problem in report.problems] == [f"recall/{path.name}"]
        assert not report.notes, "a file whose note is damaged is no leftover"
        path.write_bytes(content)
    assert verify_gallery(gallery, sample=0).whole
    files[0].write_bytes(DAMAGE[damage](content))
    again, was_cached = cached(gallery, network, kind)
    query = again.descriptors(np.array([3]))
    assert not was_cached
    assert again.search(query, 5)[0].tolist() == made.search(query, 5)[0].tolist()
    assert verify_gallery(gallery, sample=0).whole


@pytest.mark.parametrize("change", [{"file": "x", "sha256": ""}, {"kind": "flat"}], ids=["format", "kind"])
def test_a_note_that_another_release_wrote_is_no_damage(gallery, network, change):
    """It stays until the next start makes it again, and nobody restores a backup for that."""
    cached(gallery, network, "ivf")
    (note,) = (gallery / "recall").glob("*-ivf.json")
    values = read_json(note)
    write_json(note, {**values, **change} if "kind" in change else change)
    report = verify_gallery(gallery)
    assert report.whole
    assert [text for text in report.notes if note.name in text]
    assert len(report.notes) == 1, "its files are no leftovers"
    assert not cached(gallery, network, "ivf")[1]
    assert not [text for text in verify_gallery(gallery).notes if note.name in text]


def without_tails(gallery):
    """The list of checksums as an earlier release wrote it."""
    path = Gallery.open(gallery).ledger_path
    values = read_json(path)
    values["files"] = {name: sums[:2] for name, sums in values["files"].items()}
    write_json(path, values)
    return path


@pytest.mark.parametrize("folder", ["_deletions", "data"])
def test_small_files_are_checked_whole_where_no_tail_was_recorded(gallery, network, folder):
    expected = GallerySnapshot.load(gallery, network.identity)
    without_tails(gallery)
    again = GallerySnapshot.load(gallery, network.identity)
    assert again.photo_ids == expected.photo_ids
    opened = Gallery.open(gallery)
    (name, *_) = [name for name in referenced_files(opened.dataset()) if name.startswith(folder)]
    file = Path(str(opened.dataset_path)) / name
    file.write_bytes(flip(file.read_bytes(), file.stat().st_size // 2))
    with pytest.raises(GalleryDamagedError, match=folder):
        GallerySnapshot.load(gallery, network.identity)


def test_the_next_change_records_tails_of_sound_files_alone(gallery, photos, network, options, monkeypatch):
    ledger = without_tails(gallery)
    place = Gallery.open(gallery).dataset_path
    (damaged, *_) = sorted(read_json(ledger)["files"].keys() - referenced_files(Gallery.open(gallery).dataset()))
    (place / damaged).write_bytes(flip((place / damaged).read_bytes(), 3))
    read, real = [], checksums.file_sum

    def counted(path, **given):
        read.append(path.relative_to(place).as_posix())
        return real(path, **given)

    monkeypatch.setattr(checksums, "file_sum", counted)
    before = read_json(ledger)["files"]
    write_photo(photos / "dog" / "new.jpg", seed=78)
    write_photo(photos / "dog" / "newer.jpg", seed=79)
    sync_gallery(gallery, network, options=replace(options, batch_size=1, commit_photos=1))
    after = read_json(ledger)["files"]
    assert before.keys() - {HINT} <= after.keys()
    assert [name for name, (_, _, tail) in after.items() if not tail] == [damaged]
    assert {name: sums[:2] for name, sums in after.items() if name in before.keys() - {HINT}} == {
        name: sums for name, sums in before.items() if name != HINT
    }
    assert all(read.count(name) == 1 for name in before.keys() - {HINT}), "however many commits follow"
    assert [problem.where for problem in verify_gallery(gallery).problems] == [f"{place.name}/{damaged}"]


def test_columns_that_lance_panics_over_are_damage(gallery):
    """A zero byte in a column's name, as a forged manifest may hold one; a panic is no `Exception`."""

    class PanicException(BaseException):
        pass

    class Dataset:
        @property
        def schema(self):
            raise PanicException("called `Result::unwrap()` on an `Err` value: NulError")

    with pytest.raises(GalleryDamagedError, match="cannot read the columns"):
        Gallery.open(gallery).metadata(Dataset())
