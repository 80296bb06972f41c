"""Names in two Unicode forms: a Mac writes an accent as a letter of its own, other systems write one letter."""

from __future__ import annotations

import unicodedata
from types import SimpleNamespace
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.http.requests.search_options import SearchOptions
from app.http.routes.search import query_of
from app.service.serving.served_version import ServedVersion
from app.service_errors import RequestError
from index_builder import (
    GallerySnapshot,
    add_photos,
    build_gallery,
    export_descriptors,
    remove_photos,
    sync_gallery,
    verify_gallery,
)
from index_builder.ingest.photo_names import find_photo_ids
from index_builder.photo_filter import PhotoFilter
from index_builder.photo_folders import PhotoFolders
from index_builder.photo_record import composed, tags_of
from index_builder.reading.photo_table import PhotoTable
from index_builder.store import rows
from tests.index_builder.pictures import write_photo

NFC, NFD = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
assert NFC != NFD


@pytest.fixture
def both(tmp_path):
    """A folder that exists twice, and one whose name is decomposed."""
    root = tmp_path / "photos"
    write_photo(root / NFC / "1.jpg", 1)
    write_photo(root / NFD / "2.jpg", 2)
    write_photo(root / unicodedata.normalize("NFD", "Müller") / "3.jpg", 3)
    return root


def paths_of(snapshot):
    return sorted(snapshot.photo(row).path for row in range(len(snapshot)))


def test_two_forms_are_one_tag_and_bytes_stay(tmp_path, both, network, options):
    build_gallery(both, tmp_path / "g", network, options=options)
    snapshot = GallerySnapshot.load(tmp_path / "g", network.identity)
    assert snapshot.tags == {NFC: 2, "Müller": 1}
    assert paths_of(snapshot) == sorted([f"{NFC}/1.jpg", f"{NFD}/2.jpg", unicodedata.normalize("NFD", "Müller/3.jpg")])
    for row in range(3):
        assert snapshot.file_of(row).is_file()
        assert snapshot.photo(row).tags[0] in (NFC, "Müller")
    for form in (NFC, NFD):
        allowed = snapshot.select(PhotoFilter(tags=(form,)))
        assert allowed is not None
        assert allowed.count == 2
    assert verify_gallery(tmp_path / "g").whole


def test_a_search_takes_either_form(tmp_path, both, network, options):
    build_gallery(both, tmp_path / "g", network, options=options)
    served = SimpleNamespace(snapshot=GallerySnapshot.load(tmp_path / "g", network.identity))
    asked = query_of(SearchOptions.model_validate({"tag": [NFD, NFC]}), cast(ServedVersion, served))
    assert asked.only.tags == (NFC,)
    with pytest.raises(RequestError, match="No photo has the tag"):
        query_of(SearchOptions.model_validate({"tag": [NFD, "cafe"]}), cast(ServedVersion, served))


def test_upper_and_lower_case_are_two_tags(tmp_path, network, options):
    write_photo(tmp_path / "photos" / "Cat" / "1.jpg", 1)
    write_photo(tmp_path / "photos" / "cat" / "2.jpg", 2)
    build_gallery(tmp_path / "photos", tmp_path / "g", network, options=options)
    assert GallerySnapshot.load(tmp_path / "g", network.identity).tags == {"Cat": 1, "cat": 1}


def test_galleries_of_older_versions_hold_tags_as_they_were(tmp_path, both, network, options, monkeypatch):
    def written_before(raw_path):
        return list(dict.fromkeys(part.decode() for part in raw_path.split(b"/")[:-1]))

    write_photo(both / NFC / NFD / "4.jpg", 4)
    with monkeypatch.context() as patched:
        patched.setattr(rows, "tags_of", written_before)
        build_gallery(both, tmp_path / "g", network, options=options)
    snapshot = GallerySnapshot.load(tmp_path / "g", network.identity)
    assert snapshot.tags == {NFC: 3, "Müller": 1}
    assert {snapshot.photo(row).tags for row in range(4)} == {(NFC,), ("Müller",)}
    assert verify_gallery(tmp_path / "g").whole
    assert sync_gallery(tmp_path / "g", network, options=options).unchanged == 4
    export_descriptors(tmp_path / "g", tmp_path / "e.parquet")
    assert {tuple(tags) for tags in pq.read_table(tmp_path / "e.parquet").column("tags").to_pylist()} == {
        (NFC,),
        ("Müller",),
    }


def test_a_photo_with_both_forms_counts_once():
    columns = ("photo_id", "path", "content_hash", "size", "modified_ns", "width", "height", "tags", "added_ns")
    values = {name: [0, 0] for name in columns} | {"photo_id": ["a", "b"], "tags": [[NFD, NFC, "x"], [NFD]]}
    table = PhotoTable(pa.table(values))
    assert table.tags == {NFC: 2, "x": 1}
    allowed = table.allowed(PhotoFilter(tags=(NFD,)))
    assert allowed is not None
    assert allowed.all()


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC"])
def test_photos_are_named_in_any_form(tmp_path, both, network, options, form):
    build_gallery(both, tmp_path / "g", network, options=options)
    named = unicodedata.normalize(form, "Müller")
    for name in (f"{named}/3.jpg", named, both / named):
        assert len(find_photo_ids(tmp_path / "g", [str(name)])[str(name)]) == 1
    report = remove_photos(tmp_path / "g", find_photo_ids(tmp_path / "g", [named])[named])
    assert report.removed == 1
    report = add_photos(tmp_path / "g", both, [f"{named}/3.jpg"], network, options=options)
    assert (report.added, report.photos) == (1, 3)
    assert add_photos(tmp_path / "g", both, [named], network, options=options).unchanged == 1


def test_of_two_folders_the_one_that_is_spelled_exactly_is_meant(tmp_path, both, network, options):
    build_gallery(both, tmp_path / "g", network, options=options)
    one, other = find_photo_ids(tmp_path / "g", [NFC, NFD]).values()
    assert (len(one), len(other)) == (1, 1)
    assert one != other


def test_patterns_match_either_form(tmp_path, both, network, options):
    (both / ".sketchseekignore").write_text(f"{NFD}/\n{unicodedata.normalize('NFC', 'Müller')}\n")
    report = build_gallery(both, tmp_path / "g", network, options=options)
    assert (report.added, len(report.excluded)) == (0, 4)


def test_names_of_several_folders_are_composed(both):
    folders = PhotoFolders.of([f"{NFD}={both / NFD}", both / unicodedata.normalize("NFD", "Müller")])
    assert [folder.name for folder in folders.folders] == [NFC, "Müller"]
    assert folders.relative(f"{NFD}/2.jpg") == f"{NFC}/2.jpg".encode()


def test_what_is_no_text_stays_as_it_is():
    assert composed("\\xff") == "\\xff"
    assert tags_of(b"fol\xf0der/" + NFD.encode() + b"/1.jpg") == ["fol\\xf0der", NFC]
