"""A gallery of several folders, each under a name."""

from __future__ import annotations

import os

import pytest

from index_builder import GallerySnapshot, add_photos, build_gallery, sync_gallery, verify_gallery
from index_builder.gallery_errors import GalleryMismatchError
from tests.index_builder.pictures import write_photo


@pytest.fixture
def two(tmp_path):
    for index in range(4):
        write_photo(tmp_path / "pets" / "cat" / f"{index}.jpg", seed=index)
        write_photo(tmp_path / "work" / "chair" / f"{index}.jpg", seed=10 + index)
    return [f"home={tmp_path}/pets", f"{tmp_path}/work"]


def test_the_names_are_the_first_tags(tmp_path, two, network, options):
    report = build_gallery(two, tmp_path / "g", network, options=options)
    assert report.added == 8
    snapshot = GallerySnapshot.load(tmp_path / "g", network.identity)
    assert snapshot.tags == {"cat": 4, "chair": 4, "home": 4, "work": 4}
    for row in range(len(snapshot)):
        name, _, rest = snapshot.photo(row).path.partition("/")
        assert snapshot.file_of(row) == tmp_path / {"home": "pets", "work": "work"}[name] / rest
    assert verify_gallery(tmp_path / "g").decoded == 8


def test_sync_and_add_take_what_the_gallery_remembers(tmp_path, two, network, options):
    build_gallery(two, tmp_path / "g", network, options=options)
    write_photo(tmp_path / "pets" / "dog.jpg", seed=30)
    (tmp_path / "work" / "chair" / "0.jpg").unlink()
    report = sync_gallery(tmp_path / "g", network, options=options)
    assert (report.added, report.removed, report.unchanged) == (1, 1, 7)
    new = tmp_path / "work" / "table.jpg"
    write_photo(new, seed=31)
    report = add_photos(tmp_path / "g", two, [new], network, options=options)
    assert report.added == 1
    assert os.fsencode("work/table.jpg") in [
        GallerySnapshot.load(tmp_path / "g", network.identity).photo(row).raw_path for row in range(9)
    ]


def test_a_folder_may_come_but_not_go_unasked(tmp_path, two, network, options):
    build_gallery(two, tmp_path / "g", network, options=options)
    write_photo(tmp_path / "third" / "0.jpg", seed=40)
    assert build_gallery([*two, tmp_path / "third"], tmp_path / "g", network, options=options).added == 1
    with pytest.raises(GalleryMismatchError, match="--moved"):
        build_gallery(two, tmp_path / "g", network, options=options)
