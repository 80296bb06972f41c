"""Filters against a naive loop over what each photo is, whatever is asked of whatever photos."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from index_builder.gallery_errors import UnknownFolderError, UnknownTagError
from index_builder.photo_filter import FILE_TYPES, ORIENTATIONS, PhotoFilter
from index_builder.photo_record import NO_DATE, PhotoRecord, composed, tags_of
from index_builder.reading.facets import facets_of
from index_builder.reading.photo_table import PhotoTable, record_of
from model.images.formats.endings import KNOWN

NFD = unicodedata.normalize("NFD", "Café")
FOLDERS = ["", "cat", "cats", "cat/2024", "dog", "dog/cat", NFD, f"{NFD}/x", "Café", "cat.x", "fol\\xf0der"]
NAMES = ["a.jpg", "b.JPEG", "c.png", "d.heic", "e.tif", "f", "g.tar.gz", "h.", ".webp", "jpg"]
DAY_NS = 24 * 3600 * 10**9
times = st.one_of(
    st.integers(-3 * DAY_NS, 3 * DAY_NS),
    st.sampled_from([0, -1, DAY_NS - 1, DAY_NS, -DAY_NS, 2**63 - 1, -(2**63) + 1]),
)
photos = st.lists(
    st.fixed_dictionaries(
        {
            "folder": st.sampled_from(FOLDERS),
            "name": st.sampled_from(NAMES),
            "modified_ns": times,
            "taken_ns": st.one_of(st.none(), st.just(NO_DATE), times),
            "added_ns": st.integers(0, 5_000),
            "width": st.integers(1, 3),
            "height": st.integers(1, 3),
        }
    ),
    max_size=12,
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MOMENT: dict[str, Any] = {
    "folder": "", "name": "a.jpg", "modified_ns": -1, "taken_ns": None, "added_ns": 0, "width": 1, "height": 1
}  # fmt: skip
FIRST_MOMENT = {**LAST_MOMENT, "taken_ns": -(2**63) + 1}
days = st.one_of(st.none(), st.dates(date(1969, 12, 28), date(1970, 1, 5)), st.sampled_from([date.min, date.max]))
some_tags = st.lists(st.sampled_from(["cat", "dog", "2024", "Café", NFD, "x", "none of them"]), max_size=3).map(tuple)
filters = st.builds(
    PhotoFilter,
    tags=some_tags,
    tags_all=some_tags,
    tags_none=some_tags,
    taken_from=days,
    taken_to=days,
    orientation=st.sampled_from([None, *ORIENTATIONS]),
    folder=st.sampled_from(["", "cat", "cat/", "/dog/cat", "ca", NFD, "Café/x", "nowhere", "fol\\xf0der"]),
    types=st.lists(st.sampled_from(FILE_TYPES), max_size=2).map(tuple),
    as_of=st.one_of(st.none(), st.integers(0, 6).map(lambda us: EPOCH + timedelta(microseconds=us))),
)


def table_of(rows: list[dict[str, Any]], *, dated: bool = True) -> PhotoTable:
    values: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        folder = row["folder"].replace("\\xf0", "\udcf0").encode(errors="surrogateescape")
        path = b"/".join(part for part in (folder, row["name"].encode()) if part)
        own = {key: row[key] for key in ("modified_ns", "taken_ns", "added_ns", "width", "height")}
        values.append(
            {**own, "photo_id": f"id{number:02d}", "path": path, "content_hash": bytes(32), "size": 1,
             "tags": tags_of(path)}
        )  # fmt: skip
    schema = pa.schema(
        {"photo_id": pa.string(), "path": pa.binary(), "content_hash": pa.binary(), "size": pa.int64(),
         "modified_ns": pa.int64(), "width": pa.int32(), "height": pa.int32(), "tags": pa.list_(pa.string()),
         "added_ns": pa.int64(), **({"taken_ns": pa.int64()} if dated else {})}
    )  # fmt: skip
    return PhotoTable(pa.Table.from_pylist(values, schema=schema))


def lets_through(chosen: PhotoFilter, photo: PhotoRecord, row: dict[str, Any]) -> bool:
    """What the interface promises, read from the record of one photo."""
    has = set(photo.tags)
    stated = row["taken_ns"]
    taken = row["modified_ns"] if stated is None or stated == NO_DATE else stated
    day = date(1970, 1, 1).toordinal() + taken // DAY_NS
    shape = "square" if photo.width == photo.height else "landscape" if photo.width > photo.height else "portrait"
    inside = composed(photo.path).rpartition("/")[0].split("/")
    wanted = [part for part in composed(chosen.folder).split("/") if part]
    _, dot, ending = photo.path.lower().rpartition(".")
    kinds = [one.name.lower() for one in KNOWN if dot + ending in one.endings and dot]
    return (
        (not chosen.tags or bool(has & set(chosen.tags)))
        and has >= set(chosen.tags_all)
        and not has & set(chosen.tags_none)
        and (chosen.taken_from is None or chosen.taken_from.toordinal() <= day)
        and (chosen.taken_to is None or day <= chosen.taken_to.toordinal())
        and chosen.orientation in (None, shape)
        and inside[: len(wanted)] == wanted
        and (not chosen.types or bool(set(kinds) & set(chosen.types)))
        and (chosen.as_of is None or row["added_ns"] <= (chosen.as_of.microsecond * 1000))
    )


@settings(deadline=None, max_examples=100)
@given(rows=photos, chosen=filters)
@example(rows=[FIRST_MOMENT], chosen=PhotoFilter(taken_to=date.min))
def test_a_filter_lets_through_what_a_naive_loop_does(rows, chosen):
    table = table_of(rows)
    expected = [lets_through(chosen, table.photo(row), values) for row, values in enumerate(rows)]
    allowed = table.allowed(chosen)
    assert (np.ones(len(rows), bool) if allowed is None else allowed).tolist() == expected


@settings(deadline=None, max_examples=100)
@given(rows=photos, chosen=filters)
def test_what_the_gallery_lacks_is_named(rows, chosen):
    table = table_of(rows)
    tags = {tag for row in range(len(rows)) for tag in table.photo(row).tags}
    folder = PhotoFilter(folder=chosen.folder)
    some = table.allowed(folder)
    if set(chosen.named_tags) - tags:
        with pytest.raises(UnknownTagError):
            table.check(chosen)
    elif some is not None and not some.any():
        with pytest.raises(UnknownFolderError):
            table.check(chosen)
    else:
        table.check(chosen)


@settings(deadline=None, max_examples=100)
@given(rows=photos)
def test_the_newest_come_first_and_then_the_smallest_ids(rows):
    table = table_of(rows)
    order = np.argsort(table.columns.newest_first)
    assert order.tolist() == sorted(range(len(rows)), key=lambda row: (-int(table.columns.taken_ns[row]), row))
    shown = [table.photo(int(row)).taken for row in order]
    assert shown == sorted(shown, reverse=True)


@settings(deadline=None, max_examples=100)
@given(rows=photos)
def test_as_of_lets_all_photos_through_that_are_there(rows):
    moment = table_of(rows).columns.as_of
    assert (moment is None) == (not rows)
    later = [*rows, {**rows[0], "added_ns": max(row["added_ns"] for row in rows) + 1_000}] if rows else []
    if later:
        allowed = table_of(later).allowed(PhotoFilter(as_of=moment))
        assert allowed is not None
        assert allowed.tolist() == [True] * len(rows) + [False]


def test_without_the_column_the_time_of_the_file_counts():
    row = {"folder": "", "name": "a.jpg", "modified_ns": DAY_NS, "taken_ns": 0, "added_ns": 0, "width": 1, "height": 1}
    old, new = table_of([row], dated=False), table_of([row])
    assert (old.photo(0).taken, new.photo(0).taken) == (datetime(1970, 1, 2), datetime(1970, 1, 1))
    assert (int(old.columns.taken_ns[0]), int(new.columns.taken_ns[0])) == (DAY_NS, 0)


def test_the_same_filter_is_equal_however_it_is_written():
    one = PhotoFilter(tags=("b", "a", NFD), folder="/Café/", types=("png", "jpeg"))
    assert one == PhotoFilter(tags=("Café", "a", "b", "a"), folder=NFD, types=("jpeg", "png", "jpeg"))
    assert one != PhotoFilter(tags=("a", "b"))
    assert tuple(one.name.lower() for one in KNOWN) == FILE_TYPES


@settings(deadline=None, max_examples=100)
@given(rows=photos, chosen=filters)
@example(rows=[LAST_MOMENT], chosen=PhotoFilter())
def test_facets_count_what_a_naive_loop_counts(rows, chosen):
    table = table_of(rows)
    records = [table.photo(row) for row in range(len(rows))]

    def passing(**other):
        asked = replace(chosen, **other)
        return [one for one, values in zip(records, rows, strict=True) if lets_through(asked, one, values)]

    def counted(several):
        return dict(sorted(Counter(several).items()))

    def shape(one):
        return "square" if one.width == one.height else "landscape" if one.width > one.height else "portrait"

    facets = facets_of(table.columns, chosen)
    wanted = chosen.folder.split("/") if chosen.folder else []
    below = [composed(one.path).split("/")[:-1] for one in passing()]
    assert facets.photos == len(passing())
    assert facets.tags == counted(tag for one in passing(tags=()) for tag in one.tags)
    assert dict(sorted(facets.orientations.items())) == counted(map(shape, passing(orientation=None)))
    types = [
        kind.name.lower() for one in passing(types=()) for kind in KNOWN if one.path.lower().endswith(kind.endings)
    ]
    assert dict(sorted(facets.types.items())) == counted(types)
    children = ["/".join(folders[: len(wanted) + 1]) for folders in below if len(folders) > len(wanted)]
    assert list(facets.folders.items()) == list(counted(children).items())
    months = [f"{one.taken:%Y-%m}" for one in passing(taken_from=None, taken_to=None)]
    assert list(facets.months.items()) == list(counted(months).items())


@settings(deadline=None, max_examples=50)
@given(rows=photos)
def test_photos_that_are_read_together_are_what_each_row_says(rows):
    table = table_of(rows)
    expected = [record_of(values) for values in table._table.to_pylist()]
    assert table.photos(range(len(rows))[::-1]) == expected[::-1]
    assert [table.photo(row) for row in range(len(rows))] == expected
    for outside in (-1, len(rows)):
        with pytest.raises(IndexError, match="rows must lie"):
            table.photos([outside])
