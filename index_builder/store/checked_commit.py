"""Commits to a Lance dataset in two steps: write the files and check that they are whole, then commit.

If the disk is full while Lance 14 closes a small data or deletion file, it drops the error and commits a version that
refers to half a file. So every new file is checked, and forced to disk, before any version refers to it. In a bucket,
files appear whole or not at all. Their sizes are checked all the same.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index_builder.gallery_errors import GalleryWriteError
from index_builder.store.places import GalleryPlace, on_disk

FRAGMENT_ROWS = 4096
"""Most rows of a data file. Tidying leaves full files alone, so its work stays linear. Lance lists the deleted rows of
so small a file in an Arrow file, which can be checked."""
_ROWS_AT_ONCE = 256

Numbers = npt.NDArray[np.integer[Any]]


def append(dataset: Any, place: GalleryPlace, table: pa.Table) -> Any:
    """Commit more rows; the dataset at its new version."""
    import lance

    fragments = lance.fragment.write_fragments(table, dataset, mode="append", max_rows_per_file=FRAGMENT_ROWS)
    _check(place, fragments)
    return lance.LanceDataset.commit(dataset, lance.LanceOperation.Append(fragments), read_version=dataset.version)


def write_apart(dataset: Any, table: pa.Table) -> list[str]:
    """Write rows into files of a dataset that no version names yet; the fragments for `adopt`, from any process."""
    import lance

    fragments = lance.fragment.write_fragments(table, dataset, mode="append", max_rows_per_file=FRAGMENT_ROWS)
    return [json.dumps(fragment.to_json()) for fragment in fragments]


def adopt(dataset: Any, place: GalleryPlace, written: Iterable[str], paths: Collection[bytes]) -> Any:
    """Commit rows that other processes have written to `place`, in place of those of some paths.

    Args:
        dataset: to add them to.
        place: its folder.
        written: the new fragments, as Lance writes them as JSON.
        paths: of rows to remove in the same commit.

    Returns:
        The dataset at its new version.
    """
    import lance

    fragments = [lance.fragment.FragmentMetadata.from_json(one) for one in written]
    _check(place, fragments)
    if not paths:
        return lance.LanceDataset.commit(dataset, lance.LanceOperation.Append(fragments), read_version=dataset.version)
    table = dataset.to_table(columns=["path"], with_row_address=True)
    values = pa.array(paths, type=table.schema.field("path").type)
    old = table.column("_rowaddr").to_numpy()[pc.is_in(table.column("path"), values).to_numpy()]
    updated, emptied = _without(dataset, place, old.tolist())
    operation = lance.LanceOperation.Update(
        removed_fragment_ids=emptied, updated_fragments=updated, new_fragments=fragments
    )
    return lance.LanceDataset.commit(dataset, operation, read_version=dataset.version)


def replace(dataset: Any, place: GalleryPlace, table: pa.Table, key: str) -> Any:
    """Commit rows in place of those with the same value in column `key`. Returns the dataset at its new version."""
    import lance

    merge = dataset.merge_insert(key).when_matched_update_all().when_not_matched_insert_all()
    transaction, _ = merge.execute_uncommitted(table)
    operation = transaction.operation
    _check(place, [*operation.new_fragments, *operation.updated_fragments])
    return lance.LanceDataset.commit(dataset, transaction)


def find(dataset: Any, photo_ids: Collection[str]) -> tuple[Numbers, Numbers, list[str]]:
    """Rows of photos, in the dataset's order: their places in it, their addresses and their ids."""
    table = dataset.to_table(columns=["photo_id"], with_row_address=True)
    places = np.flatnonzero(pc.is_in(table.column("photo_id"), pa.array(photo_ids, type=pa.string())).to_numpy())
    addresses = table.column("_rowaddr").to_numpy()[places]
    return places, addresses, table.column("photo_id").take(places).to_pylist()


def rewrite(
    dataset: Any,
    place: GalleryPlace,
    photo_ids: Collection[str],
    change: Callable[[pa.Table], pa.Table],
    drop: Collection[str],
) -> Any:
    """Commit photos' rows as `change` makes them, and drop others, all at once. A few rows at a time are in memory.

    Returns:
        The dataset at its new version.
    """
    import lance

    places, old, _ = find(dataset, photo_ids)
    dropped = find(dataset, drop)[1] if drop else old[:0]

    def rows() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(places), _ROWS_AT_ONCE):
            yield from change(dataset.take(places[start : start + _ROWS_AT_ONCE].tolist())).to_batches()

    added = []
    if len(places):
        reader = pa.RecordBatchReader.from_batches(dataset.schema, rows())
        added = lance.fragment.write_fragments(reader, dataset, mode="append", max_rows_per_file=FRAGMENT_ROWS)
        _check(place, added)
    updated, emptied = _without(dataset, place, np.concatenate([old, dropped]).tolist())
    operation = lance.LanceOperation.Update(
        removed_fragment_ids=emptied, updated_fragments=updated, new_fragments=added
    )
    return lance.LanceDataset.commit(dataset, operation, read_version=dataset.version)


def write_column(dataset: Any, place: GalleryPlace, name: str, values: Mapping[int, pa.Table]) -> Any:
    """Commit values of one column, and leave the other columns' files as they are.

    Args:
        dataset: which has the column.
        place: its folder.
        name: of the column.
        values: fragment number -> table of `photo_id` and the column. Photos that it does not name keep their value.
            Fragments that were merged into others are passed over.

    Returns:
        The dataset at its new version.
    """
    import lance

    fragments = {number: dataset.get_fragment(number) for number in values}
    updated = [
        fragment.update_columns(values[number], left_on="photo_id", right_on="photo_id")[0]
        for number, fragment in fragments.items()
        if fragment is not None
    ]
    _check(place, updated)
    operation = lance.LanceOperation.Update(
        updated_fragments=updated,
        fields_modified=[dataset.lance_schema.field(name).id()],
        update_mode="rewrite_columns",
    )
    return lance.LanceDataset.commit(dataset, operation, read_version=dataset.version)


def delete(dataset: Any, place: GalleryPlace, predicate: str) -> Any:
    """Delete the rows that an SQL predicate selects. Returns the dataset, at a new version if there were any."""
    import lance

    addresses = dataset.to_table(columns=[], filter=predicate, with_row_address=True).column("_rowaddr").to_pylist()
    if not addresses:
        return dataset
    updated, emptied = _without(dataset, place, addresses)
    operation = lance.LanceOperation.Delete(updated, emptied, predicate)
    return lance.LanceDataset.commit(dataset, operation, read_version=dataset.version)


def _without(dataset: Any, place: GalleryPlace, addresses: Iterable[int]) -> tuple[list[Any], list[int]]:
    """Fragments without some rows: what is left of them, and the numbers of those of which nothing is left."""
    rows: dict[int, list[int]] = defaultdict(list)
    for address in addresses:  # fragment in the upper, row in the lower half
        rows[address >> 32].append(address & 0xFFFFFFFF)
    changed = {number: dataset.get_fragment(number).delete_rows(offsets) for number, offsets in rows.items()}
    updated = [fragment for fragment in changed.values() if fragment is not None]
    _check(place, updated)
    return updated, [number for number, fragment in changed.items() if fragment is None]


def compact(dataset: Any, place: GalleryPlace) -> None:
    """Merge neighbouring small data files without deleted rows. `dataset` moves to the new version."""
    from lance.optimize import Compaction

    plan = Compaction.plan(dataset, {"target_rows_per_fragment": FRAGMENT_ROWS, "num_threads": 1})
    if not plan.num_tasks():
        return
    results = [task.execute(dataset) for task in plan.tasks]
    for result in results:
        _check(place, result.new_fragments)
    Compaction.commit(dataset, results)


def _check(place: GalleryPlace, fragments: Iterable[Any]) -> None:
    """Every file of the fragments is whole and on disk."""
    for fragment in fragments:
        for file in fragment.files:
            path = place / "data" / file.path
            if _synced_size(path) != file.file_size_bytes:
                raise _cut_short(path)
        deletions = fragment.deletion_file
        if deletions is not None:
            path = place / deletions.path(fragment.id)
            _synced_size(path)
            if deletions.file_type == "array" and _rows_of(path) != deletions.num_deleted_rows:
                raise _cut_short(path)


def _synced_size(place: GalleryPlace) -> int:
    path = on_disk(place)
    if path is None:  # what a bucket has taken, it keeps
        return place.stat().st_size
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        return os.fstat(handle).st_size
    finally:
        os.close(handle)


def _rows_of(place: GalleryPlace) -> int:
    try:
        return int(pa.ipc.open_file(pa.BufferReader(place.read_bytes())).read_all().num_rows)
    except pa.ArrowInvalid:
        return -1


def _cut_short(path: GalleryPlace) -> GalleryWriteError:
    return GalleryWriteError(
        f"{path} could only be written in part: the disk may be full; what was committed before is whole, free some "
        "space and run the same command again"
    )
