"""The date taken of photos: read with them, and filled in for galleries of releases that did not read it."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from index_builder import GallerySnapshot, add_photos, build_gallery, rebuild_gallery, sync_gallery, verify_gallery
from index_builder.ingest.dates import _stated, fill_dates
from index_builder.photo_filter import PhotoFilter
from index_builder.photo_folders import PhotoFolders
from index_builder.store import metadata
from index_builder.store.gallery import Gallery
from index_builder.store.opening_writer import open_writer
from tests.index_builder.pictures import write_photo
from tests.model.images.test_date_taken import ORIGINAL, with_exif
from tests.object_store import object_server, object_store  # noqa: F401 - fixtures

TAKEN = datetime(2019, 6, 30, 12, 30)


def write_dated(path, day=30):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(with_exif(below={ORIGINAL: f"2019:06:{day:02d} 12:30:00"}))
    os.utime(path, ns=(10**18, 10**18))


def dates(gallery, network):
    snapshot = GallerySnapshot.load(gallery, network.identity)
    records = [snapshot.photo(row) for row in range(len(snapshot))]
    return {one.path: one.taken for one in records if one.taken != one.modified.replace(tzinfo=None)}


def has_column(gallery):
    return "taken_ns" in Gallery.open(gallery).dataset().schema.names


@pytest.fixture
def library(photos):
    write_dated(photos / "dated.jpg")
    return photos


@pytest.fixture
def old_gallery(library, tmp_path, network, options, monkeypatch):
    """A gallery as an earlier release wrote it."""
    with monkeypatch.context() as patched:
        patched.setattr(metadata, "OPTIONAL_COLUMNS", {})
        patched.setattr("index_builder.store.rows.OPTIONAL_COLUMNS", {})
        patched.setattr("index_builder.ingest.changes.fill_dates", lambda *_, **__: None)
        build_gallery(library, tmp_path / "g", network, options=options)
    assert not has_column(tmp_path / "g")
    return tmp_path / "g"


def test_a_build_reads_the_date(library, tmp_path, network, options):
    build_gallery(library, tmp_path / "g", network, options=options)
    assert dates(tmp_path / "g", network) == {"dated.jpg": TAKEN}
    shutil.move(library / "dated.jpg", library / "cat" / "moved.jpg")
    shutil.copy(library / "cat" / "moved.jpg", library / "copy.jpg")
    sync_gallery(tmp_path / "g", network, options=options)
    assert dates(tmp_path / "g", network) == {"cat/moved.jpg": TAKEN, "copy.jpg": TAKEN}


def test_an_old_gallery_is_searched_as_it_is(old_gallery, network):
    snapshot = GallerySnapshot.load(old_gallery, network.identity)
    assert dates(old_gallery, network) == {}
    allowed = snapshot.select(PhotoFilter(taken_from=date(2001, 9, 8), taken_to=date(2001, 9, 9)))
    assert allowed is not None
    assert allowed.mask.all()
    assert verify_gallery(old_gallery).whole


def test_sync_fills_the_dates_and_encodes_nothing_again(old_gallery, network, options, monkeypatch):
    before = GallerySnapshot.load(old_gallery, network.identity)
    files = {path.name for path in old_gallery.rglob("data/*.lance")}
    with monkeypatch.context() as patched:
        patched.setattr(type(network), "encode_photo", None)
        report = sync_gallery(old_gallery, network, options=options)
    assert (report.unchanged, report.added, report.changed) == (11, 0, 0)
    assert dates(old_gallery, network) == {"dated.jpg": TAKEN}
    assert files <= {path.name for path in old_gallery.rglob("data/*.lance")}
    after = GallerySnapshot.load(old_gallery, network.identity)
    assert after.photo_ids == before.photo_ids
    rows = list(range(11))
    assert (after.encodings(rows).tokens == before.encodings(rows).tokens).all()
    assert verify_gallery(old_gallery).whole
    version = after.version
    sync_gallery(old_gallery, network, options=options)
    assert GallerySnapshot.load(old_gallery, network.identity).version == version


def test_an_old_gallery_takes_every_change_before_and_after(old_gallery, library, network, options):
    write_dated(library / "second.jpg", 29)
    add_photos(old_gallery, library, [library / "second.jpg"], network, options=options)
    assert len(GallerySnapshot.load(old_gallery, network.identity)) == 12
    sync_gallery(old_gallery, network, options=options)
    write_dated(library / "third.jpg", 28)
    shutil.move(library / "dated.jpg", library / "moved.jpg")
    (library / "cat" / "1.jpg").unlink()
    write_photo(library / "cat" / "3.jpg", seed=99)
    sync_gallery(old_gallery, network, options=options)
    found = {"moved.jpg": TAKEN, "second.jpg": TAKEN.replace(day=29), "third.jpg": TAKEN.replace(day=28)}
    assert dates(old_gallery, network) == found
    assert verify_gallery(old_gallery).whole
    rebuild_gallery(old_gallery, network, options=options)
    assert dates(old_gallery, network) == found


def test_a_file_that_cannot_be_read_is_looked_at_again(old_gallery, network, options, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("index_builder.ingest.dates._stated", lambda *_: None)
        sync_gallery(old_gallery, network, options=options)
    assert has_column(old_gallery)
    assert dates(old_gallery, network) == {}
    sync_gallery(old_gallery, network, options=options)
    assert dates(old_gallery, network) == {"dated.jpg": TAKEN}


def test_dates_stay_when_small_files_are_merged(old_gallery, library, network, options):
    sync_gallery(old_gallery, network, options=options)
    for number in range(5):
        write_dated(library / "more" / f"{number}.jpg", number + 1)
        sync_gallery(old_gallery, network, options=options)
    with open_writer(old_gallery) as writer:
        writer.tidy(0)
    assert len(Gallery.open(old_gallery).dataset().get_fragments()) == 1
    assert dates(old_gallery, network)["more/4.jpg"] == TAKEN.replace(day=5)
    assert len(dates(old_gallery, network)) == 6
    assert verify_gallery(old_gallery).whole


def test_a_photo_below_no_folder_has_no_date_yet(photos, tmp_path):
    class Undated:
        written: object = None

        def undated(self):
            return {0: pa.table({"photo_id": ["a"], "path": [b"renamed/1.jpg"]})}

        def write_dates(self, found):
            self.written = found

    writer = Undated()
    folders = PhotoFolders.of([f"home={photos}", f"second={tmp_path / 'other'}"])
    fill_dates(writer, folders, lambda _: True, workers=1)  # type: ignore[arg-type]
    assert writer.written == {}


def test_photos_in_a_bucket_get_their_dates_too(library, object_store):  # noqa: F811
    bucket = object_store.bucket()
    dated = (library / "dated.jpg").read_bytes()
    comment = b"\xff\xfe\xff\xff" + bytes(65533)
    object_store.put(bucket, "photos/late.jpg", dated[:2] + 20 * comment + dated[2:] + bytes(3_000_000))
    folders = PhotoFolders.of(f"s3://{bucket}/photos")
    stated = _stated(folders, b"late.jpg")
    assert stated is not None
    assert datetime.fromtimestamp(stated / 1e9, UTC).replace(tzinfo=None) == TAKEN
    assert _stated(folders, b"gone.jpg") is None
