"""Photos in a bucket make the gallery that the same photos make in a folder, and a bucket that is away loses none."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from index_builder import (
    Gallery,
    GallerySnapshot,
    PhotoFolders,
    add_photos,
    build_gallery,
    rebuild_gallery,
    sync_gallery,
    verify_gallery,
)
from index_builder.gallery_errors import FolderAwayError, GalleryError
from index_builder.object_storage import stores
from index_builder.photo_files import bucket
from index_builder.store.folder_looks import FolderLooks
from tests.index_builder.pictures import write_photo
from tests.object_store import HALF

ODD = (
    "a b.jpg",
    "Bäume/ü.jpg",
    "Ba\u0308ume/u\u0308.jpg",
    "100%.jpg",
    "%41.jpg",
    "a+b.jpg",
    "cat/#1?.jpg",
    "~x/[y].jpg",
)


class There:
    """Photos in a bucket, and a gallery of them.

    Attributes:
        store, bucket: where the photos of the folder `photos` lie, below `photos/`.
        place: their address.
        gallery: where it is built.
    """

    def __init__(self, store, photos, network, options):
        self.store, self.photos, self._network, self.options = store, photos, network, options
        self.bucket = store.bucket()
        self.place, self.gallery = f"s3://{self.bucket}/photos", photos.parent / "g"
        for file in photos.rglob("*.jpg"):
            self.put(str(file.relative_to(photos)), file.read_bytes())

    def put(self, path, content):
        """Write an object: these bytes, or the photo of a number."""
        self.store.put(self.bucket, f"photos/{path}", self.photo(content) if isinstance(content, int) else content)

    def photo(self, seed):
        """The file of a photo, another one for every seed."""
        file = self.photos.parent / "drawn" / f"{seed}.jpg"
        write_photo(file, seed=seed)
        return file.read_bytes()

    def delete(self, path):
        self.store.delete(self.bucket, f"photos/{path}")

    def build(self, photos=None, gallery=None):
        return build_gallery(photos or self.place, gallery or self.gallery, self._network, options=self.options)

    def add(self, address):
        return add_photos(self.gallery, self.place, [address], self._network, options=self.options)

    def sync(self, **changes):
        return sync_gallery(self.gallery, self._network, options=replace(self.options, **changes))

    def rebuild(self):
        return rebuild_gallery(self.gallery, self._network, options=self.options)

    def load(self, gallery=None):
        return GallerySnapshot.load(gallery or self.gallery, self._network.identity)

    def ids(self, gallery=None):
        """Path -> photo id."""
        rows = Gallery.open(gallery or self.gallery).dataset().to_table(["path", "photo_id"]).to_pylist()
        return {row["path"].decode(): row["photo_id"] for row in rows}

    def paths(self, gallery=None):
        return sorted(self.ids(gallery))


@pytest.fixture
def there(object_store, photos, network, options):
    return There(object_store, photos, network, options)


@pytest.fixture
def built(there):
    there.build()
    return there


def test_the_gallery_is_that_of_the_same_photos_in_a_folder(built):
    local = built.photos.parent / "local"
    built.build(built.photos, local)
    assert built.ids() == built.ids(local)
    here, there = built.load(local), built.load()
    rows = {here.photo(row).photo_id: row for row in range(len(here))}
    for row in range(len(there)):
        same = rows[there.photo(row).photo_id]
        assert np.array_equal(here.descriptors([same]), there.descriptors([row]))
        orders = [
            [one.photo(found).photo_id for found in one.recall(one.descriptors([at]), 10)[0][0]]
            for one, at in ((here, same), (there, row))
        ]
        assert orders[0] == orders[1]
    assert verify_gallery(built.gallery).decoded == 10


def test_a_sync_reads_what_changed_and_nothing_else(built):
    before = built.ids()
    built.put("cat/new.jpg", 99)
    built.put("cat/1.jpg", 98)
    built.delete("dog/0.jpg")
    built.put("dog/moved.jpg", (built.photos / "dog" / "2.jpg").read_bytes())
    built.delete("dog/2.jpg")
    report = built.sync()
    assert (report.added, report.changed, report.removed, report.moved, report.held) == (1, 1, 1, 1, ())
    after = built.ids()
    assert after["dog/moved.jpg"] == before["dog/2.jpg"]
    assert after["cat/1.jpg"] != before["cat/1.jpg"]
    assert set(after) == set(before) - {"dog/0.jpg", "dog/2.jpg"} | {"dog/moved.jpg", "cat/new.jpg"}


def test_what_did_not_change_is_not_read_again(built, monkeypatch):
    monkeypatch.setattr("index_builder.comparing.difference.may_hide_a_change", lambda *_: False)
    built.store.requests.clear()
    report = built.sync()
    assert report.unchanged == 10
    assert not [one for one in built.store.requests if one.startswith("GET") and ".jpg" in one]


def test_an_object_that_is_replaced_within_the_second_is_noticed(built):
    """Its size and its time in whole seconds may be the same: the content is compared."""
    data = (built.photos / "cat" / "1.jpg").read_bytes()
    built.put("cat/1.jpg", data[:-3] + b"\0" + data[-2:])
    assert built.sync().changed == 1


@pytest.mark.parametrize("status", [403, 503])
def test_a_bucket_that_is_away_keeps_its_photos(built, status):
    before = built.ids()
    with built.store.failing(lambda _method, _path: status):
        report = built.sync()
        assert (report.removed, [held.code for held in report.held]) == (0, ["unreadable"])
        with pytest.raises(FolderAwayError, match="cannot be encoded again"):
            built.rebuild()
    assert built.ids() == before
    assert built.sync().held == ()


def test_a_bucket_that_is_emptied_or_gone_keeps_its_photos(built):
    for path in built.paths():
        built.delete(path)
    report = built.sync()
    assert (report.removed, report.photos, [held.code for held in report.held]) == (0, 10, ["missing"])
    built.store.delete(built.bucket, "")
    report = built.sync()
    assert (report.removed, report.photos) == (0, 10)
    built.store._send("PUT", built.bucket)
    built.put("readme.txt", b"x")
    report = built.sync()
    assert (report.removed, [held.code for held in report.held]) == (0, ["emptied"])
    (held,) = FolderLooks.read(built.gallery).held
    assert (held.folder, held.place) == ("photos", f"s3://{built.bucket}/photos")
    report = built.sync(accept_loss=True)
    assert (report.removed, report.photos) == (10, 0)


def test_a_list_that_breaks_off_midway_says_nothing(built):
    """Two looks find the bucket, the scan and the second scan fail twice each, and the last look finds it again."""
    lists = [0]

    def scans(_method, path):
        lists[0] += "list-type" in path
        return 503 if "list-type" in path and 3 <= lists[0] <= 6 else None

    with built.store.failing(scans):
        report = built.sync()
    assert (report.removed, report.photos, report.held) == (0, 10, ())
    (one,) = report.skipped.reasons()
    assert one.reason == "unreadable folder: the store does not answer as it should"


def test_a_photo_that_moves_behind_the_scans_back_keeps_its_id(built):
    """It is at neither place while the bucket is listed, and at the new one when the bucket is listed again."""
    before = built.ids()
    data = (built.photos / "dog" / "8.jpg").read_bytes()
    built.delete("dog/8.jpg")
    lists = [0]

    def arrives(_method, path):
        lists[0] += "list-type" in path
        if lists[0] == 4:  # two looks and the scan have gone before
            lists[0] += 1
            built.put("a/8.jpg", data)

    with built.store.failing(arrives):
        report = built.sync()
    assert (report.moved, report.removed) == (1, 0)
    assert built.ids()["a/8.jpg"] == before["dog/8.jpg"]


def test_times_count_in_whole_seconds():
    """A list says more of them than an answer for one object does."""
    exact = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    whole = int(exact.replace(microsecond=0).timestamp()) * 10**9
    meta = {"path": "a.jpg", "size": 1, "last_modified": exact, "e_tag": None, "version": None}
    assert bucket._status(meta).modified_ns == whole  # type: ignore[arg-type]


def test_photos_that_cannot_be_read_now_are_taken_later(there):
    with there.store.failing(lambda method, path: 503 if method == "GET" and "cat" in path else None):
        report = there.build()
    assert (report.added, len(report.skipped)) == (5, 5)
    assert there.sync().added == 5


def test_a_moment_of_503_costs_nothing(there):
    seen = set()

    def first_time(method, path):
        fails = f"{method} {path}" not in seen
        seen.add(f"{method} {path}")
        return 503 if fails else None

    with there.store.failing(first_time):
        report = there.build()
    assert (report.added, len(report.skipped)) == (10, 0)


def test_an_answer_that_breaks_off_is_no_photo(there):
    """Half of the bytes are never taken for the photo: they are asked for again, or it is left to the next sync."""
    tries = Counter[str]()

    def once(method, path):
        tries[path] += 1
        return HALF if method == "GET" and path.endswith(".jpg") and tries[path] == 1 else None

    with there.store.failing(once):
        assert there.build().added == 10
    assert there.load().photo(0).size == len((there.photos / there.load().photo(0).path).read_bytes())
    with there.store.failing(lambda method, path: HALF if method == "GET" and "cat/1" in path else None):
        report = there.sync(check_contents=True)
    assert (report.unchanged, report.changed, report.removed, len(report.skipped)) == (9, 0, 0, 1)
    assert verify_gallery(there.gallery, sample=10).decoded == 10


def test_odd_names(there):
    for seed, name in enumerate(ODD):
        there.store.put(there.bucket, f"My photos +ü%20/{name}", there.photo(seed))
    there.build(f"s3://{there.bucket}/My photos +ü%20")
    assert there.paths() == sorted(ODD)
    assert there.sync().unchanged == len(ODD)


def test_a_name_that_is_no_path_is_named(there):
    there.put("x//y.jpg", b"x")
    with pytest.raises(GalleryError, match=r"'photos/x//y.jpg', is no path; rename it"):
        there.build()


def test_rules_hold_as_on_a_disk(there):
    files = {
        ".hidden.jpg": "photo",
        ".git/x.jpg": "photo",
        "cat/.sketchseekignore": b"1.jpg\n",
        "dog/.sketchseekignore": b"*.jpg\n!4.jpg\n",
        "notes.txt": b"text",
        "noending": "photo",
        "nothing": b"text",
        "empty.jpg": b"",
        "drafts/a.jpg": "photo",
        "drafts/b.jpg": "photo",
    }
    picture = there.photo(50)
    for name, data in files.items():
        data = picture if data == "photo" else data  # noqa: PLW2901
        (there.photos / name).parent.mkdir(exist_ok=True)
        (there.photos / name).write_bytes(data)
        there.put(name, data)
    there.put("cat/", b"")
    reports = []
    for place, gallery in ((there.photos, "local"), (f"s3://{there.bucket}/photos", "g")):
        folders = PhotoFolders(PhotoFolders.of(place).folders, exclude=("drafts",))
        reports.append(there.build(folders, there.photos.parent / gallery))
    on_disk, in_bucket = reports
    assert there.paths() == there.paths(there.photos.parent / "local")
    assert in_bucket.skipped.values() == on_disk.skipped.values()
    assert len(in_bucket.excluded) == len(on_disk.excluded) + 1  # the mark of a folder
    (there.photos / "cat" / ".sketchseekignore").unlink()
    there.delete("cat/.sketchseekignore")
    assert there.sync().added == 1


def test_a_bucket_beside_a_folder(there):
    places = [f"there=s3://{there.bucket}/photos", f"here={there.photos}"]
    there.build(places)
    assert len(there.paths()) == 20
    there.delete("cat/1.jpg")
    (there.photos / "dog" / "0.jpg").unlink()
    report = there.sync()
    assert (report.removed, report.held) == (2, ())
    with there.store.failing(lambda *_: 403):
        (there.photos / "dog" / "2.jpg").unlink()
        report = there.sync()
    assert (report.removed, [held.folder for held in report.held]) == (1, ["there"])
    stored = PhotoFolders.from_setting(":".join(places))
    assert stored == PhotoFolders.of(places)
    assert PhotoFolders.from_stored(stored.to_stored()).folders == stored.folders


def test_one_object_is_added_by_its_address(built):
    folder = f"s3://{built.bucket}/photos"
    built.put("cat/new.jpg", 77)
    assert built.add(f"{folder}/cat/new.jpg").added == 1
    for wrong in (f"{folder}/cat/none.jpg", f"s3://{built.bucket}/elsewhere/a.jpg"):
        with pytest.raises(GalleryError):
            built.add(wrong)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("s3://no-such-bucket/photos", "there is no such bucket; check the path"),
        ("s3://{bucket}/foto", "nothing lies below this address; check the path"),
        ("s4://{bucket}/photos", "s4:// is no kind of address that is known; use s3://, gs://, az://"),
        ("s3://key:secret@{bucket}/photos", "credentials in the environment"),
        ("s3:///photos", "names no bucket"),
        ("s3://{bucket}/a/../b", "has an empty part, `.` or `..`"),
        ("az://{bucket}/photos", "Account must be specified"),
    ],
)
def test_an_address_that_cannot_be(there, address, says):
    with pytest.raises(GalleryError, match=says.replace(".", r"\.")) as raised:
        there.build(address.format(bucket=there.bucket))
    assert "secret" not in str(raised.value)
    assert not there.gallery.exists()


def test_one_place_inside_another_is_refused(there):
    with pytest.raises(GalleryError, match="lies in"):
        PhotoFolders.of([f"a=s3://{there.bucket}/photos", f"b=s3://{there.bucket}/photos/cat"])
    PhotoFolders.of([f"a=s3://{there.bucket}/photos", f"b=s3://{there.bucket}/photos2"])


def test_without_the_extra_a_sentence_says_what_to_install(there, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "obstore.store", None)
    with pytest.raises(GalleryError, match=r"pip install 'sketchseek\[object-storage\]'"):
        there.build()


def test_without_credentials_a_sentence_says_so(there, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", there.store.address)  # no machine of Amazon's lends any here
    stores.open_store.cache_clear()
    refuses = there.store.failing(lambda _, path: 404 if path.startswith("/latest") else None)
    with refuses, pytest.raises(GalleryError, match="no credentials are set in the environment"):
        there.build()
    stores.open_store.cache_clear()
