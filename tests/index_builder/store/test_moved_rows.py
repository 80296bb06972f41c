"""Rows that get another path keep everything else, in one commit, whatever was deleted around them."""

import numpy as np
import pytest

from index_builder import GallerySnapshot, build_gallery, verify_gallery
from index_builder.store.opening_writer import open_writer
from index_builder.store.rows import FilePlace


def rows(gallery):
    with open_writer(gallery) as writer:
        return writer._dataset.to_table().to_pylist()


def changed(row, *names):
    return {name: value for name, value in row.items() if name not in names}


@pytest.mark.parametrize("removed", [[], [0, 5, 9]])
def test_places_change_and_nothing_else(tmp_path, photos, network, options, removed):
    build_gallery(photos, tmp_path / "g", network, options=options)
    before = rows(tmp_path / "g")
    chosen = [row for number, row in enumerate(before) if number in {1, 3, 6}]
    lost = before[8]
    with open_writer(tmp_path / "g") as writer:
        writer.remove([before[number]["photo_id"] for number in removed])
        version = int(writer.version.partition(".")[2])
        places = [FilePlace(row["photo_id"], b"new/" + row["path"], 5, 6) for row in chosen]
        writer.follow(places, [lost["photo_id"]])
        assert writer.version == f"1.{version + 1}"
    after = {row["photo_id"]: row for row in rows(tmp_path / "g")}
    gone = {before[number]["photo_id"] for number in removed} | {lost["photo_id"]}
    assert set(after) == {row["photo_id"] for row in before} - gone
    names = ("path", "tags", "modified_ns", "read_ns")
    for row in before:
        if row["photo_id"] in gone:
            continue
        now = after[row["photo_id"]]
        if row not in chosen:
            assert now == row
            continue
        assert changed(now, *names) == changed(row, *names)
        assert (now["path"], now["modified_ns"], now["read_ns"]) == (b"new/" + row["path"], 5, 6)
        assert now["tags"] == ["new", *row["tags"]]
    assert verify_gallery(tmp_path / "g", sample=0).whole
    snapshot = GallerySnapshot.load(tmp_path / "g", network.identity)
    assert np.isfinite(snapshot.descriptors(range(len(snapshot)))).all()


def test_only_dropping(tmp_path, photos, network, options):
    build_gallery(photos, tmp_path / "g", network, options=options)
    ids = [row["photo_id"] for row in rows(tmp_path / "g")]
    with open_writer(tmp_path / "g") as writer:
        writer.follow([], ids[:4])  # all of one data file
        assert len(writer) == 6
    assert verify_gallery(tmp_path / "g", sample=0).whole
