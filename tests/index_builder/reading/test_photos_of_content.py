"""Photos by their content, in a gallery on disk and in a snapshot of it."""

import hashlib
import shutil

from index_builder import GallerySnapshot, build_gallery
from index_builder.reading.photos_of_content import photos_of_content
from tests.index_builder.pictures import photo_bytes


def digest(seed):
    return hashlib.sha256(photo_bytes(seed)).digest()


def test_photos_of_a_content(tmp_path, photos, network, options):
    shutil.copy(photos / "cat" / "3.jpg", photos / "a.jpg")
    build_gallery(photos, tmp_path / "g", network, options=options)
    assert [photo.path for photo in photos_of_content(tmp_path / "g", [digest(3)])] == ["a.jpg", "cat/3.jpg"]
    both = photos_of_content(tmp_path / "g", {digest(3), digest(4), digest(50)})
    assert [photo.path for photo in both] == ["a.jpg", "cat/3.jpg", "dog/4.jpg"]
    assert photos_of_content(tmp_path / "g", []) == []
    snapshot = GallerySnapshot.load(tmp_path / "g", network.identity)
    assert sorted(photo.path for photo in snapshot.photos_of(digest(3))) == ["a.jpg", "cat/3.jpg"]
    assert snapshot.photos_of(digest(50)) == []
    assert {photo.photo_id for photo in both} >= {photo.photo_id for photo in snapshot.photos_of(digest(3))}


def test_no_gallery_has_no_photos(tmp_path):
    assert photos_of_content(tmp_path / "none", [digest(3)]) == []
