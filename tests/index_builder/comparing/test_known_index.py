"""Rows of a gallery by path, content and id, against a look at every row."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from index_builder.comparing.known_index import KnownIndex
from index_builder.ingest.photo_ids import PhotoIds
from index_builder.photo_record import PhotoFile, is_photo_id, photo_id
from index_builder.store.rows import KnownPhotos


def content(number):
    return hashlib.sha256(b"%d" % number).digest()


def index_of(photos, chunks=2):
    """Of (path, content, id), as a dataset gives it: in chunks."""
    paths, hashes, ids = (list(column) for column in zip(*photos, strict=True)) if photos else ([], [], [])

    def column(values, kind):
        parts = np.array_split(np.arange(len(values)), chunks)
        return pa.chunked_array([pa.array([values[row] for row in part], type=kind) for part in parts], type=kind)

    numbers = np.zeros(len(photos), dtype=np.int64)
    return KnownIndex(
        KnownPhotos(
            column(paths, pa.binary()),
            numbers,
            numbers,
            numbers,
            column(hashes, pa.binary(32)),
            column(ids, pa.string()),
        )
    )


@pytest.fixture
def photos():
    return [(b"%d.jpg" % row, content(row % 5), photo_id(b"%d.jpg" % row, content(row % 5))) for row in range(23)]


@pytest.mark.parametrize("chunks", [1, 2, 7])
def test_lookups(photos, chunks):
    index = index_of(photos, chunks)
    for row, (path, _, name) in enumerate(photos):
        assert index.row_at(path) == row
        assert index.has_id(name)
        assert (index.raw_path(row), index.photo_id(row), index.hash_of(row)) == (path, name, content(row % 5))
    assert index.rows_at([b"nothing", b"3.jpg", b""]).tolist() == [-1, 3, -1]
    for number in range(5):
        assert index.rows_of(content(number)).tolist() == list(range(number, 23, 5))
    assert not index.has_content(content(5))
    assert not index.has_id(photo_id(b"nothing", content(0)))


def test_an_empty_gallery_has_nothing():
    index = index_of([])
    assert (len(index), index.row_at(b"x"), index.has_content(content(0)), index.has_id("x")) == (0, -1, False, False)


def file(path, number):
    return PhotoFile(path, content(number), 1, 1, 1, 1, 1)


def test_an_id_that_a_moved_photo_has_is_not_given_again(photos):
    path, hashed, name = photos[3]
    moved = [*photos[:3], (b"elsewhere.jpg", hashed, name), *photos[4:]]
    second = PhotoIds(index_of(moved)).of(file(path, 3))
    assert is_photo_id(second)
    assert second not in {one[2] for one in moved}
    assert second == PhotoIds(index_of(moved)).of(file(path, 3))
    third = PhotoIds(index_of([*moved, (b"also.jpg", hashed, second)])).of(file(path, 3))
    assert third not in {name, second}
    assert PhotoIds(index_of(moved)).of(file(path, 9)) == photo_id(path, content(9))


def test_a_rebuild_gives_the_ids_of_the_earlier_gallery(photos):
    path, hashed, name = photos[3]
    moved = [(b"elsewhere.jpg", hashed, name), *photos[:3], *photos[4:]]
    ids = PhotoIds(index_of([]), index_of(moved))
    assert ids.of(file(b"elsewhere.jpg", 3)) == name
    assert ids.of(file(path, 3)) not in {one[2] for one in moved}
    assert ids.of(file(b"elsewhere.jpg", 4)) == photo_id(b"elsewhere.jpg", content(4))
