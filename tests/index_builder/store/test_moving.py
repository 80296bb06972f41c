"""A gallery moves into a bucket and back by copying its files, as docs/operations.md says."""

from __future__ import annotations

import pytest

from index_builder import GallerySnapshot, build_gallery, sync_gallery, verify_gallery
from index_builder.store.places import files_below, place_of
from tests.index_builder.pictures import write_photo
from tests.object_store import object_server, object_store  # noqa: F401 - fixtures

# ruff: noqa: F811 - fixtures by their names


@pytest.fixture
def copies(object_store, monkeypatch, tmp_path):
    """Copies all files of a folder to an address, and all objects below an address into a folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bucket = object_store.bucket()

    def into(folder, prefix):
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            object_store.put(bucket, f"{prefix}/{path.relative_to(folder)}", path.read_bytes())
        return f"s3://{bucket}/{prefix}"

    def out_of(address, folder):
        for found in files_below(place_of(address)):
            copy = folder / found.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((place_of(address) / found.name).read_bytes())
        return folder

    return into, out_of


def test_a_gallery_moves_into_a_bucket_and_back(copies, tmp_path, photos, network, options):
    into, out_of = copies
    build_gallery(photos, tmp_path / "here", network, options=options)
    there = into(tmp_path / "here", "pets/gallery")
    assert verify_gallery(there, photos=photos).whole
    write_photo(photos / "one-more.jpg", 99)
    sync_gallery(there, network, options=options)
    back = out_of(there, tmp_path / "back")
    assert verify_gallery(back).whole
    snapshots = [GallerySnapshot.load(place_of(place), network.identity, cache_bytes=0) for place in (there, back)]
    assert len({snapshot.version for snapshot in snapshots}) == 1
    for one in snapshots:
        assert "one-more.jpg" in {one.photo(row).path for row in range(len(one))}
    write_photo(photos / "last.jpg", 98)
    assert sync_gallery(back, network, options=options).added == 1
